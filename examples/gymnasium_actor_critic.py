"""An actor-critic in one file that knows Snake through Gymnasium alone.

    python examples/gymnasium_actor_critic.py

plays 100,000 steps of the 4x4 board and prints how the mean return of an episode grows.
"""

from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
from gymnasium.wrappers.vector import RecordEpisodeStatistics

ENVIRONMENT = "envs.gymnasium_snake:metagrad/Snake-v0"
BOARD_SIZE = 4
NUM_ENVS = 32
ROLLOUT_LENGTH = 16
NUM_HIDDEN = 128
DISCOUNT = 0.95
LEARNING_RATE = 3e-3
VALUE_COST = 0.5
ENTROPY_COST = 0.01

optimizer = optax.chain(optax.clip_by_global_norm(0.5), optax.adam(LEARNING_RATE))


class Rollout(NamedTuple):
    """A batch of experience, each array [time, envs, ...].

    Attributes:
      observations: what was seen; one more than the rest in time, to bootstrap with, like the action masks.
      action_masks: which actions do not crash.
      actions: what was done.
      rewards: what it paid.
      terminated: whether the episode ended so.
      truncated: whether the time limit cut it so.
      valid: false for the steps that only reset an environment.
    """

    observations: np.ndarray
    action_masks: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    valid: np.ndarray


def initial_params(key: jax.Array, num_inputs: int, num_actions: int) -> dict[str, jax.Array]:
    """Draws one hidden layer and, on top of it, the policy's logits and the value."""
    hidden_key, output_key = jax.random.split(key)
    return {
        "hidden": jax.random.normal(hidden_key, (num_inputs, NUM_HIDDEN)) / np.sqrt(num_inputs),
        "hidden_bias": jnp.zeros(NUM_HIDDEN),
        "output": 0.01 * jax.random.normal(output_key, (NUM_HIDDEN, num_actions + 1)),
        "output_bias": jnp.zeros(num_actions + 1),
    }


@jax.jit
def policy_and_value(params: dict, observations: jax.Array, action_masks: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the log-probabilities of the actions [..., 4] and the values [...]."""
    inputs = observations.reshape(*observations.shape[:-3], -1)
    hidden = jax.nn.relu(inputs @ params["hidden"] + params["hidden_bias"])
    outputs = hidden @ params["output"] + params["output_bias"]
    return jax.nn.log_softmax(jnp.where(action_masks, outputs[..., :-1], -1e9)), outputs[..., -1]


def bootstrapped_returns(rollout: Rollout, values: jax.Array) -> jax.Array:
    """Returns the discounted returns [time, envs]; what is still to come after the last step is its value."""

    def step(following_return: jax.Array, inputs: tuple) -> tuple[jax.Array, jax.Array]:
        reward, terminated, truncated, next_value = inputs
        rest = jnp.where(terminated, 0.0, jnp.where(truncated, next_value, following_return))
        return reward + DISCOUNT * rest, reward + DISCOUNT * rest

    inputs = (rollout.rewards, rollout.terminated, rollout.truncated, values[1:])
    return jax.lax.scan(step, values[-1], inputs, reverse=True)[1]


def loss(params: dict, rollout: Rollout) -> jax.Array:
    """Returns the actor-critic loss."""
    log_policy, values = policy_and_value(params, rollout.observations, rollout.action_masks)
    log_policy = log_policy[:-1]
    returns = bootstrapped_returns(rollout, jax.lax.stop_gradient(values))
    advantages = returns - values[:-1]
    log_probabilities = jnp.take_along_axis(log_policy, rollout.actions[..., None], axis=-1)[..., 0]
    entropies = -jnp.sum(jnp.exp(log_policy) * log_policy, axis=-1)
    policy_losses = -jax.lax.stop_gradient(advantages) * log_probabilities
    losses = policy_losses + VALUE_COST * advantages**2 - ENTROPY_COST * entropies
    return jnp.sum(losses * rollout.valid) / jnp.sum(rollout.valid)


@jax.jit
def update(params: dict, optimizer_state: Any, rollout: Rollout) -> tuple[dict, Any]:
    """Takes one step of the optimizer."""
    updates, optimizer_state = optimizer.update(jax.grad(loss)(params, rollout), optimizer_state)
    return optax.apply_updates(params, updates), optimizer_state


def train(num_steps: int, seed: int) -> list[float]:
    """Trains for `num_steps` steps of all environments together.

    Args:
      num_steps: to play; whole rollouts are.
      seed: of the games, the parameters and the actions.

    Returns:
      The return of every episode, in the order in which they ended.
    """
    envs = RecordEpisodeStatistics(
        gymnasium.make_vec(ENVIRONMENT, NUM_ENVS, num_rows=BOARD_SIZE, num_cols=BOARD_SIZE, time_limit=200)
    )
    generator = np.random.default_rng(seed)
    num_actions = int(envs.single_action_space.n)
    params = initial_params(jax.random.key(seed), int(np.prod(envs.single_observation_space.shape)), num_actions)
    optimizer_state = optimizer.init(params)
    episode_returns: list[float] = []
    observation, infos = envs.reset(seed=seed)
    ended = np.zeros(NUM_ENVS, bool)
    for _ in range(num_steps // (NUM_ENVS * ROLLOUT_LENGTH)):
        steps = []
        for _ in range(ROLLOUT_LENGTH):
            action_mask, valid = infos["action_mask"], ~ended
            log_policy, _ = policy_and_value(params, observation, action_mask)
            action = np.argmax(log_policy + generator.gumbel(size=log_policy.shape), axis=-1)
            next_observation, reward, terminated, truncated, infos = envs.step(action)
            steps.append(Rollout(observation, action_mask, action, reward, terminated, truncated, valid))
            observation, ended = next_observation, terminated | truncated
            if ended.any():
                episode_returns.extend(infos["episode"]["r"][ended].tolist())
        rollout = Rollout(*(np.stack(parts) for parts in zip(*steps, strict=True)))
        rollout = rollout._replace(
            observations=np.concatenate([rollout.observations, observation[None]]),
            action_masks=np.concatenate([rollout.action_masks, infos["action_mask"][None]]),
        )
        params, optimizer_state = update(params, optimizer_state, rollout)
    envs.close()
    return episode_returns


def main() -> None:
    """Trains and prints the progress by tenths of all episodes."""
    returns = train(num_steps=100_000, seed=0)
    for tenth, part in enumerate(np.array_split(returns, 10), start=1):
        print(f"tenth {tenth:2d} of {len(returns)} episodes: mean return {part.mean():.2f}")


if __name__ == "__main__":
    main()
