"""The benchmark: its arithmetic on programs whose times are known, and every suite in miniature."""

import json
import math
import resource
import sys
import types
from functools import partial
from typing import Any, NamedTuple

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import train_on_tables

from agents import networks
from envs.snake import Snake
from experiments import benchmark
from experiments.config.settings import Config
from experiments.runs.building import init_seed
from experiments.studies.benchmark import compile as compile_suite
from experiments.studies.benchmark import env, estimators, figures, memory, programs, seeds, timing, train, work
from experiments.studies.benchmark.figures import BYTES, SECONDS, STEPS_A_SECOND, Figure, Side
from experiments.studies.benchmark.settings import SCALES, SUITES
from experiments.studies.benchmark.work import Work
from metagrad.estimators import weighted
from metagrad.windows import InnerProblem, Position

SCALE = SCALES["miniature"]._replace(repeats=7)


NUMBER = InnerProblem(
    update=lambda x, eta, batch: (x - jnp.exp(eta["rate"]) * (x - batch), x),
    collect=lambda x, actor, key: (actor, x + jax.random.normal(key)),
    outer_loss=lambda x, batch: jnp.square(x - batch),
)


class State(NamedTuple):
    eta: Any
    position: Position
    key: jax.Array


def start_number(agent, seed):
    return State({"rate": jnp.float32(-1.0)}, Position(jnp.float32(seed), (), jnp.float32(1.0)), jax.random.key(seed))


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
        monkeypatch.setattr(timing.time, "perf_counter", lambda: machine.now)
        return machine

    return start


@pytest.fixture
def on_tables(monkeypatch):
    """Trains an agent on tables, and goes through windows in which a single number learns: both compile in moments."""
    monkeypatch.setattr(programs, "make_agent", train_on_tables.make_agent)
    monkeypatch.setattr(estimators, "training", types.SimpleNamespace(inner_problem=lambda agent: NUMBER))
    for module in (estimators, memory):
        monkeypatch.setattr(module, "make_agent", lambda config: None)
        monkeypatch.setattr(module, "init_seed", start_number)


@pytest.fixture
def alone(monkeypatch):
    """Finds no peer, whether there is one or not."""
    monkeypatch.setattr(figures, "installed", lambda peer: False)


def test_ratios_are_right_however_the_machine_slows_down(machine):
    busy = machine(2)
    ours, peer = Side(busy.program(2.0), 100), Side(busy.program(6.0), 60)
    figure = figures.race(STEPS_A_SECOND, "a fake", ours, peer, SCALE)
    np.testing.assert_allclose(figure.ratio, [5.0] * 3)
    assert figure.ours.high > 9 * figure.ours.low
    figure = figures.race(SECONDS, "a fake", ours, peer, SCALE)
    np.testing.assert_allclose(figure.ratio, [0.2] * 3)


def test_shares_are_those_of_the_machine_in_the_same_rounds(machine, monkeypatch):
    busy = machine(3)
    monkeypatch.setattr(timing, "matrix_product", lambda size: (busy.program(1.0), 100.0))
    monkeypatch.setattr(timing, "copy", lambda num_bytes: (busy.program(4.0), 80.0))
    figure = figures.race(SECONDS, "nothing", Side(busy.program(2.0)), None, SCALE, Work(flops=50.0, bytes=4.0))
    np.testing.assert_allclose(figure.product_share, [0.25] * 3)
    np.testing.assert_allclose(figure.copy_share, [0.1] * 3)
    assert figure.peer is None
    assert figure.ratio is None


def test_a_measurement_takes_as_long_as_asked_and_leaves_the_first_call_out(machine):
    busy, durations = machine(10**9), iter([100.0] + [0.25] * 100)
    program = busy.program(1.0)
    seconds = timing.interleave({"one": lambda: [program() for _ in range(int(4 * next(durations)))]}, 3, 2.0)
    np.testing.assert_allclose(seconds["one"], [1.0] * 3)
    assert busy.calls == 400 + 1 + 3 * 2


@pytest.mark.parametrize(("number", "place"), [(6, 1), (7, 1), (20, 6)])
def test_the_medians_interval_is_of_order_statistics(number, place):
    median, low, high = timing.median(np.random.default_rng(0).permutation(number) + 1.0)
    assert (median, low, high) == ((number + 1) / 2, place, number + 1 - place)


def test_few_samples_have_no_interval():
    median, low, high = timing.median(np.arange(5.0))
    assert median == 2.0
    assert math.isnan(low)
    assert math.isnan(high)


def test_the_obvious_window_is_the_librarys():
    weights = weighted([2.0, 0.0, 1.0])
    agent = tables.agent(weights=weights)
    state = jax.jit(partial(init_seed, agent))(0)
    inputs = (state.eta, state.position, state.key)
    gradient, end = jax.jit(estimators.obvious(agent, weights))(*inputs)
    expected, expected_end, _ = jax.jit(estimators.reverse(agent, weights))(*inputs)
    for name, value in expected.items():
        assert value != 0.0
        np.testing.assert_allclose(gradient[name], value, rtol=1e-4, atol=1e-7)
    np.testing.assert_array_equal(end.batch.rollout.action, expected_end.batch.rollout.action)


def test_the_networks_operations_are_those_that_xla_counts():
    config = Config(board_size="12")
    network = networks.actor_critic_network(4, config.num_channels, config.policy_width, config.value_width)
    snake = Snake()
    observation = jax.eval_shape(
        jax.vmap(lambda key: snake.observation(snake.initial(key))), jax.random.split(jax.random.key(0), 1)
    )
    params = jax.eval_shape(network.init, jax.random.key(0), observation)
    counted = jax.jit(network.apply).lower(params, observation).cost_analysis()["flops"]
    by_hand = sum(half.forward for half in work.halves(config))
    assert 0.8 < by_hand / counted < 1.0  # it also multiplies by the zeros around the board, and rectifies


def test_the_products_of_an_update_have_its_operations():
    config = Config(board_size="5x4", num_envs=3, rollout_length=7, time_limit=2)
    counted = sum(2 * rows * inner * cols * times for rows, inner, cols, times in work.update_products(config))
    assert counted == work.update_flops(config)


def test_operations_of_windows_grow_as_they_should():
    long = 1_000_000  # so that bootstraps are nothing
    config = Config(num_envs=1, rollout_length=long, time_limit=long, outer_critic=False)
    policy, value = work.halves(config)
    update = work.update_flops(config) / 1e6
    assert update == pytest.approx(4 * policy.forward + 3 * value.forward - policy.first - value.first, rel=1e-5)
    one, two, three, four = (work.window_flops(config, horizon) / 1e6 for horizon in (1, 2, 3, 4))
    assert one == pytest.approx(update + 5 * policy.forward - 2 * policy.first, rel=1e-5)
    # One more update, through which the gradient of everything is differentiated.
    assert four - three == pytest.approx(
        update + 6 * (policy.forward + value.forward) - 4 * (policy.first + value.first), rel=1e-5
    )
    assert one < two < three
    assert work.window_flops(config, 3, num_directions=2) > work.window_flops(config, 3, num_directions=1)


def test_json_leaves_out_what_is_missing():
    assert figures.as_json(figures.sizes("one seed", 6.0, 4.0)) == {
        "unit": BYTES,
        "against": "one seed",
        "ours": 6.0,
        "peer": 4.0,
        "ratio": 1.5,
    }
    ours = timing.median(np.arange(7.0))
    assert figures.as_json(Figure(SECONDS, "a fake", ours, work=Work(flops=8.0))) == {
        "unit": SECONDS,
        "against": "a fake",
        "ours": {"estimate": 3.0, "ci95": [0.0, 6.0]},
        "flops": 8.0,
    }


def _run(folder, capsys, *suites):
    """Runs the command in miniature; returns its results and what it printed."""
    status = command_line.run(benchmark, f"--suite={','.join(suites)}", "--scale=miniature", f"--logdir={folder}")
    assert not status
    assert (folder / benchmark.PICTURE).stat().st_size > 0
    return json.loads((folder / benchmark.RESULTS).read_text()), capsys.readouterr().out


def _check(value):
    assert isinstance(value, float) or set(value) == {"estimate", "ci95"}


def test_what_is_measured_within_this_process(tmp_path, capsys, on_tables, alone):
    suites = ("train", "estimators", "seeds", "memory")
    results, printed = _run(tmp_path, capsys, *suites)
    assert set(results) == {*suites, "device"}
    assert results["device"]["platform"] == jax.default_backend()
    for suite in suites:
        for name, figure in results[suite].items():
            assert f"{suite}.{name} " in printed
            _check(figure["ours"])
            if suite == "train" and name != "products":
                assert "peer" not in figure
                assert "ratio" not in figure
            else:
                _check(figure["peer"])
                _check(figure["ratio"])
    assert set(results["estimators"]) == {
        *("single_step", "multi_step_2", "mixing_2", "forward_2"),
        *(f"obvious_{what}_2" for what in ("time", "memory", "compile")),
    }
    assert set(results["memory"]) == {"reverse_2", "forward_2", "reverse_seeds_2", "forward_seeds_2"}
    assert results["estimators"]["mixing_2"]["product_share"]["estimate"] > 0
    for peer in ("jumanji", "stable_baselines3"):
        assert f"skipped: {peer} is not installed; train has nothing to compare with in its place\n" in printed


def test_what_is_measured_of_the_game(tmp_path, capsys, alone):
    results, printed = _run(tmp_path, capsys, "env")
    assert set(results["env"]) == {"copies_2", "gymnasium_single", "gymnasium_vector"}
    assert results["env"]["copies_2"]["copy_share"]["estimate"] > 0
    assert printed.count("skipped: ") == 1


def test_what_is_measured_in_fresh_processes(tmp_path, capsys, monkeypatch, on_tables):
    commands, caches = [], []

    def run(*arguments):
        commands.append(arguments)
        if arguments[1] == compile_suite.FIRST_STEP and len(commands) == 1:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "argv", ["-c", *arguments[2:]])
                patch.setattr(compile_suite.compilation, "keep_programs", caches.append)
                exec(arguments[1], {})

    monkeypatch.setattr(compile_suite, "run", run)
    results, _ = _run(tmp_path, capsys, "compile")
    assert set(results["compile"]) == {"first_step", "help"}
    (warm, _, again, _), others = [command[-1] for command in commands[:4]], commands[4:]
    assert warm == again == caches[0]
    assert len({command[-1] for command in commands[:4]}) == 3  # the others' caches are new each time
    assert set(others) == {("-m", "experiments.train", "--help"), ("-c", "import jax")}


def test_a_process_that_fails_is_no_figure():
    with pytest.raises(compile_suite.subprocess.CalledProcessError):
        compile_suite.run("-c", "raise SystemExit(3)")


@pytest.mark.parametrize("suite", ["speed", "env,env", ""])
def test_an_unknown_suite_is_refused(suite, tmp_path, capsys):
    assert command_line.run(benchmark, f"--suite={suite}", f"--logdir={tmp_path / 'new'}") == 2
    refused = capsys.readouterr().err
    assert refused == f"--suite={suite}: must be a comma list, without repetition, of {', '.join(SUITES)}\n"


def test_an_unknown_scale_is_refused(tmp_path, capsys):
    assert command_line.run(benchmark, "--scale=large", f"--logdir={tmp_path / 'new'}") == 2
    assert "full|accelerator|miniature" in capsys.readouterr().err


def test_moves_that_crash_are_not_played():
    mask = np.array([[0, 1, 0, 1], [0, 0, 1, 0]])
    rng = np.random.default_rng(0)
    drawn = np.array([env._valid(mask, rng) for _ in range(50)])
    assert set(drawn[:, 0]) == {1, 3}
    assert set(drawn[:, 1]) == {2}


def test_jumanjis_games_are_played_beside_ours():
    pytest.importorskip("jumanji")
    for measure in env.suite(SCALES["miniature"]).values():
        assert measure().ratio.estimate > 0


def test_other_libraries_agents_learn_beside_ours(on_tables):
    pytest.importorskip("jumanji")
    for package, measure in train.suite(SCALES["miniature"]).items():
        if figures.installed(package):
            assert measure().ratio.estimate > 0


def test_amounts_are_those_of_the_windows_of_a_call(monkeypatch, on_tables, alone):
    monkeypatch.setattr(estimators, "compile_windows", lambda agent, window, number: number)
    monkeypatch.setattr(programs, "training", lambda config, num_windows: (config.num_seeds, num_windows))
    monkeypatch.setattr(figures, "race", lambda *inputs: inputs[2:])
    scale = SCALES["miniature"]._replace(windows=16)
    steps = scale.config.with_estimator("single_step").steps_per_window
    together, one, _ = seeds.suite(scale)["seeds_2"]()
    assert (together, one) == (((2, 16), 2 * 16 * steps), ((1, 16), 16 * steps))
    ours, *_ = train.suite(scale)["jumanji"]()
    assert ours == ((1, 16), 16 * steps)
    for name, horizon in {"single_step": 1, "mixing_2": 2}.items():
        ours, peer, _, done = estimators.suite(scale)[name]()
        assert ours.amount == horizon * peer.amount == horizon * 16
        assert done.flops == 16 * work.window_flops(scale.tuned, horizon)


def test_windows_of_a_call_follow_one_another(on_tables):
    eta, position, key = start_number(None, 0)
    window = estimators.reverse(None, weighted([1.0, 1.0]))
    end, gradients = estimators.compile_windows(None, window, 3)(eta, position, key)
    for gradient, window_key in zip(gradients["rate"], jax.random.split(key, 3), strict=True):
        expected, position, _ = jax.jit(window)(eta, position, window_key)
        np.testing.assert_allclose(gradient, expected["rate"], rtol=1e-6)
    np.testing.assert_allclose(end.learner_state, position.learner_state, rtol=1e-6)


@pytest.mark.parametrize(
    "program", [lambda: timing.copy(2**26)[0], lambda: timing.overwriting(lambda array: array + 1.0, jnp.zeros(2**24))]
)
def test_the_machines_rates_are_not_slowed_by_new_memory(program):
    measured = program()
    measured()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        measured()
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) * resource.getpagesize() < 2**26
