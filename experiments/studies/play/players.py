"""Agents that can be watched, from the folders that training leaves."""

import itertools
import math
import os
import pathlib
from functools import partial
from typing import NamedTuple

import haiku as hk
import jax
import numpy as np

from agents import training
from agents.agent import Agent
from envs.environment import Environment
from experiments.config import titles, validation
from experiments.config.estimators import BUILT_IN
from experiments.config.ranges import UsageError, board_shape, refuse
from experiments.config.settings import Config
from experiments.figures.outcome import MOST_SHOWN
from experiments.runs.building import init_seeds, learning_of, require_agent
from experiments.storage import checkpoints, config_file
from experiments.storage.config_file import CONFIG
from experiments.storage.folder import folder_name, local_path
from experiments.storage.metrics import METRICS, dropped_seeds, read_metrics
from experiments.studies.play.games import Players
from metagrad import hyperparameters
from metagrad.hyperparameters import Hyperparameters, MetaParameters

SHARED = (
    *("environment", "board_size", "time_limit", "action_mask", "time_limit_terminates", "num_seeds"),
    *("num_channels", "policy_width", "value_width", "hidden_layers", "shared_torso", "agent", "agent_options"),
)
"""Settings in which runs must agree for their players to be shown side by side."""


class Run(NamedTuple):
    """The folder of a training run and the settings in it."""

    folder: pathlib.Path
    config: Config


def agents(
    logdir: str | os.PathLike[str],
    environment: str | None,
    seed_index: int | None,
    grid: str | None,
    agent: str | None = None,
) -> tuple[Players, tuple[int, int]]:
    """Returns who plays, and the rows and columns that show them; see `recording.record`.

    Raises:
      UsageError: if they cannot be loaded, or are too few.
    """
    runs = open_runs(logdir)
    for run in runs:
        validation.check_named(run.config, environment, agent, run.folder / CONFIG)
    num_seeds = runs[0].config.num_seeds
    if seed_index is not None and not 0 <= seed_index < num_seeds:
        refuse("seed_index", seed_index, f"in [0, {num_seeds - 1}], the run's seeds")
    rankings = [ranked_seeds(run) if seed_index is None else [seed_index] for run in runs]
    # The best seed of every run, then the second best of every run, ...: in a grid, a row or a column a run.
    choice = [(run, seed) for seeds in zip(*rankings, strict=True) for run, seed in zip(runs, seeds, strict=True)]
    rows = max(side for side in range(1, math.isqrt(len(runs)) + 1) if len(runs) % side == 0)
    shape = (rows, len(runs) // rows) if grid is None else board_shape(grid)
    if math.prod(shape) > len(choice):
        refuse("grid", grid, f"of at most {len(choice)} cells, one for each agent to choose from")
    return load(choice[: math.prod(shape)]), shape


def check_visible(env: Environment, config: Config) -> None:
    """Raises a `UsageError` if an environment cannot be drawn."""
    if not callable(getattr(env, "render", None)):
        refuse("environment", config.environment, "one with a method render to be watched, and this one has none")


def open_runs(logdir: str | os.PathLike[str]) -> list[Run]:
    """Finds the runs in a folder: its own, or those of a comparison, in the order of `BUILT_IN`, then by name.

    Raises:
      UsageError: if there is none, one is of another format, or their players could not be shown side by side.
    """
    top = local_path("logdir", logdir)
    try:
        folders = sorted(path.parent for path in top.glob(f"*/{CONFIG}"))
        folders.sort(key=lambda folder: [folder.name.startswith(name) for name in BUILT_IN], reverse=True)
        if (top / CONFIG).exists() or not folders:
            folders = [top]
    except OSError:
        refuse("logdir", logdir, "a folder that can be read")
    runs = [Run(folder, config_file.load(folder / CONFIG)) for folder in folders]
    if len({tuple(getattr(run.config, name) for name in SHARED) for run in runs}) > 1:
        allowed = "the folder of a run or of a comparison, and its runs differ in their game, seeds or networks"
        refuse("logdir", logdir, allowed)
    return runs


def ranked_seeds(run: Run) -> list[int]:
    """Returns the indices of a run's seeds, the one with the best last logged return first, those dropped last.

    Raises:
      UsageError: if the metrics cannot be read.
    """
    metrics = read_metrics(run.folder)
    returns, dropped = metrics.get("episode_return"), dropped_seeds(metrics)
    if returns is None or returns.shape[1] != run.config.num_seeds:
        raise UsageError(f"{run.folder / METRICS}: does not hold the metrics of the run that {CONFIG} describes")
    last = [max(column[np.isfinite(column)][-1:], default=-np.inf) for column in returns.T]
    return sorted(range(run.config.num_seeds), key=lambda seed: (dropped[seed], -last[seed]))


def load(choice: list[tuple[Run, int]]) -> Players:
    """Loads agents as their runs' latest checkpoints have them.

    Args:
      choice: at least one run with the index of a seed; the runs differ in nothing but the estimator.

    Raises:
      UsageError: if a run has no checkpoint, or one that this version cannot read, or its environment no `render`.
    """
    opened = {run: _open(run) for run in dict(choice)}
    params, names, shown = [], [], list[dict[str, float]]()
    for run, index in choice:
        agent, learned = opened[run]
        own_params, eta = jax.tree.map(lambda leaf, index=index: leaf[index], learned)
        values = hyperparameters.hyperparameters(agent.tuning, eta)
        tuned = _means({name: values[name] for name in agent.tuning.tuned})
        # Of runs that tune nothing there may be several, called by their folders.
        title = titles.run_title(run.config) if tuned else folder_name(run.folder)
        params.append(own_params)
        names.append(f"{title} · seed {run.config.seed + index}")
        shown.append(tuned or {f"fixed {name}": value for name, value in _means(values).items() if name == "discount"})
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
    return Players(agent.env, agent.network.apply, stacked, tuple(names), tuple(shown))


def _means(values: Hyperparameters) -> dict[str, float]:
    """Returns hyperparameters as numbers, at most `MOST_SHOWN`: of arrays, the means."""
    leaves = itertools.islice(training.by_path("", dict(values)).items(), MOST_SHOWN)
    return {name: float(np.mean(leaf)) for name, leaf in leaves}


def _open(run: Run) -> tuple[Agent, tuple[hk.Params, MetaParameters]]:
    """Returns a run's agent, with the parameters and meta-parameters of its latest checkpoint, [num_seeds, ...]."""
    agent = require_agent(run.config.without_own_estimator())
    check_visible(agent.env, run.config)
    steps = checkpoints.checkpoint_steps(run.folder)
    if not steps:
        raise UsageError(f"{run.folder}: holds no checkpoint; one is written while `logdir`={run.folder} is trained")
    like = jax.eval_shape(partial(init_seeds, learning_of(agent), run.config))
    state = checkpoints.read_checkpoint(run.folder, steps[-1], like)
    return agent, jax.device_get((state.position.learner_state.params, state.eta))
