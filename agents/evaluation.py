"""What a policy is worth: the returns of fresh episodes, played to their ends without learning."""

from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from agents.networks import Network
from envs.environment import Environment


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
    what would have followed. An episode that has ended is played on unseen until the last one ends, so the time that
    this takes is that of the longest.

    Args:
      env: the environment.
      network: whose logits are the policy.
      params: of the network.
      discount: in [0, 1].
      num_episodes: N.
      max_steps: steps after which whatever still goes on is cut, int32 []. Of a constant stream of rewards, a fraction
        `discount^max_steps` of the discounted weight lies beyond.
      key: for everything random; step t uses `fold_in` of t, so that a longer limit only adds to the same episodes.

    Returns:
      The returns.
    """
    initial_key, play_key = jax.random.split(key)

    def is_on(carry: tuple[chex.Array, Any, chex.Array, Returns]) -> chex.Array:
        step, _, ended, _ = carry
        return (step < max_steps) & ~jnp.all(ended)

    def play(carry: tuple[chex.Array, Any, chex.Array, Returns]) -> tuple[chex.Array, Any, chex.Array, Returns]:
        step, states, ended, returns = carry
        action_key, transition_key = jax.random.split(jax.random.fold_in(play_key, step))
        # Only the logits are used: the compiler leaves out all that the value alone would need.
        logits = network.apply(params, jax.vmap(env.observation)(states)).logits
        actions = jax.random.categorical(action_key, logits).astype(jnp.int32)
        next_states = jax.vmap(env.transition)(states, actions, jax.random.split(transition_key, num_episodes))
        rewards = jnp.where(ended, 0.0, jax.vmap(env.reward)(states, actions, next_states))
        returns = Returns(
            discounted=returns.discounted + discount**step * rewards,
            undiscounted=returns.undiscounted + rewards,
            length=returns.length + ~ended,
        )
        ended |= jax.vmap(env.terminal)(next_states) | jax.vmap(env.truncated)(next_states)
        return step + 1, next_states, ended, returns

    states = jax.vmap(env.initial)(jax.random.split(initial_key, num_episodes))
    nothing = Returns(jnp.zeros(num_episodes), jnp.zeros(num_episodes), jnp.zeros(num_episodes, jnp.int32))
    return jax.lax.while_loop(is_on, play, (jnp.int32(0), states, jnp.zeros(num_episodes, bool), nothing))[-1]
