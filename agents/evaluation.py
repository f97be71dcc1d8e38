"""What a policy is worth: the returns of fresh episodes, played to their ends without learning."""

import math
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from agents.networks import Network
from envs.environment import Environment

STEPS_TOGETHER, GROUPS = 96, 8
"""Steps that all episodes are played side by side, and how many groups the rest is played in, one after another."""


class Returns(NamedTuple):
    """Of N episodes.

    Attributes:
      discounted: float [N], `sum_t discount^t r_t` with the first reward at t = 0.
      undiscounted: float [N], `sum_t r_t`.
      length: int32 [N], steps of the episode.
    """

    discounted: chex.Array
    undiscounted: chex.Array
    length: chex.Array


class _Games(NamedTuple):
    """Episodes side by side: at one step, and for each its key, its state, whether it has ended, its returns."""

    step: chex.Array
    keys: chex.PRNGKey
    states: Any
    ended: chex.Array
    returns: Returns


def episode_returns(
    env: Environment,
    network: Network,
    params: hk.Params,
    discount: chex.Numeric,
    num_episodes: int,
    max_steps: int,
    key: chex.PRNGKey,
) -> Returns:
    """Plays fresh episodes side by side, with actions sampled from the policy, until all have ended.

    An episode ends in a terminal state or at its time limit, and no reward counts after either; nothing stands for
    what would have followed. Episodes that have ended are played on unseen with those beside them. So after some steps
    the others, often few and long, are gathered into groups, and a group without any takes no time.

    Args:
      env: the environment.
      network: whose logits are the policy.
      params: of the network.
      discount: in [0, 1].
      num_episodes: N.
      max_steps: steps after which whatever still goes on is cut, int32 []. Of a constant stream of rewards, a fraction
        `discount^max_steps` of the discounted weight lies beyond.
      key: for everything random; step t of episode i depends on t and i, but on neither N nor `max_steps`.

    Returns:
      The returns.
    """

    def play(games: _Games) -> _Games:
        keys = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, games.step)))(games.keys)
        # Only the logits are used: the compiler leaves out all that the value alone would need.
        logits = network.apply(params, jax.vmap(env.observation)(games.states)).logits
        actions = jax.vmap(jax.random.categorical)(keys[:, 0], logits).astype(jnp.int32)
        states = jax.vmap(env.transition)(games.states, actions, keys[:, 1])
        rewards = jnp.where(games.ended, 0.0, jax.vmap(env.reward)(games.states, actions, states))
        returns = Returns(
            discounted=games.returns.discounted + discount**games.step * rewards,
            undiscounted=games.returns.undiscounted + rewards,
            length=games.returns.length + ~games.ended,
        )
        ended = games.ended | jax.vmap(env.terminal)(states) | jax.vmap(env.truncated)(states)
        return _Games(games.step + 1, games.keys, states, ended, returns)

    def play_until(games: _Games, last_step: chex.Numeric) -> _Games:
        return jax.lax.while_loop(lambda games: (games.step < last_step) & ~jnp.all(games.ended), play, games)

    initial_key, play_key = jax.random.split(key)
    initial_keys, play_keys = (
        jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(num_episodes)) for key in (initial_key, play_key)
    )
    games = _Games(
        step=jnp.int32(0),
        keys=play_keys,
        states=jax.vmap(env.initial)(initial_keys),
        ended=jnp.zeros(num_episodes, bool),
        returns=Returns(jnp.zeros(num_episodes), jnp.zeros(num_episodes), jnp.zeros(num_episodes, jnp.int32)),
    )
    groups = math.gcd(num_episodes, GROUPS)
    games = play_until(games, jnp.minimum(max_steps, STEPS_TOGETHER))
    order = jnp.argsort(games.ended)
    grouped = jax.tree.map(lambda leaf: leaf[order].reshape(groups, -1, *leaf.shape[1:]), games._replace(step=()))
    finished = jax.lax.map(lambda group: play_until(group._replace(step=games.step), max_steps).returns, grouped)
    back = jnp.argsort(order)
    return jax.tree.map(lambda leaf: leaf.reshape(-1)[back], finished)
