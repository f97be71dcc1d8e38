"""The benchmark: its arithmetic on programs whose times are known, and every suite in miniature."""

import json
import resource
import sys

import command_line
import jax
import numpy as np
import pytest
import train_on_tables

from experiments import benchmark
from experiments.config.settings import Config
from experiments.runs.building import make_agent
from experiments.studies.benchmark import games, measuring, starting, suites, training, work
from experiments.studies.benchmark.measuring import SECONDS, STEPS_A_SECOND, Side
from experiments.studies.benchmark.settings import MINIATURE, SUITES

SCALE = MINIATURE._replace(repeats=7)


class Machine:
    """A clock that programs move on by their own seconds, times how slow the machine is in this round."""

    def __init__(self, programs_a_round):
        self.now, self.calls, self.programs_a_round = 0.0, 0, programs_a_round

    def program(self, seconds):
        def run():
            slowness = [1.0, 10.0, 3.0][self.calls // self.programs_a_round % 3]
            self.now += seconds * slowness
            self.calls += 1

        return run


@pytest.fixture
def machine(monkeypatch):
    def start(programs_a_round):
        machine = Machine(programs_a_round)
        monkeypatch.setattr(measuring.time, "perf_counter", lambda: machine.now)
        return machine

    return start


@pytest.mark.parametrize(("unit", "ratio"), [(STEPS_A_SECOND, 5.0), (SECONDS, 0.2)])
def test_ratios_are_right_however_the_machine_slows_down(machine, unit, ratio):
    busy = machine(2)
    ours, peer = Side(busy.program(2.0), 100), Side(busy.program(6.0), 60)
    figure = measuring.race(unit, "a fake", ours, peer, SCALE)
    assert figure["ratio"] == {"estimate": ratio, "ci95": [ratio] * 2}
    low, high = figure["ours"]["ci95"]
    assert high > 9 * low


def test_shares_are_those_of_the_machine_in_the_same_rounds(machine, monkeypatch):
    busy = machine(2)
    monkeypatch.setattr(measuring, "matrix_product", lambda scale: (busy.program(1.0), 100.0))
    figure = measuring.race(SECONDS, "nothing", Side(busy.program(2.0), 4.0), None, SCALE, flops=50.0)
    assert figure["product_share"] == {"estimate": 0.25, "ci95": [0.25] * 2}
    assert set(figure) == {"unit", "against", "ours", "product_share", "flops"}


def test_a_measurement_takes_as_long_as_asked_and_leaves_the_first_call_out(machine):
    busy, durations = machine(10**9), iter([100.0] + [0.25] * 100)
    program = busy.program(1.0)
    seconds = measuring.interleave({"one": lambda: [program() for _ in range(int(4 * next(durations)))]}, 3, 2.0)
    np.testing.assert_allclose(seconds["one"], [1.0] * 3)
    assert busy.calls == 400 + 1 + 3 * 2


@pytest.mark.parametrize(("number", "ends"), [(5, [None, None]), (6, [1.0, 6.0]), (7, [1.0, 7.0]), (20, [6.0, 15.0])])
def test_the_medians_interval_is_of_order_statistics(number, ends):
    samples = np.random.default_rng(0).permutation(number) + 1.0
    assert measuring.median(samples) == {"estimate": (number + 1) / 2, "ci95": ends}


def test_an_updates_operations_are_those_of_the_networks_products():
    config = Config(num_envs=3, rollout_length=7, time_limit=2)
    agent = make_agent(config)
    observation = jax.eval_shape(lambda key: agent.env.observation(agent.env.initial(key)), jax.random.key(0))
    observations = jax.tree.map(lambda leaf: np.zeros((1, *leaf.shape), leaf.dtype), observation)
    params = jax.eval_shape(agent.network.init, jax.random.key(0), observations)
    counted = jax.jit(agent.network.apply).lower(params, observations).cost_analysis()["flops"]
    layers = work.layer_flops(config, "policy") | work.layer_flops(config, "value")
    assert 0.8 < sum(layers.values()) / counted < 1.0  # it also multiplies by the zeros around the board, and rectifies
    policy, value = (sum(work.layer_flops(config, half).values()) for half in ("policy", "value"))
    first = layers["policy_conv_2"] + layers["value_conv_2"]
    assert work.update_flops(config) == 21 * (4 * policy + 3 * value - first) + 3 * 5 * value


def _run(folder, capsys, *names):
    """Runs the command in miniature; returns its results and what it printed."""
    status = command_line.run(benchmark, f"--suite={','.join(names)}", "--scale=miniature", f"--logdir={folder}")
    assert not status
    assert (folder / suites.PICTURE).stat().st_size > 0
    return json.loads((folder / suites.RESULTS).read_text()), capsys.readouterr().out


def test_what_is_measured_within_this_process(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "require_agent", train_on_tables.make_agent)  # which compiles in moments
    monkeypatch.setattr(measuring.importlib.util, "find_spec", lambda name: None)
    results, printed = _run(tmp_path, capsys, "env", "train", "estimators", "seeds", "memory")
    assert {suite: set(figures) for suite, figures in results.items() if suite != "device"} == {
        "env": {"copies_2"},
        "train": {"jumanji", "stable_baselines3"},
        "estimators": {"mixing_2"},
        "seeds": {"seeds_2"},
        "memory": {"mixing_2", "seeds_2", "tuned_by_mixing_2"},
    }
    assert results["device"]["platform"] == jax.default_backend()
    for suite in ("env", "train", "estimators", "seeds", "memory"):
        for name, figure in results[suite].items():
            assert f"{suite}.{name} " in printed
            assert ("ratio" in figure) == ("peer" in figure) == (suite not in ("env", "train"))
    assert results["train"]["jumanji"]["product_share"]["estimate"] > 0
    for peer in ("jumanji", "stable_baselines3"):
        assert f"skipped: {peer} is not installed" in printed


def test_amounts_are_those_of_the_windows_of_a_call(monkeypatch):
    monkeypatch.setattr(training, "_training", lambda config, scale, amount: (config.num_seeds, amount))
    monkeypatch.setattr(measuring, "race", lambda *inputs: inputs[2:4])
    steps = MINIATURE.tuned.with_estimator("single_step").steps_per_window
    assert training.seeds(MINIATURE)["seeds_2"]() == ((2, 2 * steps), (1, steps))
    amounts = {"single_step": 1, "multi_step_2": 2, "bootstrapped_2+5": 7, "evolution_strategies_2": 2}
    scale = MINIATURE._replace(estimators=("single_step", "multi_step", "bootstrapped", "evolution_strategies"))
    updates = {name: measure() for name, measure in training.estimators(scale).items()}
    assert updates == {name: ((1, amount), (1, 1)) for name, amount in amounts.items()}


def test_what_is_measured_in_fresh_processes(tmp_path, capsys, monkeypatch):
    commands, trained, caches = [], [], []

    def run(*arguments):
        commands.append(arguments)
        if len(commands) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "argv", ["-c", *arguments[2:]])
                patch.setattr("experiments.runs.compilation.keep_programs", caches.append)
                patch.setattr("experiments.runs.training.train", lambda config, quiet: trained.append(config))
                exec(arguments[1], {})

    monkeypatch.setattr(starting, "run", run)
    results, _ = _run(tmp_path, capsys, "compile")
    assert set(results["compile"]) == {"first_step", "help"}
    assert trained[0].num_env_steps == MINIATURE.demo.steps_per_window
    (warm, _, again, _), others = [command[-1] for command in commands[:4]], commands[4:]
    assert warm == again == caches[0]
    assert len({command[-1] for command in commands[:4]}) == 3  # the others' caches are new each time
    assert set(others) == {("-m", "experiments.train", "--help"), ("-c", "import jax")}


def test_a_process_that_fails_is_no_figure():
    with pytest.raises(starting.subprocess.CalledProcessError):
        starting.run("-c", "raise SystemExit(3)")


@pytest.mark.parametrize("suite", ["speed", "env,env", ""])
def test_an_unknown_suite_is_refused(suite, tmp_path, capsys):
    assert command_line.run(benchmark, f"--suite={suite}", f"--logdir={tmp_path / 'new'}") == 2
    refused = capsys.readouterr().err
    assert refused == f"--suite={suite}: must be a comma list, without repetition, of {', '.join(SUITES)}\n"


def test_other_libraries_play_and_learn_beside_ours(monkeypatch):
    pytest.importorskip("jumanji")
    monkeypatch.setattr(training, "require_agent", train_on_tables.make_agent)
    figures = {"jumanji": games.env(MINIATURE)["copies_2"]} | training.train(MINIATURE)
    for package, measure in figures.items():
        if measuring.installed(package):
            assert measure()["ratio"]["estimate"] > 0


def test_the_machines_rate_is_not_slowed_by_new_memory():
    measured, _ = measuring.matrix_product(MINIATURE._replace(product_size=2_048))
    measured()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        measured()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() < 2**24
