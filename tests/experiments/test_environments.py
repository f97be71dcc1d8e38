"""Environments by name, and networks by observation: what fits, and what does not."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from stairs import Seen, Stairs

from agents import networks, training
from agents.agent import inner_problem, learning
from envs import environment
from envs.catch import Catch
from experiments import compare, play, train, variance
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.runs import training as loop
from experiments.runs.building import init_seed, make_agent
from experiments.studies import comparison as comparing
from experiments.studies.search import searching
from metagrad import windows

SIZES = {"num_seeds": 2, "num_envs": 4, "rollout_length": 5, "num_channels": 2, "policy_width": 4, "value_width": 4}
STAIRS = Config(environment="stairs:Stairs", estimator="single_step", meta_params=("discount",), **SIZES)


def breaking():
    raise OSError("no such cartridge")


def test_catch_is_bsuites_game():
    """Against its rules written down a second time, with loops."""
    env = Catch(num_rows=5, num_cols=4)
    rng = np.random.default_rng(0)
    step = jax.jit(lambda state, action: environment.step(env, state, action, jax.random.key(0)))
    seen = set()
    for seed in range(16):
        state = env.initial(jax.random.key(seed))
        column, paddle = int(state.ball_col), 2
        for row in range(1, 5):
            action = int(rng.integers(3))
            paddle = min(max(paddle + [-1, 0, 1][action], 0), 3)
            state, timestep = step(state, jnp.int32(action))
            board = np.zeros((5, 4, 1))
            board[row, column] = board[4, paddle] = 1
            np.testing.assert_array_equal(timestep.last_observation, board)
            assert (bool(timestep.terminated), bool(timestep.truncated)) == (row == 4, False)
            assert timestep.reward == ((1 if paddle == column else -1) if row == 4 else 0)
        seen |= {("column", column), ("return", float(timestep.reward))}
        assert state.ball_row == 0
    assert seen == {*(("column", column) for column in range(4)), ("return", -1.0), ("return", 1.0)}


def test_catch_is_played_from_the_command_line(tmp_path):
    recorded = tmp_path / "catch.gif"
    assert not command_line.run(play, "--random", "--environment=catch", f"--record={recorded}", "--max_steps=2")
    assert recorded.read_bytes().startswith(b"GIF8")


@pytest.mark.parametrize(
    ("command", "arguments", "complaint"),
    [
        (compare, "--environment=catch --board_size=6", "--board_size=6: must be left out with --environment=catch"),
        (variance, "--environment=catch --time_limit=6", "--time_limit=6: must be left out with --environment=catch"),
        (train, "--environment=chess", "--environment=chess: must be one of snake, catch, gymnax:NAME, or PACKAGE"),
        (train, "--environment=test_environments:breaking", "(OSError: no such cartridge)"),
        (train, "--environment=builtins:dict", "--environment=builtins:dict: the environment dict needs a method init"),
    ],
)
def test_impossible_environments_are_one_line(command, arguments, complaint, tmp_path, capsys):
    assert command_line.run(command, *arguments.split(), f"--logdir={tmp_path / 'new'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "attribute", "complaint"),
    [
        ("terminal", None, "the environment Stairs needs a method terminal, and has none"),
        ("num_actions", True, "num_actions of Stairs must be a whole number .* and is True"),
        ("reward", lambda *_: jnp.ones(1), r"reward of Stairs must be float\[\], and is float32\[1\]"),
        ("initial", lambda *_: (), "initial of Stairs must return a tree of arrays"),
        ("transition", lambda *_: jnp.ones(2), "transition of Stairs must return the state as initial does, int32"),
        ("terminal", lambda _, state: not state, "terminal of Stairs cannot be traced by JAX: TracerBoolConversion"),
        ("__hash__", None, "the environment Stairs must be hashable"),
        ("places", 1, r"action_mask of the observation of Stairs must be bool\[3\], and is bool\[1\]"),
        ("observation", lambda *_: jnp.zeros(()), r"an observation must be an array \[features\], \[rows, columns\]"),
    ],
)
def test_environments_that_do_not_fit_are_told_in_a_sentence(name, attribute, complaint, monkeypatch):
    monkeypatch.setattr(Stairs, name, attribute)
    with pytest.raises(UsageError, match=f"^environment=stairs:Stairs: {complaint}") as told:
        make_agent(STAIRS)
    assert "\n" not in str(told.value)


def _with_network(*options):
    return dataclasses.replace(STAIRS, agent="own_agents:with_network", agent_options=options)


@pytest.mark.parametrize(
    ("option", "complaint"),
    [
        ("value_axis=True", r"value of the network, .*, must be float\[3, 2\], and is float32\[3, 2, 1\]"),
        ("fails=True", "apply of the network cannot be traced by JAX: ZeroDivision"),
    ],
)
def test_networks_that_do_not_fit_are_told_in_a_sentence(option, complaint):
    with pytest.raises(UsageError, match=f"^agent=own_agents:with_network: {complaint}"):
        make_agent(_with_network(option))


@pytest.mark.parametrize(("shape", "masked"), [((7,), True), ((4, 3), False), ((4, 3, 2), True)])
def test_networks_follow_from_observations_whose_pixels_are_numbers_from_zero_to_one(shape, masked):
    def observations(*leading, scale=None):
        pixels = jax.random.bits(jax.random.key(1), (*leading, *shape), jnp.uint8)
        grid = pixels if scale is None else pixels / jnp.float32(scale)
        mask = jnp.broadcast_to(jnp.array([True, False, True]), (*leading, 3))
        return Seen(grid, mask) if masked else grid

    num_axes = networks.observation_axes(jax.eval_shape(observations))
    network = networks.actor_critic_network(3, 2, 4, 5, num_axes=num_axes)
    critic = networks.value_network(2, 5, num_axes=num_axes)
    params, of_critic = (half.init(jax.random.key(0), observations(2)) for half in (network, critic))
    assert any("conv" in name for name in params) == (len(shape) > 1)
    for leading in [(), (3, 2)]:
        pixels, numbers = observations(*leading), observations(*leading, scale=255)
        predictions, values = network.apply(params, pixels), critic.apply(of_critic, pixels)
        jax.tree.map(np.testing.assert_array_equal, predictions, network.apply(params, numbers))
        np.testing.assert_array_equal(values, critic.apply(of_critic, numbers))
        assert predictions.value.shape == values.shape == leading
        assert np.all((jax.nn.softmax(predictions.policy.logits)[..., 1] == 0.0) == masked)


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16])
def test_agents_are_trained_in_double_precision_with_networks_of_any(dtype):
    """What goes round in loops must keep its dtype, which tracing shows, without compiling."""
    config = STAIRS if dtype == jnp.float64 else _with_network("dtype=bfloat16")
    with jax.enable_x64(True):
        agent = make_agent(dataclasses.replace(config, estimator="mixing", horizon=3))
        state = jax.eval_shape(partial(init_seed, learning(agent)), 0)
        after, _ = jax.eval_shape(partial(training.train, learning(agent)), state, 1)
        window = partial(windows.horizon_gradients, inner_problem(agent), 2)
        gradients, end, _ = jax.eval_shape(window, state.eta, state.position, state.key)
    assert jax.tree.map(lambda leaf: leaf.dtype, state) == jax.tree.map(lambda leaf: leaf.dtype, after)
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves((after.eta, gradients)))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(end.learner_state.params))


def test_train_from_python_takes_a_network_leaves_nothing_and_says_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    config = dataclasses.replace(_with_network(), num_env_steps=np.int64(400))
    with ThreadPoolExecutor() as pool:  # where no signal is ever seen
        metrics, seconds = pool.submit(loop.train, config, quiet=True).result()
    assert metrics["episode_return"].shape == metrics["hyper/discount"].shape == (20, 2)
    assert metrics["episode_return"].min() < 1.0  # the own network takes no notice of the mask
    assert seconds > 0.0
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"num_seeds": 2.5}, "^num_seeds=2.5: must be a whole number, at least 1"),
        ({"discount": "0.9"}, r"^discount='0.9': must be a number, in \(0, 1\)"),
        ({"environment": "catch", "board_size": "8"}, "^board_size=8: must be left out with environment=catch"),
    ],
)
def test_settings_from_python_are_checked_as_flags_are(settings, complaint, tmp_path):
    config, folder = dataclasses.replace(Config(), **settings), tmp_path / "new"
    for function in (
        loop.train,
        lambda config, folder: comparing.compare({"run": config}, folder),
        lambda config, folder: searching.search(config, {}, 1, 2, folder),
    ):
        with pytest.raises(UsageError, match=complaint):
            function(config, folder)
    assert not folder.exists()
