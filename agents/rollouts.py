"""Collecting experience: a batch of environments steps on with the policy, resetting as episodes end."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from agents.networks import Network
from envs import environment
from envs.environment import Environment


class ActorState(NamedTuple):
    """Where B environments stand between two rollouts.

    Attributes:
      environment_state: the environments' states, [B, ...].
      observation: what the agent sees of them, [B, ...].
      episode_return: float [B], undiscounted return so far of the running episodes.
      episode_length: int32 [B], steps so far of the running episodes.
    """

    environment_state: Any
    observation: Any
    episode_return: chex.Array
    episode_length: chex.Array


_Carry = tuple[ActorState, Any, Any, chex.Array]


class Rollout(NamedTuple):
    """T steps of B environments, `tau` in the equations.

    Attributes:
      observation: what each action was taken on, [T, B, ...].
      action: int32 [T, B], or float [T, B, D] where an action is D real numbers.
      reward: float [T, B].
      terminated: bool [T, B], the step ended its episode in a terminal state.
      truncated: bool [T, B], the episode was cut after the step.
      bootstrap_observation: [1 + K, B, ...]; first, what followed the last step (before any reset); then, what followed
        each environment's first, second, ... step that was truncated, meaningful only where one was. An episode is not
        cut before the time limit, so K is T over the time limit, rounded up: one for a rollout that is no longer.
      episode_return: float [T, B], undiscounted return of the step's episode up to and including the step.
      episode_length: int32 [T, B], likewise the number of steps.
    """

    observation: Any
    action: chex.Array
    reward: chex.Array
    terminated: chex.Array
    truncated: chex.Array
    bootstrap_observation: Any
    episode_return: chex.Array
    episode_length: chex.Array


def start(env: Environment, num_envs: int, key: chex.PRNGKey) -> ActorState:
    """Starts `num_envs` environments, B of them.

    Args:
      env: the environment.
      num_envs: B.
      key: for the first states.

    Returns:
      The actor's state.
    """
    return start_from(env, jax.vmap(env.initial)(jax.random.split(key, num_envs)))


def start_from(env: Environment, environment_state: Any) -> ActorState:
    """Starts from given states, whose episodes count from there.

    Args:
      env: the environment.
      environment_state: the environments' states, [B, ...], none of them terminal.

    Returns:
      The actor's state.
    """
    num_envs = jax.tree.leaves(environment_state)[0].shape[0]
    return ActorState(
        environment_state=environment_state,
        observation=jax.vmap(env.observation)(environment_state),
        episode_return=jnp.zeros(num_envs),
        episode_length=jnp.zeros(num_envs, jnp.int32),
    )


def collect(
    env: Environment, network: Network, length: int
) -> Callable[[hk.Params, ActorState, chex.PRNGKey], tuple[ActorState, Rollout]]:
    """Makes the function that collects a rollout of `length` steps, T, with actions sampled from the policy.

    Args:
      env: the environment.
      network: whose policy acts.
      length: T, at least 1.

    Returns:
      A function from (parameters, actor state, key) to (next actor state, rollout).

    Raises:
      ValueError: if the length is out of its range.
    """
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    most_truncations = -(-length // env.time_limit)

    def collect_rollout(params: hk.Params, actor: ActorState, key: chex.PRNGKey) -> tuple[ActorState, Rollout]:
        def body(carry: _Carry, key: chex.PRNGKey) -> tuple[_Carry, Rollout]:
            actor, _, truncated_observation, num_truncated = carry
            action_key, step_key = jax.random.split(key)
            action = network.apply(params, actor.observation).policy.sample(action_key)
            environment_state, timestep = jax.vmap(partial(environment.step, env))(
                actor.environment_state, action, jax.random.split(step_key, len(action))
            )
            episode_return, episode_length = actor.episode_return + timestep.reward, actor.episode_length + 1
            ended = timestep.terminated | timestep.truncated
            next_actor = ActorState(
                environment_state=environment_state,
                observation=timestep.observation,
                episode_return=jnp.where(ended, 0.0, episode_return),
                episode_length=jnp.where(ended, 0, episode_length),
            )
            now = timestep.truncated & (num_truncated == jnp.arange(most_truncations)[:, None])
            truncated_observation = _where(now, timestep.last_observation, truncated_observation)
            step = Rollout(
                observation=actor.observation,
                action=action,
                reward=timestep.reward,
                terminated=timestep.terminated,
                truncated=timestep.truncated,
                bootstrap_observation=None,
                episode_return=episode_return,
                episode_length=episode_length,
            )
            num_truncated += timestep.truncated
            return (next_actor, timestep.last_observation, truncated_observation, num_truncated), step

        nothing_yet = jax.tree.map(lambda leaf: jnp.stack([leaf] * most_truncations), actor.observation)
        first = (actor, actor.observation, nothing_yet, jnp.zeros_like(actor.episode_length))
        (actor, last, truncated, _), rollout = jax.lax.scan(body, first, jax.random.split(key, length))
        bootstrap_observation = jax.tree.map(lambda one, more: jnp.concatenate([one[None], more]), last, truncated)
        return actor, rollout._replace(bootstrap_observation=bootstrap_observation)

    return collect_rollout


def _where(condition: chex.Array, chosen: Any, other: Any) -> Any:
    """Selects between trees of arrays, [B, ...] and [K, B, ...], by a bool [K, B]."""

    def select(left: chex.Array, right: chex.Array) -> chex.Array:
        return jnp.where(condition.reshape(*condition.shape, *[1] * (left.ndim - 1)), left, right)

    return jax.tree.map(select, chosen, other)
