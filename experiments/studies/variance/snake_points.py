"""Agents in their environment, held fixed: from the checkpoints of a run, or trained for the study at some discounts.

Between two windows nothing is learned; each starts with environments that have walked on from those of the checkpoint,
every window with randomness of its own, until little of where they came from is left.
"""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents import actor_critic, evaluation, rollouts, training
from agents.actor_critic import LearnerState
from agents.training import Actor, Agent, Batch
from envs.snake import Snake
from experiments.config.ranges import refuse
from experiments.config.settings import Config
from experiments.runs.building import init_seeds, make_agent
from experiments.runs.layout import over_devices
from experiments.runs.progress import Turn
from experiments.runs.training import train
from experiments.storage import checkpoints, config_file
from experiments.studies.variance import sampling
from experiments.studies.variance.sampling import OUTER_CRITIC, OWN_CRITIC, Point, Start
from metagrad import meta_parameters
from metagrad.windows import InnerProblem, Position

PHASES = {1: ("late",), 2: ("early", "late"), 3: ("early", "middle", "late")}
"""Names of checkpoints, by how many of a run are studied."""

EPISODES = 256
"""Fresh episodes of one evaluation: enough for the updates before them to be worth their time."""

BEYOND, STEPS_PER_CELL = 0.05, 15
"""Episodes are cut after so many steps that this fraction of a constant reward's discounted weight lies beyond, and on
Snake after so many for each cell of the board: who has not ended by then mostly walks in circles."""


class Asked(NamedTuple):
    """What is asked of every point.

    Attributes:
      horizon: the longest of the windows.
      names: the meta-parameters to study.
      burn_in: rollouts of the walk before a window.
      return_horizons: numbers of updates after which lifetimes are evaluated.
      perturbation: standard deviation of eta in lifetimes.
    """

    horizon: int
    names: tuple[str, ...]
    burn_in: int
    return_horizons: tuple[int, ...]
    perturbation: float


def trained_points(
    configs: Mapping[str, Config], asked: Asked, folder: pathlib.Path, quiet: bool = False
) -> list[Point]:
    """Trains an agent for each point, as far as it is not there already; nothing is tuned meanwhile.

    Args:
      configs: validated settings by the point's name.
      asked: of every point.
      folder: for the runs.
      quiet: whether to show no progress.

    Returns:
      The points.
    """
    runs = {}
    for index, (name, config) in enumerate(configs.items(), 1):
        settings = dataclasses.replace(config, estimator="none", num_seeds=1)
        runs[name] = folder / f"train_{name}"
        train(settings, runs[name], quiet=quiet, turn=Turn(f"agent {index}/{len(configs)}, {name}"))
    # They differ in their discounts, which are data if they count as tuned: all points share the same programs.
    agent = make_agent(settings)
    names = dict.fromkeys([*asked.names, "discount"])
    agent = dataclasses.replace(agent, tuning=meta_parameters.tune(settings.hyperparameters(), list(names)))
    places = [(name, run, configs[name].num_env_steps) for name, run in runs.items()]
    return _points(agent, asked, places, 0)


def checkpoint_points(
    config: Config, asked: Asked, run: pathlib.Path, num_checkpoints: int, seed_index: int
) -> list[Point]:
    """Takes checkpoints of a run, evenly spread over it, the last one included.

    Args:
      config: the run's settings, but for the study's own horizon and outer loss.
      asked: of every point; the meta-parameters are some of those that the run tunes.
      run: the run's folder.
      num_checkpoints: in [1, 3].
      seed_index: which of the run's agents.

    Returns:
      The points, earliest first.

    Raises:
      UsageError: if the run has fewer checkpoints, or they cannot be read.
    """
    steps = checkpoints.checkpoint_steps(run)
    if len(steps) < num_checkpoints:
        refuse("num_checkpoints", num_checkpoints, f"at most the number of checkpoints in {run}, {len(steps)}")
    chosen = [steps[round(place)] for place in np.linspace(len(steps) - 1, 0, num_checkpoints)[::-1]]
    places = [(phase, run, env_steps) for phase, env_steps in zip(PHASES[num_checkpoints], chosen, strict=True)]
    return _points(make_agent(config), asked, places, seed_index)


def _points(agent: Agent, asked: Asked, places: list[tuple[str, pathlib.Path, int]], seed_index: int) -> list[Point]:
    """Reads checkpoints, each given by a name, a run and its environment steps; they share their programs."""
    critics = (OWN_CRITIC,) if agent.outer_critic is None else (OUTER_CRITIC, OWN_CRITIC)
    problem = training.inner_problem(agent)._replace(outer_loss=partial(_outer_losses, agent))
    windows = sampling.make_windows(
        problem, make_start(agent, problem, asked.burn_in), asked.horizon, asked.names, critics, over_devices
    )
    # Nothing that happens in a lifetime depends on the outer critic.
    problem = training.inner_problem(dataclasses.replace(agent, outer_critic=None))
    lifetimes = sampling.make_lifetimes(
        problem,
        make_start(agent, problem, asked.burn_in),
        lambda learner, key: jnp.mean(_fresh_episodes(agent, learner, key).discounted),
        asked.return_horizons,
        asked.perturbation,
        asked.names,
        over_devices,
    )
    play = jax.jit(partial(_fresh_episodes, agent))
    points = []
    for name, run, env_steps in places:
        settings = config_file.load(run / config_file.CONFIG)
        like = jax.eval_shape(partial(init_seeds, make_agent(settings), settings))
        states = checkpoints.read_checkpoint(run, env_steps, like)
        state = jax.tree.map(lambda leaf: leaf[seed_index], states)
        if state.num_updates < env_steps // (settings.num_envs * settings.rollout_length):
            refuse("seed_index", seed_index, f"of a seed that {run} had not dropped by {env_steps} environment steps")
        eta = state.eta or meta_parameters.meta_parameters_of(agent.tuning, settings.hyperparameters())
        hyper = meta_parameters.hyperparameters(agent.tuning, eta)
        about = {
            "checkpoint": str(run),
            "env_steps": env_steps,
            "seed": settings.seed + seed_index,
            "num_envs": agent.num_envs,
            "hyperparameters": {name: float(value) for name, value in hyper.items()},
        }
        fixed = (state.position.learner_state, state.position.actor_state)
        # A key that neither training nor the study uses.
        key = jax.random.fold_in(jax.random.key(settings.seed + seed_index), 2**31 - 3)
        episodes = play(state.position.learner_state, key)
        means = {what: float(np.mean(numbers)) for what, numbers in episodes._asdict().items()}
        about["episodes"] = means | {"cut": float(np.mean(episodes.length >= _max_steps(agent)))}
        update = agent.num_envs * agent.rollout_length
        window = asked.horizon * update
        about["max_episode_steps"] = _max_steps(agent)
        about["env_steps_of_a_sample"] = {
            "single_step": update,
            "multi_step": window,
            "mixing": window,
            "evolution": round(2 * (window + EPISODES * means["length"])),
        }
        points.append(Point(name, about, critics, windows, lifetimes, fixed, eta, {}))
    return points


def _outer_losses(agent: Agent, learner: LearnerState, batch: Batch) -> dict[str, chex.Array]:
    """Evaluates the outer loss by the agent's own critic and, where there is one, by the outer critic."""
    targets = {OWN_CRITIC: None} | ({} if batch.outer_targets is None else {OUTER_CRITIC: batch.outer_targets})
    return {
        critic: actor_critic.outer_loss(agent.network, agent.outer_hyperparameters, learner, batch.rollout, constants)
        for critic, constants in targets.items()
    }


def _fresh_episodes(agent: Agent, learner: LearnerState, key: chex.PRNGKey) -> evaluation.Returns:
    """Plays fresh episodes under the outer discount."""
    discount = float(agent.outer_hyperparameters["discount"])
    return evaluation.episode_returns(
        agent.env, agent.network, learner.params, discount, EPISODES, _max_steps(agent), key
    )


def _max_steps(agent: Agent) -> int:
    """Returns the steps after which an episode is cut."""
    discount = float(agent.outer_hyperparameters["discount"])
    steps = math.ceil(math.log(BEYOND) / math.log(discount))
    return min(steps, STEPS_PER_CELL * agent.env.num_cells) if isinstance(agent.env, Snake) else steps


def make_start(agent: Agent, problem: InnerProblem, burn_in: int) -> Start:
    """Makes the function that walks to the beginning of a window.

    Args:
      agent: the agent.
      problem: its learning.
      burn_in: rollouts of the walk.

    Returns:
      A function of what is held fixed, the learner and the actor, and a key.
    """
    collect = rollouts.collect(agent.env, agent.network, agent.rollout_length)

    def start(fixed: tuple[LearnerState, Actor], key: chex.PRNGKey) -> Position:
        learner, actor = fixed

        def walk(environments: rollouts.ActorState, key: chex.PRNGKey) -> tuple[rollouts.ActorState, None]:
            return collect(learner.params, environments, key)[0], None

        keys = jax.random.split(key, burn_in + 1)
        environments, _ = jax.lax.scan(walk, actor.environments, keys[:-1])
        # The environments alone walk: the outer critic stays as it is, like the agent.
        return Position(learner, *problem.collect(learner, actor._replace(environments=environments), keys[-1]))

    return start
