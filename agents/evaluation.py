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
    what would have followed. All take the time of the longest.

    Args:
      env: the environment.
      network: whose policy plays.
      params: of the network.
      discount: in [0, 1].
      num_episodes: N.
      max_steps: steps after which whatever still goes on is cut, int32 []. Of a constant stream of rewards, a fraction
        `discount^max_steps` of the discounted weight lies beyond.
      key: for everything random; step t of episode i depends on t and i, but on neither N nor `max_steps`.

    Returns:
      The returns.
    """
    initial_key, play_key = jax.random.split(key)

    def play(index: chex.Array) -> Returns:
        episode_key = jax.random.fold_in(play_key, index)

        def goes_on(game: tuple[Any, Returns, chex.Array]) -> chex.Array:
            _, returns, ended = game
            return ~ended & (returns.length < max_steps)

        def step(game: tuple[Any, Returns, chex.Array]) -> tuple[Any, Returns, chex.Array]:
            state, returns, _ = game
            action_key, transition_key = jax.random.split(jax.random.fold_in(episode_key, returns.length))
            # Only the policy is used: the compiler leaves out all that the value alone would need.
            observation = jax.tree.map(lambda leaf: leaf[None], env.observation(state))
            policy = jax.tree.map(lambda leaf: leaf[0], network.apply(params, observation).policy)
            action = policy.sample(action_key)
            following = env.transition(state, action, transition_key)
            reward = env.reward(state, action, following)
            returns = Returns(
                discounted=returns.discounted + discount**returns.length * reward,
                undiscounted=returns.undiscounted + reward,
                length=returns.length + 1,
            )
            return following, returns, env.terminal(following) | env.truncated(following)

        state = env.initial(jax.random.fold_in(initial_key, index))
        start = (state, Returns(jnp.zeros(()), jnp.zeros(()), jnp.int32(0)), jnp.bool_(False))
        return jax.lax.while_loop(goes_on, step, start)[1]

    return jax.vmap(play)(jnp.arange(num_episodes))
