"""The Discounting Chain with sampled episodes and critics that learn: agents as `agents.training` trains them."""

from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents import tabular, training
from agents.agent import Agent, learning
from agents.training import TrainingState
from envs.tabular import state_values
from experiments.figures.tables import as_json
from experiments.studies.discounting_chain import exact
from metagrad import hyperparameters, statistics

POINTS = 40
"""Logging points of a run, at most."""


def learn(lambda_: float, criterion: str, num_updates: int, seed: int, num_seeds: int) -> list[dict[str, Any]]:
    """Trains some seeds at once by single-step meta-gradients, whose outer loss has the inner or the outer critic.

    Returns two curves: critics start from the true values of the uniform policy, or from zero. Each has as lists
    `updates` so far; after them `discount`; and `episode_return`, over the episodes that ended since the point before:
    means over seeds with their intervals.
    """
    agent = exact.make_agent(lambda_, criterion, exact.ESTIMATORS["single_step"])
    advance = jax.jit(jax.vmap(partial(training.train, learning(agent)), (0, None)))
    keys = jax.vmap(jax.random.key)(seed + jnp.arange(num_seeds))
    points = np.unique(np.linspace(0, num_updates, POINTS + 1).astype(int))
    curves = []
    for critics_start in ("true", "zero"):
        state = jax.jit(jax.vmap(partial(start, agent, critics_start == "true")))(keys)
        curve: dict[str, Any] = {"criterion": criterion, "critics_start": critics_start, "updates": points[1:].tolist()}
        curve |= {"discount": [], "episode_return": []}
        for windows in np.diff(points):
            state, summary = advance(state, int(windows))
            discount = hyperparameters.hyperparameters(agent.tuning, state.eta)["discount"]
            curve["discount"].append(as_json(statistics.mean(discount)))
            curve["episode_return"].append(
                as_json(statistics.mean(summary.metrics.return_sum / summary.metrics.num_episodes))
            )
        curves.append(curve)
    return curves


def start(agent: Agent, knowing: bool, key: chex.PRNGKey) -> TrainingState:
    """Starts training, perhaps with critics that know the values of the uniform policy."""
    state = training.init(learning(agent), key)
    if not knowing:
        return state
    learner = tabular.converge_critic(agent, state.position.learner_state, state.eta)
    actor = state.position.actor_state
    if actor.outer_critic is not None:
        mdp = exact.environment()
        values = state_values(mdp, jnp.full(mdp.rewards.shape, 1.0 / mdp.num_actions), exact.OUTER_DISCOUNT)
        actor = actor._replace(outer_critic=actor.outer_critic._replace(params={"value": {"table": values}}))
    return state._replace(position=state.position._replace(learner_state=learner, actor_state=actor))
