"""Agents that play Snake, held fixed: from the checkpoints of a run, or trained briefly at two settings.

Between two windows nothing is learned; each starts with environments that have walked on from those of the checkpoint,
every window with randomness of its own, until little of where they came from is left.
"""

import dataclasses
import pathlib
import shutil
from functools import partial
from typing import Any

import chex
import jax
import numpy as np

from agents import training
from agents.actor_critic import LearnerState
from agents.training import Actor, Agent
from experiments import config as config_lib
from experiments import run_folder
from experiments.building import init_seeds, make_agent, over_leading_axis
from experiments.config import Config, refuse
from experiments.train import train
from experiments.variance.sampling import Point, Start, make_program
from metagrad import meta_parameters
from metagrad.windows import InnerProblem, Position

POOR: dict[str, Any] = {"discount": 0.8, "lambda_": 0.5}
"""Settings far from good ones, where the meta-gradients' means stand out of their noise."""

PHASES = {1: ("late",), 2: ("early", "late"), 3: ("early", "middle", "late")}
"""Names of checkpoints, by how many of a run are studied."""


def trained_points(config: Config, burn_in: int, folder: pathlib.Path) -> list[Point]:
    """Trains an agent at poor settings and one at those given, each for `num_env_steps`, unless they are there already.

    Args:
      config: validated settings.
      burn_in: rollouts of the walk before a window.
      folder: for the runs.

    Returns:
      The points `poor` and `good`.
    """
    points = []
    for name, changes in {"poor": POOR, "good": {}}.items():
        settings = dataclasses.replace(config, estimator="none", num_seeds=1, **changes)
        run = folder / f"train_{name}"
        if settings.num_env_steps not in run_folder.checkpoint_steps(run):
            shutil.rmtree(run, ignore_errors=True)  # of a study that was stopped in the middle
            train(settings, run)
        agent = make_agent(settings)
        agent = dataclasses.replace(agent, tuning=meta_parameters.tune(settings.hyperparameters(), config.meta_params))
        points += _points(agent, config.horizon, config.meta_params, burn_in, run, {name: settings.num_env_steps}, 0)
    return points


def checkpoint_points(
    config: Config, names: tuple[str, ...], burn_in: int, run: pathlib.Path, num_checkpoints: int, seed_index: int
) -> list[Point]:
    """Takes checkpoints of a run, evenly spread over it, the last one included.

    Args:
      config: the run's settings, but for the study's own horizon and outer loss.
      names: the meta-parameters to study, some of those that the run tunes.
      burn_in: rollouts of the walk before a window.
      run: the run's folder.
      num_checkpoints: in [1, 3].
      seed_index: which of the run's agents.

    Returns:
      The points, earliest first.

    Raises:
      UsageError: if the run has fewer checkpoints, or they cannot be read.
    """
    steps = run_folder.checkpoint_steps(run)
    if len(steps) < num_checkpoints:
        refuse("num_checkpoints", num_checkpoints, f"at most the number of checkpoints in {run}, {len(steps)}")
    chosen = [steps[round(place)] for place in np.linspace(len(steps) - 1, 0, num_checkpoints)[::-1]]
    phases = dict(zip(PHASES[num_checkpoints], chosen, strict=True))
    return _points(make_agent(config), config.horizon, names, burn_in, run, phases, seed_index)


def _points(
    agent: Agent,
    horizon: int,
    names: tuple[str, ...],
    burn_in: int,
    run: pathlib.Path,
    phases: dict[str, int],
    seed_index: int,
) -> list[Point]:
    """Reads checkpoints of one run, by name, which share one program."""
    settings = config_lib.load(run / run_folder.CONFIG)
    like = jax.eval_shape(partial(init_seeds, make_agent(settings), settings))
    problem = training.inner_problem(agent)
    program = make_program(problem, _start(problem, burn_in), horizon, names, over_leading_axis)
    points = []
    for name, env_steps in phases.items():
        states = run_folder.read_checkpoint(run, env_steps, like)
        state = jax.tree.map(lambda leaf: leaf[seed_index], states)
        eta = state.eta or meta_parameters.initial_meta_parameters(agent.tuning)
        hyper = meta_parameters.hyperparameters(agent.tuning, eta)
        about = {
            "checkpoint": str(run),
            "env_steps": env_steps,
            "seed": settings.seed + seed_index,
            "num_envs": agent.num_envs,
            "hyperparameters": {name: float(value) for name, value in hyper.items()},
        }
        fixed = (state.position.learner_state, state.position.actor_state)
        points.append(Point(name, about, program, fixed, eta, {}))
    return points


def _start(problem: InnerProblem, burn_in: int) -> Start:
    def start(fixed: tuple[LearnerState, Actor], key: chex.PRNGKey) -> Position:
        learner, actor = fixed

        def walk(actor: Actor, key: chex.PRNGKey) -> tuple[Actor, None]:
            return problem.collect(learner, actor, key)[0], None

        keys = jax.random.split(key, burn_in + 1)
        actor, _ = jax.lax.scan(walk, actor, keys[:-1])
        return Position(learner, *problem.collect(learner, actor, keys[-1]))

    return start
