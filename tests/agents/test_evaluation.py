import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from agents import evaluation
from agents.networks import Network, Predictions, actor_critic_network, tabular_network
from agents.policies import Categorical
from envs import processes, tabular
from envs.processes import STOP, WALK
from envs.snake import Snake

KEY = jax.random.key(5)


pytestmark = pytest.mark.usefixtures("float64")


def _play(env, network, params, discount=0.9, num_episodes=64, max_steps=200, key=KEY):
    play = functools.partial(evaluation.episode_returns, env, network, num_episodes=num_episodes)
    return jax.jit(play)(params=params, discount=discount, max_steps=max_steps, key=key)


def _always(action):
    """Returns a network without parameters that takes one action alone."""
    return Network(
        lambda key, observation: {},
        lambda params, observation: Predictions(
            Categorical(jnp.where(jnp.arange(2) == action, 0.0, -jnp.inf) + jnp.zeros((*observation.shape[:-1], 2))),
            None,
        ),
    )


def _table(termination=0.15):
    """Returns a random process and a policy on it."""
    mdp = tables.process(termination)
    network = tabular_network(mdp.num_states, mdp.num_actions, scale=0.7)
    return mdp, network, network.init(jax.random.key(0), None)


def test_mean_return_is_what_the_linear_solve_says():
    mdp, network, params = _table()
    policy = jax.nn.softmax(params["policy"]["table"])
    for discount in (0.0, 0.95):
        returns = _play(mdp, network, params, discount, num_episodes=10_000)
        for samples, solved in ((returns.discounted, discount), (returns.undiscounted, 1.0)):
            exact = tabular.discounted_return(mdp, policy, solved)
            assert abs(samples.mean() - exact) < 4 * samples.std() / 100


def test_the_first_reward_counts_in_full_and_each_later_one_less():
    mdp = processes.chain(3, 0.4)
    for action, discounted, undiscounted, length in ((STOP, 0.4, 0.4, 1), (WALK, 0.9**2, 1.0, 3)):
        returns = _play(mdp, _always(action), {})
        np.testing.assert_allclose(returns.discounted, discounted, rtol=1e-14)
        np.testing.assert_array_equal(returns.undiscounted, undiscounted)
        np.testing.assert_array_equal(returns.length, length)


def _snake(time_limit=14):
    env = Snake(3, 3, time_limit)
    network = actor_critic_network(4, 4, 8, 8)

    @jax.jit
    def init():
        observation = env.observation(env.initial(KEY))
        return network.init(jax.random.key(1), jax.tree.map(lambda leaf: leaf[None], observation))

    return env, network, init()


def test_games_are_those_of_a_plain_loop_that_stops_at_each_end():
    env, network, params = _snake(time_limit=30)
    num_episodes, discount = 32, 0.9
    returns = _play(env, network, params, discount, num_episodes)
    initial = jax.jit(env.initial)

    @jax.jit
    def move(game, key):
        action_key, transition_key = jax.random.split(key)
        logits = network.apply(params, env.observation(game)).policy.logits
        game = env.transition(game, jax.random.categorical(action_key, logits).astype(jnp.int32), transition_key)
        return game, env.terminal(game), env.truncated(game)

    initial_key, play_key = jax.random.split(KEY)
    terminated = truncated = 0
    for index in range(num_episodes):
        game, discounted, ended = initial(jax.random.fold_in(initial_key, index)), 0.0, False
        while not ended:
            t, before = int(game.step_count), int(game.length)
            game, over, cut = move(game, jax.random.fold_in(jax.random.fold_in(play_key, index), t))
            discounted += discount**t * (int(game.length) - before)
            ended = over or cut
            terminated, truncated = terminated + over, truncated + cut
        np.testing.assert_allclose(returns.discounted[index], discounted, rtol=1e-6)
        assert returns.undiscounted[index] == int(game.length) - 1
        assert returns.length[index] == int(game.step_count)
    assert terminated > 0
    assert truncated > 0


def test_episodes_depend_on_neither_their_number_nor_the_limit():
    few, long, short = (
        _play(*_table(), num_episodes=number, max_steps=at) for number, at in ((12, 200), (64, 200), (64, 5))
    )
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one, other[:12]), few, long)
    np.testing.assert_array_equal(short.length, np.minimum(long.length, 5))
    same = np.asarray(long.length <= 5)
    assert 0 < same.sum() < len(same)
    np.testing.assert_array_equal(short.discounted[same], long.discounted[same])
    assert np.all(short.discounted[~same] != long.discounted[~same])


def test_episodes_and_keys_do_not_share_their_randomness():
    first, second = (_play(*_table(termination=0.0), max_steps=30, key=jax.random.key(seed)) for seed in range(2))
    everything = np.concatenate([first.discounted, second.discounted])
    assert len(set(everything.tolist())) == len(everything)


def test_playing_computes_no_values():
    env, network, params = _snake()

    def flops(network):
        play = functools.partial(evaluation.episode_returns, env, network, num_episodes=64, max_steps=20)
        return jax.jit(play).lower(params=params, discount=0.9, key=KEY).compile().cost_analysis()["flops"]

    def apply_both(params, observation):
        policy, value = network.apply(params, observation)
        return Predictions(Categorical(policy.logits + 0.0 * value[..., None]), value)

    assert flops(network) < 0.8 * flops(network._replace(apply=apply_both))
