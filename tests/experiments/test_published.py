"""The published setting of results/published.py: its game, its network, and the command in miniature."""

import dataclasses
import json

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import fitting
from envs.snake import Snake
from experiments.config.ranges import UsageError
from experiments.config.settings import Execution
from experiments.runs.building import init_seeds, make_agent
from experiments.storage import checkpoints
from experiments.storage.files import WriteError
from results import published
from results.published import SETTING, PublishedSnake, published_network

GAME = PublishedSnake()
AS_PUBLISHED = {
    "environment": "results.published:PublishedSnake",
    "num_envs": 512,
    "rollout_length": 5,
    "optimizer": "rmsprop",
    "learning_rate": 5e-4,
    "meta_params": ["discount"],
    "meta_learning_rate": 3e-3,
    "meta_learning_rate_halving": 0,
    "meta_gradient_clip": 0.1,
    "discount": 0.8,
    "lambda": 0.95,
    "policy_cost": 1.0,
    "value_cost": 1.0,  # of half the squared error
    "entropy_cost": 0.01,
    "outer_discount": 0.999,
    "outer_lambda": 1.0,
    "outer_critic": True,
    "outer_value_cost": 0.0,
    "outer_entropy_cost": 0.0,
}


def test_agents_are_not_told_which_moves_crash():
    state = GAME.initial(jax.random.key(0))
    np.testing.assert_array_equal(GAME.observation(state), Snake(6, 6).observation(state).grid)
    shapes = fitting.observation_shape(GAME)
    assert (shapes.shape, shapes.dtype) == ((6, 6, 5), jnp.float32)
    fitting.check_environment(GAME)


@pytest.mark.parametrize(("step_count", "over"), [(499, False), (500, True)])
def test_the_time_limit_ends_an_episode(step_count, over):
    state = GAME.initial(jax.random.key(0))._replace(step_count=jnp.int32(step_count))
    assert GAME.terminal(state) == over
    assert not GAME.truncated(state)
    assert GAME.terminal(state._replace(crashed=jnp.bool_(True)))
    assert GAME.terminal(state._replace(length=jnp.int32(36)))


def test_the_network_has_two_hidden_layers_a_head():
    network = published_network()
    grids = jax.random.uniform(jax.random.key(0), (3, 2, 6, 6, 5))
    params = network.init(jax.random.key(1), grids[0])
    weights = {name: layer["w"].shape for name, layer in params.items()}
    convolutions = {"conv_2": (2, 2, 5, 32), "conv_1": (2, 2, 32, 32)}
    expected = {f"{half}_{name}": shape for half in ("policy", "value") for name, shape in convolutions.items()}
    for half, width, outputs in (("policy", 64, 4), ("value", 128, 1)):
        for number, shape in enumerate([(288, width), (width, width), (width, outputs)]):
            expected[f"{half}_head/~/linear_{number}"] = shape
    assert weights == expected
    predictions = network.apply(params, grids)
    one = network.apply(params, grids[2, 1])
    np.testing.assert_allclose(predictions.logits[2, 1], one.logits, rtol=1e-5)
    np.testing.assert_allclose(predictions.value[2, 1], one.value, rtol=1e-5)
    assert np.ptp(predictions.value) > 0
    fitting.check_network(network, GAME)


def test_the_agents_play_the_published_game():
    assert make_agent(SETTING, published_network()).env == PublishedSnake()


def test_the_command_trains_as_published(tmp_path, capsys):
    arguments = ["--estimator=single_step", "--num_seeds=1", "--num_env_steps=5120", f"--logdir={tmp_path}"]
    assert not command_line.run(published, *arguments)
    config = dataclasses.replace(SETTING, estimator="single_step", num_seeds=1, num_env_steps=5_120)

    def restore(network):
        like = jax.eval_shape(lambda: init_seeds(make_agent(config, network), config))
        return checkpoints.read_checkpoint(tmp_path, 5_120, like)

    restore(published_network())
    with pytest.raises(UsageError, match="does not fit"):
        restore(None)  # as it would if the network chosen by default had been trained
    flags = json.loads((tmp_path / "config.json").read_text())["flags"]
    assert flags.items() >= AS_PUBLISHED.items()
    assert (flags["num_env_steps"], flags["estimator"], flags["num_seeds"]) == (5_120, "single_step", 1)
    assert (tmp_path / "train.png").exists()
    capsys.readouterr()
    assert command_line.run(published, "--discount=0.9", f"--logdir={tmp_path}") == 2
    assert "Unknown command line flag 'discount'" in capsys.readouterr().err


def test_a_run_goes_on_and_one_that_tunes_nothing_learns_no_outer_critic(tmp_path, monkeypatch):
    arrived = []

    def train(*arguments, **options):
        arrived.append(arguments)
        raise WriteError("stopped")

    monkeypatch.setattr(published, "train", train)
    (tmp_path / "metrics.csv").touch()  # as of a run that was stopped
    assert command_line.run(published, "--estimator=none", "--keep=3", f"--logdir={tmp_path}") == "stopped"
    ((config, folder, execution),) = arrived
    assert config == dataclasses.replace(SETTING, estimator="none", outer_critic=False)
    assert (folder, execution) == (tmp_path, Execution(keep=3))


@pytest.mark.parametrize(
    ("given", "chosen"),
    [("--noouter_critic", {"outer_critic": False}), ("--meta_learning_rate=0.03", {"meta_learning_rate": 0.03})],
)
def test_critic_and_meta_learning_rate_can_be_chosen(given, chosen, tmp_path, monkeypatch):
    arrived = []

    def train(config, *arguments, **options):
        arrived.append(config)
        raise WriteError("stopped")

    monkeypatch.setattr(published, "train", train)
    assert command_line.run(published, given, f"--logdir={tmp_path}") == "stopped"
    assert arrived == [dataclasses.replace(SETTING, **chosen)]


def test_a_run_is_as_long_as_published_by_itself():
    values = published.define_flags()
    assert (values["num_env_steps"].default, values["num_env_steps"].present) == (75_008_000, 0)
    assert "preset" not in values
