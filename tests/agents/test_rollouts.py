import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import actor_critic, rollouts
from agents.networks import Network, Predictions, actor_critic_network
from agents.policies import Categorical
from envs import environment
from envs.snake import Snake

LENGTH, NUM_ENVS = 12, 16


def _start(env, network, num_envs):
    """Returns an actor and parameters."""

    @jax.jit
    def start():
        actor = rollouts.start(env, num_envs, jax.random.key(0))
        return actor, network.init(jax.random.key(1), actor.observation)

    return jax.device_get(start())


@pytest.fixture(scope="module")
def collected():
    """Several consecutive rollouts, with terminations and truncations in them."""
    env = Snake(2, 3, time_limit=15)
    network = actor_critic_network(4, 4, 8, 8)
    actor, params = _start(env, network, NUM_ENVS)
    collect = jax.jit(rollouts.collect(env, network, LENGTH))
    pairs = []
    for key in jax.random.split(jax.random.key(2), 10):
        before = actor
        actor, rollout = jax.device_get(collect(params, actor, key))
        pairs.append((before, rollout, actor))
    return env, pairs


def test_both_kinds_of_ends_occur_and_exclude_each_other(collected):
    _, pairs = collected
    terminated = np.concatenate([rollout.terminated for _, rollout, _ in pairs])
    truncated = np.concatenate([rollout.truncated for _, rollout, _ in pairs])
    assert terminated.any()
    assert truncated.any()
    assert not (terminated & truncated).any()


def test_rollouts_follow_each_other(collected):
    _, pairs = collected
    for (before, rollout, after), (later, _, _) in itertools.pairwise(pairs):
        jax.tree.map(np.testing.assert_array_equal, after, later)
        first = jax.tree.map(lambda leaf: leaf[0], rollout.observation)
        jax.tree.map(np.testing.assert_array_equal, before.observation, first)


def test_episode_statistics_are_running_sums_that_restart_after_an_end(collected):
    _, pairs = collected
    running_return, running_length = np.zeros(NUM_ENVS), np.zeros(NUM_ENVS, int)
    for _, rollout, actor in pairs:
        for t in range(LENGTH):
            running_return += np.asarray(rollout.reward[t])
            running_length += 1
            np.testing.assert_allclose(rollout.episode_return[t], running_return)
            np.testing.assert_array_equal(rollout.episode_length[t], running_length)
            ended = np.asarray(rollout.terminated[t] | rollout.truncated[t])
            running_return[ended] = running_length[ended] = 0
        np.testing.assert_allclose(actor.episode_return, running_return)
        np.testing.assert_array_equal(actor.episode_length, running_length)


class Dice:
    """Every state is a fresh draw, and every third ends an episode."""

    num_actions, time_limit = 2, 3

    def initial(self, key):
        return {"drawn": jax.random.bits(key), "step": jnp.int32(0)}

    def transition(self, state, action, key):
        return {"drawn": jax.random.bits(key), "step": state["step"] + 1}

    def observation(self, state):
        return state["drawn"]

    def reward(self, state, action, next_state):
        return jnp.float32(0.0)

    def terminal(self, state):
        return state["step"] == 3

    def truncated(self, state):
        return jnp.bool_(False)


def test_no_two_states_share_their_randomness():
    """Neither those of two environments, first states and later ones, nor those of one."""
    network = Network(
        lambda *_: {}, lambda _, seen: Predictions(Categorical(jnp.zeros((*seen.shape, 2))), jnp.zeros(seen.shape))
    )
    actor, _ = _start(Dice(), network, 8)
    _, rollout = jax.jit(rollouts.collect(Dice(), network, 10))({}, actor, jax.random.key(1))
    assert len(np.unique(rollout.observation)) == rollout.observation.size


def test_length_out_of_range_is_refused():
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        rollouts.collect(Snake(3, 4), actor_critic_network(4, 4, 8, 8), 0)


class Counter:
    """Counts its steps on; an episode is cut where its length, which differs, is over, at `time_limit` or later."""

    num_actions = 2

    def __init__(self, time_limit):
        self.time_limit = time_limit

    def initial(self, key):
        return {"step": jnp.int32(0), "length": jax.random.randint(key, (), 3, 6)}

    def transition(self, state, action, key):
        return state | {"step": state["step"] + 1}

    def observation(self, state):
        return jnp.stack([state["step"], state["length"]]).astype(jnp.float32)

    def reward(self, state, action, next_state):
        return jnp.float32(1.0)

    def terminal(self, state):
        return jnp.bool_(False)

    def truncated(self, state):
        return state["step"] == state["length"]


def _counted(time_limit):
    """Returns a rollout of 10 steps of episodes of 3 to 5 steps, and its targets by values `100 length + step`."""
    network = Network(
        lambda key, observation: {},
        lambda params, observation: Predictions(Categorical(observation), observation @ jnp.array([1.0, 100.0])),
    )
    env = Counter(time_limit)
    actor, _ = _start(env, network, 8)

    @jax.jit
    def collect():
        _, rollout = rollouts.collect(env, network, 10)({}, actor, jax.random.key(1))
        seen = (rollout.observation, rollout.bootstrap_observation)
        values, bootstrap = (network.apply({}, observation).value for observation in seen)
        return rollout, actor_critic.targets(values, bootstrap, rollout, {"discount": 0.5, "lambda": 0.0})

    return jax.device_get(collect())


def test_every_truncation_of_a_rollout_is_bootstrapped_with_what_followed_it():
    rollout, targets = _counted(time_limit=3)
    assert np.max(np.sum(rollout.truncated, 0)) == 3
    step, length = np.moveaxis(np.asarray(rollout.observation), -1, 0)
    np.testing.assert_array_equal(rollout.truncated, step + 1 == length)
    np.testing.assert_allclose(targets.returns, 1.0 + 0.5 * (100.0 * length + step + 1))


def test_more_truncations_than_the_time_limit_allows_are_no_number():
    rollout, targets = _counted(time_limit=5)
    unforeseen = np.asarray(rollout.truncated) & (np.cumsum(rollout.truncated, 0) > 2)
    assert unforeseen.any()
    before_one = np.maximum.accumulate(unforeseen[::-1])[::-1]
    assert not before_one.all()
    np.testing.assert_array_equal(np.isnan(targets.returns), before_one)


class Both(Counter):
    """Ends for good where it is cut as well, as Gymnasium allows."""

    def terminal(self, state):
        return self.truncated(state) & (state["length"] > 3)


def test_an_end_that_is_terminal_is_not_truncated_as_well():
    ends = set()
    for length in (3, 4):
        state = {"step": jnp.int32(length - 1), "length": jnp.int32(length)}
        _, timestep = environment.step(Both(3), state, jnp.int32(0), jax.random.key(0))
        ends.add((length, bool(timestep.terminated), bool(timestep.truncated)))
    assert ends == {(3, False, True), (4, True, False)}
