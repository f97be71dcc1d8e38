"""The training command from flags to files, in miniature."""

import dataclasses
import functools
import signal
import subprocess
import sys

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from miniature import SMALL, TABLES, rows

from agents import training
from experiments import compare, train
from experiments.config import settings as config_lib
from experiments.config.settings import EXECUTION, Config
from experiments.runs import divergence
from experiments.runs import training as loop
from experiments.runs.building import init_seeds, make_agent, make_weights
from experiments.storage import checkpoints, config_file, run_folder
from experiments.storage import metrics as metrics_csv
from metagrad import estimators, meta_parameters


def test_ctrl_c_while_compiling_is_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.train", *SMALL, f"--logdir={tmp_path / 'run'}"]
    command.append("--compilation_cache=none")  # no time to stop it otherwise
    # A shell starts what runs in its background deaf to Ctrl-C, and these tests may run there.
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        printed = ""
        while "compiling" not in printed:
            character = process.stderr.read(1)
            assert character, printed
            printed += character
        process.send_signal(signal.SIGINT)
        printed += process.stderr.read()
    assert process.returncode == 130
    assert printed.splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in printed


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "mixing"
    assert not command_line.run(train, *SMALL, "--estimator=mixing", f"--logdir={folder}")
    return folder


def test_train_writes_every_file(run):
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "metrics.csv", "checkpoint", "train.png"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (run / "train.png").read_bytes().startswith(b"\x89PNG")


def test_train_ends_with_its_numbers(run, capsys):
    """Those of the last tenth of training, here the last point, and of all points."""
    assert not command_line.run(train, *SMALL, "--estimator=mixing", f"--logdir={run}")
    first, _, *table = capsys.readouterr().out.splitlines()
    columns = metrics_csv.read_metrics(run)
    told = dict(line.split(maxsplit=1) for line in table)
    for name in ("discount", "lambda", "entropy_cost"):
        start, ends = Config().hyperparameters()[name], columns[f"hyper/{name}"][-1]
        deviation = np.sqrt(columns[f"meta_grad/{name}"].var(axis=1, ddof=1).mean())
        expected = f"{start:g} {np.median(ends):.4g} ({ends.min():.4g} to {ends.max():.4g}) {deviation:.3g}"
        assert " ".join(told[name].split()) == expected
    ended = columns["episode_return"][-1][~np.isnan(columns["episode_return"][-1])]
    assert f"{ended.mean():.3g}" in first if ended.size else "2 of 2 seeds without a last return" in first


def test_metrics_are_tidy(run):
    written = rows(run)
    tuned = ["discount", "lambda", "entropy_cost"]
    assert list(written[0]) == [
        "env_steps",
        "seed",
        "episode_return",
        "episode_length",
        *(f"hyper/{name}" for name in tuned),
        *(f"meta_grad/{name}" for name in tuned),
        "loss/entropy",
        "loss/policy",
        "loss/value",
    ]
    assert [(int(row["env_steps"]), int(row["seed"])) for row in written] == [
        (steps, seed) for steps in range(40, 401, 40) for seed in (0, 1)
    ]
    columns = metrics_csv.read_metrics(run)
    assert columns["hyper/discount"].shape == (10, 2)
    assert np.all(np.isfinite(columns["meta_grad/discount"]))


def test_settings_come_back_from_the_folder(run):
    config = config_file.load(run / "config.json")
    assert config.board_size == "3x4"
    assert config.lambda_ == Config().lambda_
    assert config.meta_params == Config().meta_params


def test_checkpoints_hold_the_whole_training_state(run):
    config = config_file.load(run / "config.json")
    steps = checkpoints.checkpoint_steps(run)
    assert steps[-1] == 400
    assert len(steps) > 1
    state = init_seeds(make_agent(config), config)
    restored = checkpoints.read_checkpoint(run, 400, state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert np.all(np.asarray(restored.num_updates) == 400 // (4 * 5))
    assert restored.key.dtype == state.key.dtype
    last = {name: metrics_csv.read_metrics(run)[f"hyper/{name}"][-1] for name in config.meta_params}
    hyper = loop.meta_parameters.hyperparameters(make_agent(config).tuning, restored.eta)
    for name, values in last.items():
        np.testing.assert_allclose(hyper[name], values, rtol=1e-6)


def test_the_same_flags_give_the_same_metrics_to_the_bit(run, tmp_path):
    assert not command_line.run(train, *SMALL, "--estimator=mixing", f"--logdir={tmp_path}/again")
    assert (tmp_path / "again" / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()


def test_estimators_with_other_settings_train(tmp_path):
    arguments = ["--mixing_weights=geometric", "--optimizer=rmsprop", "--num_seeds=1", "--meta_params=value_cost"]
    outer = ["--outer_value_cost=0.5", "--outer_entropy_cost=0.01", "--shared_torso"]
    assert not command_line.run(train, *TABLES, *arguments, *outer, f"--logdir={tmp_path}/other")
    config = config_file.load(tmp_path / "other" / "config.json")
    assert make_weights(config) == pytest.approx((1 / 1.8, 0.8 / 1.8))


def test_flags_beat_the_preset(tmp_path):
    assert not command_line.run(train, "--preset=paper", *TABLES, "--estimator=none", f"--logdir={tmp_path}/run")
    config = config_file.load(tmp_path / "run" / "config.json")
    assert config.num_seeds == 2  # the flag
    assert config.discount == config_lib.PRESETS["paper"]["discount"]  # the preset


def test_an_outer_critic_is_learned_unless_it_is_left_out_or_nothing_is_tuned(run, tmp_path):
    config = config_file.load(run / "config.json")
    assert config.outer_critic
    assert make_agent(config).outer_critic is not None
    assert make_agent(dataclasses.replace(config, outer_critic=False)).outer_critic is None
    assert not command_line.run(train, *TABLES, "--estimator=none", f"--logdir={tmp_path / 'none'}")
    assert not config_file.load(tmp_path / "none" / "config.json").outer_critic
    assert not config.with_estimator("none").outer_critic
    assert config.with_estimator("multi_step").outer_critic
    assert not dataclasses.replace(config, outer_critic=False).with_estimator("mixing").outer_critic


def test_a_logdir_that_holds_another_commands_results_is_refused(run, capsys):
    assert command_line.run(compare, *SMALL, f"--logdir={run}") == 2
    error = capsys.readouterr().err
    assert f"--logdir={run}: must be a new or empty folder" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("inside", ["file", "file/run"])
def test_a_logdir_that_cannot_be_written_to_is_refused(inside, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command_line.run(train, *SMALL, f"--logdir={tmp_path}/{inside}") == 2
    error = capsys.readouterr().err
    assert "must be a folder that can be written to" in error
    assert error.count("\n") == 1


def test_numbers_that_are_not_finite_stop_the_run(tmp_path, capsys):
    status = command_line.run(train, *TABLES, "--estimator=none", "--learning_rate=1e38", f"--logdir={tmp_path}/broken")
    assert "loss/policy of seed 0 was not finite at environment step 40 (update 2)" in status
    assert (tmp_path / "broken" / "config.json").exists()
    assert (tmp_path / "broken" / "metrics.csv").exists()


def test_what_broke_first_is_named():
    never = np.array([-1, -1])
    first_nonfinite = {
        "loss/entropy": np.array([-1, 9]),
        "loss/value": np.array([-1, 8]),
        "meta_grad/discount": np.array([-1, 7]),
        "meta_grad/lambda": never,
        "parameters": np.array([-1, 7]),
    }
    config = Config(seed=5, num_seeds=2, num_envs=10, rollout_length=3)
    assert divergence.divergences(config, first_nonfinite) == {
        1: "parameters of seed 6 was not finite at environment step 210 (update 7)"
    }
    assert divergence.divergences(config, {"loss/value": never}) == {}


def test_rows_name_their_seeds(tmp_path):
    config = Config(seed=5, num_seeds=3)
    with run_folder.RunFolder(tmp_path, config, EXECUTION) as writer:
        for env_steps in (10, 20):
            writer.write_metrics(env_steps, {"episode_return": env_steps + np.array([1.0, np.nan, 3.0])})
    columns = metrics_csv.read_metrics(tmp_path)
    np.testing.assert_array_equal(columns["seed"], [[5, 6, 7]] * 2)
    np.testing.assert_array_equal(columns["env_steps"], [[10] * 3, [20] * 3])
    np.testing.assert_array_equal(columns["episode_return"], [[11, np.nan, 13], [21, np.nan, 23]])


def test_metrics_are_averages_over_what_they_are_of():
    agent = tables.agent()
    eta = {"discount": jnp.array([0.0, 1.0]), "entropy_cost": jnp.array([0.5, 0.0])}
    summary = training.Summary(
        num_updates=np.array([10, 10]),
        num_episodes=np.array([4, 0]),
        return_sum=np.array([6.0, 0.0]),
        length_sum=np.array([20.0, 0.0]),
        loss_sums={"value": np.array([5.0, 2.0])},
        meta_gradient={"discount": np.array([0.1, 0.2]), "entropy_cost": np.array([0.3, 0.4])},
        first_nonfinite={},
    )
    metrics = loop._metrics(agent, eta, summary, np.array([False, False]))
    odds = 0.6 / 0.4 * np.exp(1.0)
    expected = {
        "episode_return": [1.5, np.nan],
        "episode_length": [5.0, np.nan],
        "hyper/discount": [0.6, odds / (1 + odds)],
        "hyper/entropy_cost": [0.02 * np.exp(0.5), 0.02],
        "meta_grad/discount": [0.1, 0.2],
        "meta_grad/entropy_cost": [0.3, 0.4],
        "loss/value": [0.5, 0.2],
    }
    assert list(metrics) == list(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(metrics[name], column, rtol=1e-5, err_msg=name)


def test_rows_and_checkpoints_are_of_the_environment_steps_that_they_name(tmp_path, monkeypatch):
    """With 130 windows there are 44 logging points, the last of one window, where all others have three."""
    config = Config(
        seed=5,
        num_seeds=2,
        horizon=2,
        meta_params=("discount", "entropy_cost"),
        num_envs=tables.NUM_ENVS,
        rollout_length=tables.LENGTH,
        num_env_steps=130 * 2 * tables.NUM_ENVS * tables.LENGTH,
    )
    agent = tables.agent(weights=estimators.mixing(2), meta_optimizer=optax.sgd(0.05))
    monkeypatch.setattr(train, "make_agent", lambda config: agent)
    loop.train(config, tmp_path)
    columns, window = metrics_csv.read_metrics(tmp_path), agent.steps_per_window
    np.testing.assert_array_equal(columns["env_steps"][:, 0], window * np.array([*range(3, 130, 3), 130]))
    np.testing.assert_array_equal(columns["seed"], [[5, 6]] * 44)
    steps = checkpoints.checkpoint_steps(tmp_path)
    assert steps == [window * windows for windows in (18, 36, 54, 72, 90, 108, 126, 130)]
    like = jax.eval_shape(lambda: init_seeds(agent, config))
    for env_steps in steps:
        state = checkpoints.read_checkpoint(tmp_path, env_steps, like)
        np.testing.assert_array_equal(state.num_updates, env_steps // (tables.NUM_ENVS * tables.LENGTH))
        (row,) = np.flatnonzero(columns["env_steps"][:, 0] == env_steps)
        for name, values in meta_parameters.hyperparameters(agent.tuning, state.eta).items():
            if name in config.meta_params:
                np.testing.assert_allclose(columns[f"hyper/{name}"][row], values, rtol=1e-5)
                assert values[0] != values[1]


@pytest.mark.parametrize(("every", "expected"), [(1, [*range(1, 21)]), (6, [6, 12, 18, 20])])
def test_checkpoints_are_written_as_often_as_is_asked(every, expected, tmp_path, monkeypatch):
    written = []
    write = run_folder.RunFolder.write_checkpoint

    def write_checkpoint(writer, env_steps, *arguments):
        written.append(env_steps // 20)
        write(writer, env_steps, *arguments)

    monkeypatch.setattr(run_folder.RunFolder, "write_checkpoint", write_checkpoint)
    given = [f"--checkpoint_every={every}", "--keep=1", f"--logdir={tmp_path / 'run'}"]
    assert not command_line.run(train, *TABLES, "--estimator=none", *given)
    assert written == expected
