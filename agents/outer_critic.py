"""The critic of the outer loss: a value function of its own, for the outer discount.

The outer loss wants advantages under the outer discount. Taken from the agent's critic, which is trained for the tuned
discount, they are biased towards it (Bonnet, Midgley and Laterre, 2022, "Debiasing Meta-Gradient Reinforcement Learning
by Learning the Outer Value Function"). This critic shares nothing with the agent: it learns the lambda-returns at the
outer discount and lambda from the agent's rollouts, by an update without `eta`. So it belongs with the data, which a
meta-gradient holds constant: it learns where they are collected, and no derivative ever passes through it.
"""

from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import optax
import rlax

from agents import actor_critic
from agents.actor_critic import Targets
from agents.networks import ValueNetwork
from agents.rollouts import Rollout
from metagrad.hyperparameters import Hyperparameters


class OuterCritic(NamedTuple):
    """What learning does not change.

    Attributes:
      network: the value function.
      optimizer: a complete optimizer, learning rate included.
    """

    network: ValueNetwork
    optimizer: optax.GradientTransformation


class CriticState(NamedTuple):
    """What learning changes."""

    params: hk.Params
    optimizer_state: optax.OptState


def init(critic: OuterCritic, observation: chex.ArrayTree, key: chex.PRNGKey) -> CriticState:
    """Initialises the critic.

    Args:
      critic: its description.
      observation: a batch of observations, [B, ...], for its shapes.
      key: for the parameters.

    Returns:
      The first state.
    """
    params = critic.network.init(key, observation)
    return CriticState(params, critic.optimizer.init(params))


def learn(
    critic: OuterCritic, state: CriticState, rollout: Rollout, hyper: Hyperparameters
) -> tuple[CriticState, Targets]:
    """Judges a rollout, then learns from it: one step on `mean_t (G_t - v_t)^2 / 2`, `G` the lambda-returns.

    Args:
      critic: its description.
      state: before it has seen the rollout.
      rollout: the data.
      hyper: the outer `discount` and `lambda`, float [] each.

    Returns:
      The next state, and the targets of the outer loss, by the values from before the step.
    """
    values, pullback = jax.vjp(lambda params: critic.network.apply(params, rollout.observation), state.params)
    bootstrap_values = critic.network.apply(state.params, rollout.bootstrap_observation)
    targets = actor_critic.targets(values, bootstrap_values, rollout, hyper)
    slope = jax.grad(lambda values: jnp.mean(rlax.l2_loss(values, targets.returns)))(values)
    (gradient,) = pullback(slope)
    step, optimizer_state = critic.optimizer.update(gradient, state.optimizer_state, state.params)
    return CriticState(optax.apply_updates(state.params, step), optimizer_state), targets
