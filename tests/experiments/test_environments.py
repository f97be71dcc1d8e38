"""Environments by name, and networks by observation: from flags to files, and what does not fit."""

import csv
import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import fitting, networks, training
from agents.networks import Network, Predictions
from envs import environment
from envs.catch import Catch
from envs.snake import Snake
from experiments import compare, curves, play, search, train, variance
from experiments.config import settings as config_lib
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.runs import training as loop
from experiments.runs.building import init_seed, make_agent
from experiments.storage import config_file
from experiments.storage.files import WriteError
from experiments.studies import comparison as comparing
from experiments.studies.search import training as search_training
from experiments.studies.search.searching import search as run_search
from metagrad import windows

SMALL = {
    "environment": "catch",
    "num_seeds": 2,
    "num_envs": 4,
    "rollout_length": 5,
    "num_channels": 2,
    "policy_width": 4,
    "value_width": 4,
}


def flags(**settings):
    return [f"--{name}={value}" for name, value in (SMALL | settings).items()]


class Plain:
    """As few lines as an environment can have: a walk on a line of three cells, whose state is a number."""

    num_actions, time_limit = 2, 7

    def initial(self, key):
        return jnp.int32(1)

    def transition(self, state, action, key):
        return jnp.clip(state + 2 * action - 1, 0, 2)

    def observation(self, state):
        return jax.nn.one_hot(state, 3)

    def reward(self, state, action, next_state):
        return 1.0 * (next_state == 2)

    def terminal(self, state):
        return state == 2

    def truncated(self, state):
        return False


class Unhashable(Plain):
    __hash__ = None


@dataclasses.dataclass(frozen=True)
class WithArray(Plain):
    """Hashable as a class, and not as an instance."""

    rewards: np.ndarray


class WithMask(Plain):
    """Its mask has as many places as are given, for two actions."""

    def __init__(self, places):
        self.places = places

    def observation(self, state):
        return Masked(super().observation(state), jnp.ones(self.places, bool))


def with_three_places():
    return WithMask(3)


def with_one_place():
    return WithMask(1)


def with_two_places():
    return WithMask(2)


def breaking():
    raise OSError("no such cartridge")


# Catch.


def test_catch_is_bsuites_game():
    """Against its rules written down a second time, with loops."""
    env = Catch(num_rows=5, num_cols=4)
    rng = np.random.default_rng(0)
    step = jax.jit(lambda state, action: environment.step(env, state, action, jax.random.key(0)))
    columns, returns = set(), set()
    for seed in range(16):
        state = env.initial(jax.random.key(seed))
        column, paddle = int(state.ball_col), 2
        columns.add(column)
        for row in range(1, 5):
            action = int(rng.integers(3))
            paddle = min(max(paddle + [-1, 0, 1][action], 0), 3)
            state, timestep = step(state, jnp.int32(action))
            board = np.zeros((5, 4, 1))
            board[row, column] = board[4, paddle] = 1
            np.testing.assert_array_equal(timestep.last_observation, board)
            assert bool(timestep.terminated) == (row == 4)
            assert not timestep.truncated
            assert timestep.reward == ((1 if paddle == column else -1) if row == 4 else 0)
        returns.add(float(timestep.reward))
        assert state.ball_row == 0
    assert columns == {0, 1, 2, 3}
    assert returns == {-1.0, 1.0}


def test_catch_is_drawn_where_it_is():
    env = Catch(3, 4)
    picture = env.render(jax.device_get(env.initial(jax.random.key(0))._replace(ball_col=jnp.int32(3))))
    assert picture.shape == (96, 128, 3)
    assert picture.dtype == np.uint8
    colours = picture[16::32, 16::32].astype(int)
    background = colours[1, 1]
    different = np.argwhere((colours != background).any(-1)).tolist()
    assert different == [[0, 3], [2, 2]]


@pytest.mark.parametrize(
    ("rows", "cols", "complaint"), [(1, 5, "num_rows must be at least 2"), (2, 0, "num_cols must")]
)
def test_sizes_out_of_range_are_refused(rows, cols, complaint):
    with pytest.raises(ValueError, match=complaint):
        Catch(rows, cols)


# The commands.


@pytest.fixture
def nothing_is_trained(monkeypatch):
    """Lets what should be refused, and is not, fail at once."""
    for module in (train, search_training):
        monkeypatch.setattr(module, "make_agent", None)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on Catch from the command line; its folder."""
    folder = tmp_path_factory.mktemp("catch") / "run"
    settings = flags(estimator="single_step", meta_params="discount", num_env_steps=2_000)
    assert not command_line.run(train, *settings, f"--logdir={folder}")
    return folder


def test_train_on_catch(run):
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    ended = [row for row in rows if row["episode_length"]]
    assert {float(row["episode_length"]) for row in ended} == {9.0}
    assert all(-1.0 <= float(row["episode_return"]) <= 1.0 for row in ended)
    assert (run / "train.png").exists()


def test_the_folder_names_the_environment_and_nothing_of_snake(run, capsys):
    written = json.loads((run / "config.json").read_text())["flags"]
    assert written["environment"] == "catch"
    assert not set(config_lib.OF_SNAKE) & set(written)
    config = config_file.load(run / "config.json")
    assert isinstance(make_agent(config).env, Catch)
    assert not command_line.run(curves, f"--runs={run}")
    other = [
        "--environment=snake",
        f"--logdir={run}",
        "--num_env_steps=2000",
        "--num_seeds=2",
        "--meta_params=discount",
        *("--num_channels=2", "--policy_width=4", "--value_width=4"),
    ]
    capsys.readouterr()
    assert command_line.run(train, *other, "--estimator=single_step", "--num_envs=4", "--rollout_length=5") == 2
    assert "--environment=snake: must be catch" in capsys.readouterr().err


def test_play_shows_what_has_a_render(run, tmp_path, capsys, monkeypatch):
    recorded = tmp_path / "catch.gif"
    assert not command_line.run(play, f"--logdir={run}", f"--record={recorded}", "--max_steps=12", "--episodes=2")
    assert recorded.read_bytes().startswith(b"GIF8")
    assert not command_line.run(play, "--random", "--environment=catch", f"--record={recorded}", "--max_steps=2")
    capsys.readouterr()
    monkeypatch.delattr(Catch, "render")
    assert command_line.run(play, f"--logdir={run}", f"--record={recorded}") == 2
    assert capsys.readouterr().err.startswith("--environment=catch: must be one with a method render")


@pytest.mark.parametrize(
    ("command", "arguments", "complaint"),
    [
        *(
            (command, ["--environment=catch", flag], f"{flag}: must be left out with --environment=catch")
            for command in (train, compare, search, variance)
            for flag in ("--board_size=6", "--time_limit=50")
        ),
        (play, ["--random", "--environment=catch", "--board_size=6"], "--board_size=6: must be left out with"),
        (play, ["--human", "--environment=catch"], "--environment=catch: must be left out with --human"),
        (train, ["--environment=chess"], "--environment=chess: must be one of snake, catch, gymnax:NAME, or PACKAGE"),
        (train, ["--environment=no.such:Thing"], "(ModuleNotFoundError: No module named 'no')"),
        (train, ["--environment=test_environments:Nothing"], "has no attribute 'Nothing')"),
        (train, ["--environment=test_environments:breaking"], "(OSError: no such cartridge)"),
        (
            train,
            ["--environment=builtins:dict"],
            "--environment=builtins:dict: the environment dict needs a method initial",
        ),
    ],
)
def test_impossible_environments_are_one_line(command, arguments, complaint, tmp_path, capsys, nothing_is_trained):
    where = [] if command is play else [f"--logdir={tmp_path / 'new'}"]
    assert command_line.run(command, *arguments, *where) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not (tmp_path / "new").exists()


def test_the_paper_preset_has_nothing_of_snake_elsewhere(tmp_path, monkeypatch):
    configs = []

    def stop(config, *_, **__):
        configs.append(config)
        raise WriteError

    monkeypatch.setattr(train, "train", stop)
    command_line.run(train, "--preset=paper", "--environment=catch", f"--logdir={tmp_path}")
    assert configs == [Config(**(config_lib.PRESETS["paper"] | {"environment": "catch", "board_size": "6"}))]


def test_runs_of_this_repository_are_still_read(capsys):
    assert not command_line.run(curves, "--runs=results/paths/fixed_0.8,results/paths/path_mixing_outer_critic")


# Whether they fit.


@pytest.mark.parametrize("env", [Catch(), Snake(3, 4), Plain()])
def test_what_fits_is_accepted(env):
    fitting.check_environment(env)


def changed(**methods):
    return type("Changed", (Plain,), methods)()


@pytest.mark.parametrize(
    ("env", "complaint"),
    [
        (object(), "the environment object needs a method initial"),
        (changed(terminal=None), "the environment Changed needs a method terminal, and has none"),
        (changed(time_limit=None), r"time_limit of Changed must be a whole number in \[1, 2\^31\), .*, and is None"),
        (changed(num_actions=True), "num_actions of Changed must be a whole number .* and is True"),
        (changed(num_actions=1), r"num_actions of Changed must be a whole number in \[2, 2\^31\), and is 1"),
        (changed(reward=lambda *_: jnp.int32(1)), r"reward of Changed must be float\[\], and is int32\[\]"),
        (changed(reward=lambda *_: jnp.ones(1)), r"reward of Changed must be float\[\], and is float32\[1\]"),
        (changed(terminal=lambda *_: 0.0), r"terminal of Changed must be bool\[\], and is float32\[\]"),
        (changed(truncated=lambda *_: None), r"truncated of Changed must be bool\[\], and is NoneType of no arrays"),
        (changed(initial=lambda *_: ()), "initial of Changed must return a tree of arrays"),
        (changed(observation=lambda *_: {}), "observation of Changed must return a tree of arrays"),
        (
            changed(initial=lambda *_: {"cell": jnp.int32(1)}, transition=lambda *_: {"cell": jnp.ones(2)}),
            r"transition of Changed must return \['cell'\] of the state as initial does, int32\[\], and returns "
            r"float32\[2\]",
        ),
        (
            changed(terminal=lambda self, state: not state),
            "terminal of Changed cannot be traced by JAX: TracerBoolConversionError",
        ),
        (Unhashable(), "the environment Unhashable must be hashable"),
        (WithArray(np.arange(3)), "the environment WithArray must be hashable"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(env, complaint):
    with pytest.raises(ValueError, match=complaint) as told:
        fitting.check_environment(env)
    assert "\n" not in str(told.value)


def own_network(value_axis=False, actions=2, dtype=None, **changes):
    def apply(params, observation):
        observation = observation.astype(params["value"].dtype)
        value = observation @ params["value"]
        return Predictions(observation @ params["logits"], value if value_axis else value[..., 0])

    def init(key, observation):
        return {"value": jnp.zeros((3, 1), dtype), "logits": jnp.zeros((3, actions), dtype)}

    return Network(init, changes.get("apply", apply))


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        (own_network(value_axis=True), r"value of the network, .*, must be float\[3, 2\], and is float32\[3, 2, 1\]"),
        (own_network(actions=3), r"logits of the network, .*, must be float\[3, 2, 2\], and is float32\[3, 2, 3\]"),
        (
            own_network(apply=lambda *_: jnp.zeros(2)),
            r"must return Predictions, with logits, and returned float32\[2\]",
        ),
        (own_network(apply=lambda *_: 1 / 0), "apply of the network cannot be traced by JAX: ZeroDivisionError"),
    ],
)
def test_networks_that_do_not_fit_are_told_in_a_sentence(network, complaint):
    fitting.check_network(own_network(), Plain())
    with pytest.raises(ValueError, match=complaint):
        fitting.check_network(network, Plain())
    with pytest.raises(UsageError, match=complaint):
        make_agent(Config(environment="test_environments:Plain"), network)


@pytest.mark.parametrize(("places", "name"), [(1, "with_one_place"), (3, "with_three_places")])
def test_an_action_mask_has_a_place_for_each_action(places, name):
    make_agent(Config(environment="test_environments:with_two_places"))
    complaint = rf"action_mask of the observation of WithMask must be bool\[2\], and is bool\[{places}\]"
    with pytest.raises(UsageError, match=complaint):
        make_agent(Config(environment=f"test_environments:{name}"))


def test_the_outer_critic_of_an_own_network_is_a_copy_of_it():
    network = own_network()
    agent = make_agent(Config(environment="test_environments:Plain"), network)
    assert agent.network is network
    observation = jnp.eye(3)
    params = {"value": jnp.array([[1.0], [2.0], [5.0]]), "logits": jnp.zeros((3, 2))}
    np.testing.assert_array_equal(agent.outer_critic.network.apply(params, observation), [1.0, 2.0, 5.0])


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.bfloat16])
def test_agents_are_trained_in_double_precision_with_networks_of_any(dtype):
    """What goes round in loops must keep its dtype, which tracing shows, without compiling."""
    own = None if dtype == jnp.float64 else own_network(dtype=dtype)
    config = Config(**SMALL | {"environment": "test_environments:Plain"}, horizon=3, num_env_steps=60)
    with jax.enable_x64(True):
        agent = make_agent(config, own)
        state = jax.eval_shape(partial(init_seed, agent), 0)
        after, _ = jax.eval_shape(partial(training.train, agent), state, 1)
        window = partial(windows.horizon_gradients, training.inner_problem(agent), 2)
        gradients, end, _ = jax.eval_shape(window, state.eta, state.position, state.key)
    for leaf, later in zip(*map(jax.tree.leaves, (state, after)), strict=True):
        assert leaf.dtype == later.dtype
    assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves((after.eta, gradients)))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(end.learner_state.params))


# Networks by observation.


class Masked(NamedTuple):
    grid: jax.Array
    action_mask: jax.Array


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", [(7,), (4, 3), (4, 3, 2)])
def test_networks_fit_their_observations(shape, masked):
    def observations(*leading):
        grid = jax.random.uniform(jax.random.key(1), (*leading, *shape))
        mask = jnp.broadcast_to(jnp.array([True, False, True]), (*leading, 3))
        return Masked(grid, mask) if masked else grid

    one = jax.eval_shape(observations)
    num_axes = networks.observation_axes(one)
    assert num_axes == len(shape)
    network = networks.actor_critic_network(3, 2, 4, 5, num_axes=num_axes)
    critic = networks.value_network(2, 5, num_axes=num_axes)
    params = jax.jit(network.init)(jax.random.key(0), observations(2))
    of_critic = jax.eval_shape(critic.init, jax.random.key(0), observations(2))
    assert any("conv" in name for name in params) == (len(shape) > 1)
    apply = jax.jit(network.apply)
    for leading in [(), (2,), (3, 2)]:
        predictions = apply(params, observations(*leading))
        assert predictions.logits.shape == (*leading, 3)
        values = jax.eval_shape(critic.apply, of_critic, observations(*leading))
        assert predictions.value.shape == values.shape == leading
        probabilities = jax.nn.softmax(predictions.logits)
        assert np.all((probabilities[..., 1] == 0.0) == masked)


def test_a_map_is_a_grid_of_one_channel():
    grid = jax.random.uniform(jax.random.key(1), (2, 4, 3))
    flat, deep = (networks.actor_critic_network(3, 2, 4, 5, num_axes=axes) for axes in (2, 3))
    params = flat.init(jax.random.key(0), grid)
    jax.tree.map(np.testing.assert_array_equal, flat.apply(params, grid), deep.apply(params, grid[..., None]))


def test_pixels_are_numbers_from_zero_to_one():
    pixels = jax.random.bits(jax.random.key(1), (2, 4, 3), jnp.uint8)
    network, critic = networks.actor_critic_network(3, 2, 4, 5, num_axes=2), networks.value_network(2, 5, num_axes=2)
    for half in (network, critic):
        params = half.init(jax.random.key(0), pixels)
        jax.tree.map(
            np.testing.assert_array_equal, half.apply(params, pixels), half.apply(params, pixels / jnp.float32(255))
        )


@pytest.mark.parametrize(
    "observation",
    [jnp.zeros(()), jnp.zeros((2, 2, 2, 2)), {"position": jnp.zeros(3)}, jnp.zeros((2, 0)), 1j * jnp.ones(3)],
)
def test_observations_without_a_network_are_told(observation, monkeypatch):
    monkeypatch.setattr(Plain, "observation", lambda self, state: observation)
    with pytest.raises(UsageError, match=r"an observation must be an array \[features\], \[rows, columns\]"):
        make_agent(Config(environment="test_environments:Plain"))


# From Python.


def test_train_from_python_leaves_nothing_and_says_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    settings = SMALL | {"environment": "test_environments:Plain"}
    config = Config(**settings, estimator="single_step", meta_params=("discount",), num_env_steps=np.int64(400))
    with ThreadPoolExecutor() as pool:  # where no signal is ever seen
        metrics, seconds = pool.submit(loop.train, config, network=own_network(), quiet=True).result()
    assert metrics["episode_return"].shape == metrics["hyper/discount"].shape == (20, 2)
    assert seconds > 0.0
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"estimator": "foo"}, "--estimator=foo: must be one of none, single_step, multi_step, mixing"),
        ({"num_seeds": 2.5}, "--num_seeds=2.5: must be a whole number, at least 1"),
        ({"discount": "0.9"}, r"--discount='0.9': must be a number, in \(0, 1\)"),
        ({"seed": True}, "--seed=True: must be a whole number"),
        ({"meta_params": "discount"}, "--meta_params='discount': must be a tuple of names"),
        ({"environment": "catch", "board_size": "8"}, "--board_size=8: must be left out with --environment=catch"),
        ({"environment": "nothing"}, "--environment=nothing: must be one of snake, catch"),
    ],
)
def test_settings_from_python_are_checked_as_flags_are(settings, complaint, tmp_path, nothing_is_trained):
    for function in (
        loop.train,
        lambda config, folder: comparing.compare({"run": config}, folder),
        lambda config, folder: run_search(config, {}, 1, 2, folder),
    ):
        if function is loop.train or "estimator" not in settings:
            with pytest.raises(UsageError, match=complaint):
                function(dataclasses.replace(Config(), **settings), tmp_path / "new")
    assert not (tmp_path / "new").exists()
