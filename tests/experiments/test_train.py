"""The training command from flags to files, in miniature, on an environment of your own."""

import functools
import json

import command_line
import jax
import numpy as np
import optax
import pytest
import tables
from miniature import TRAINING, rows
from miniature import train as train_agent

from agents import training
from agents.agent import learning
from experiments import train
from experiments.config.flags import settings_from_flags
from experiments.config.presets import PRESETS
from experiments.config.settings import OF_SNAKE, Config
from experiments.runs.building import init_seeds
from experiments.storage import checkpoints, config_file
from experiments.storage.metrics import read_metrics
from metagrad import estimators, hyperparameters

NAME = "stairs:Stairs"
FLAGS = [
    *(*TRAINING, f"--environment={NAME}", "--mixing_weights=geometric", "--optimizer=rmsprop", "--shared_torso"),
    *("--outer_value_cost=0.5", "--outer_entropy_cost=0.01"),
]
TUNED = ("discount", "lambda", "entropy_cost")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "mixing"
    assert not command_line.run(train, *FLAGS, f"--logdir={folder}")
    return folder


def test_train_writes_every_file_and_metrics_are_tidy(run):
    assert {"config.json", "metrics.csv", "checkpoint", "train.png"} <= {path.name for path in run.iterdir()}
    assert list(run.glob("events.out.tfevents*"))
    assert (run / "train.png").read_bytes().startswith(b"\x89PNG")
    assert config_file.load(run / "config.json").meta_params == TUNED
    written = json.loads((run / "config.json").read_text())["flags"]
    assert (written["environment"], written["mixing_weights"]) == (NAME, "geometric")
    assert not set(OF_SNAKE) & set(written)
    metrics = rows(run)
    assert list(metrics[0]) == [
        *("env_steps", "seed", "episode_return", "episode_length"),
        *(f"{kind}/{name}" for kind in ("hyper", "meta_grad") for name in TUNED),
        *("loss/entropy", "loss/policy", "loss/value"),
    ]
    points = [(steps, seed) for steps in range(40, 401, 40) for seed in (0, 1)]
    assert [(int(row["env_steps"]), int(row["seed"])) for row in metrics] == points
    assert {row["episode_return"] for row in metrics} == {"1.0"}  # no action was forbidden
    assert np.all(np.isfinite(read_metrics(run)["meta_grad/discount"]))


def test_the_same_flags_give_the_same_metrics_to_the_bit_and_end_with_their_numbers(run, tmp_path, capsys):
    """Those of the last tenth of training, here the last point, and of all points."""
    assert not command_line.run(train, *FLAGS, f"--logdir={tmp_path}/again")
    assert (tmp_path / "again" / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()
    first, _, *table = capsys.readouterr().out.splitlines()
    assert first.startswith("Return of an episode over the last tenth of training: 1 [1, 1], mean of 2 seeds")
    columns, told = read_metrics(run), dict(line.split(maxsplit=1) for line in table)
    for name in TUNED:
        start, ends = Config().hyperparameters()[name], columns[f"hyper/{name}"][-1]
        deviation = np.sqrt(columns[f"meta_grad/{name}"].var(axis=1, ddof=1).mean())
        expected = f"{start:g} {np.median(ends):.4g} ({ends.min():.4g} to {ends.max():.4g}) {deviation:.3g}"
        assert " ".join(told[name].split()) == expected


def test_flags_beat_the_preset_whose_settings_of_snake_are_of_no_other_game():
    def settings(*arguments):
        values = train.define_flags()
        values(["train", *arguments])
        return settings_from_flags(values)

    paper = PRESETS["paper"]
    assert settings("--preset=paper", "--num_seeds=2") == Config(**paper | {"num_seeds": 2})
    elsewhere = paper | {"environment": "catch", "board_size": Config.board_size}
    assert settings("--preset=paper", "--environment=catch") == Config(**elsewhere)


def test_rows_and_checkpoints_are_of_the_environment_steps_that_they_name(tmp_path):
    """With 130 windows there are 44 logging points, the last of one window, where all others have three."""
    agent = tables.agent(weights=estimators.mixing(2), meta_optimizer=optax.sgd(0.05, momentum=0.9))
    window, tuned = 2 * tables.NUM_ENVS * tables.LENGTH, ("discount", "entropy_cost")
    sizes = {"num_envs": tables.NUM_ENVS, "rollout_length": tables.LENGTH, "num_env_steps": 130 * window}
    config = Config(seed=5, num_seeds=2, horizon=2, meta_params=tuned, **sizes)
    columns = train_agent(agent, config, tmp_path)
    np.testing.assert_array_equal(columns["env_steps"][:, 0], window * np.array([*range(3, 130, 3), 130]))
    np.testing.assert_array_equal(columns["seed"], [[5, 6]] * 44)
    steps = checkpoints.checkpoint_steps(tmp_path)
    assert steps == [window * windows for windows in (18, 36, 54, 72, 90, 108, 126, 130)]
    like = jax.eval_shape(lambda: init_seeds(learning(agent), config))
    for env_steps in steps:
        state = checkpoints.read_checkpoint(tmp_path, env_steps, like)
        assert jax.tree.map(lambda leaf: leaf.dtype, state) == jax.tree.map(lambda leaf: leaf.dtype, like)
        np.testing.assert_array_equal(state.num_updates, 2 * env_steps // window)
        (row,) = np.flatnonzero(columns["env_steps"][:, 0] == env_steps)
        hyper = hyperparameters.hyperparameters(agent.tuning, state.eta)
        for name in tuned:
            np.testing.assert_allclose(columns[f"hyper/{name}"][row], hyper[name], rtol=1e-5)
            assert hyper[name][0] != hyper[name][1]
    # The second row of the second seed: means over episodes and updates, and the last window's meta-gradient.
    advance = jax.jit(functools.partial(training.train, learning(agent)))
    state, _ = advance(tables.start(agent, seed=6), 3)
    state, summary = advance(state, 3)
    hyper = hyperparameters.hyperparameters(agent.tuning, state.eta)
    expected = {
        **{"env_steps": 6 * window, "seed": 6},
        "episode_return": summary.metrics.return_sum / summary.metrics.num_episodes,
        "episode_length": summary.metrics.length_sum / summary.metrics.num_episodes,
        **{f"hyper/{name}": hyper[name] for name in tuned},
        **{f"meta_grad/{name}": summary.meta_gradient[name] for name in tuned},
        **{f"loss/{name}": total / 6 for name, total in summary.metrics.loss.items()},
    }
    assert list(columns) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(columns[name][1, 1], value, rtol=1e-4, err_msg=name)
