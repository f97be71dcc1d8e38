"""The Discounting Chain with sampled episodes and critics that learn: agents as `agents.training` trains them."""

import functools
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents import tabular, training
from agents.training import Agent, TrainingState
from envs.tabular import Tabular, state_values
from experiments.studies.discounting_chain import exact
from metagrad import meta_parameters
from metagrad.estimators import Weights
from metagrad.windows import Position

POINTS = 40
"""Logging points of a run, at most."""


class Runs(NamedTuple):
    """Learning curves of some seeds; NumPy arrays.

    Attributes:
      updates: int [N], inner updates so far.
      discount: float32 [N, seeds], after them.
      episode_return: float32 [N, seeds], mean over the episodes that ended since the point before.
    """

    updates: np.ndarray
    discount: np.ndarray
    episode_return: np.ndarray


def train(
    lambda_: float, criterion: str, weights: Weights, num_updates: int, seed: int, num_seeds: int, knowing: bool
) -> Runs:
    """Trains some seeds, from the uniform policy.

    Args:
      lambda_: of both losses.
      criterion: the critic of the outer loss, `inner_critic` or `outer_critic`.
      weights: of the meta-gradient estimator; none to leave the discount as it is.
      num_updates: a multiple of the estimator's horizon.
      seed: the first seed.
      num_seeds: how many, trained at once.
      knowing: whether the critics start from the true values of the uniform policy; they start from zeros otherwise.

    Returns:
      Their curves.
    """
    agent, advance = _program(lambda_, criterion, weights)
    keys = jax.vmap(jax.random.key)(seed + jnp.arange(num_seeds))
    state = jax.jit(jax.vmap(partial(_init, agent, knowing)))(keys)
    num_windows = num_updates // agent.updates_per_window
    points = np.unique(np.linspace(0, num_windows, POINTS + 1).astype(int))
    discounts, returns = [], []
    for windows in np.diff(points):
        state, summary = advance(state, int(windows))
        discounts.append(np.asarray(meta_parameters.hyperparameters(agent.tuning, state.eta)["discount"]))
        returns.append(np.asarray(summary.return_sum / summary.num_episodes))
    discount = np.stack([np.broadcast_to(point, num_seeds) for point in discounts])
    return Runs(points[1:] * agent.updates_per_window, discount, np.stack(returns))


@functools.cache
def _program(lambda_: float, criterion: str, weights: Weights) -> tuple[Agent, Callable]:
    """Returns an agent and what trains seeds of it; however its critics start, it is compiled once."""
    agent = exact.make_agent(lambda_, criterion, weights)
    return agent, jax.jit(jax.vmap(partial(training.train, agent), (0, None)))


def _init(agent: Agent, knowing: bool, key: chex.PRNGKey) -> TrainingState:
    state = training.init(agent, key)
    if not knowing:
        return state
    learner, actor, batch = state.position
    mdp = agent.env
    assert isinstance(mdp, Tabular)
    learner = tabular.converge_critic(agent, learner, state.eta)
    if actor.outer_critic is not None:
        values = state_values(mdp, jnp.full(mdp.rewards.shape, 1.0 / mdp.num_actions), exact.OUTER_DISCOUNT)
        critic = actor.outer_critic._replace(params={"value": {"table": values}})
        actor = actor._replace(outer_critic=critic)
    return state._replace(position=Position(learner, actor, batch))
