"""The players of Snake that can be watched: agents from the folders that training leaves, and others."""

import pathlib
from functools import partial
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np

from agents.training import Agent
from envs.snake import Snake
from experiments import config as config_lib
from experiments import run_folder
from experiments.building import init_seeds, make_agent
from experiments.config import ESTIMATORS, Config, UsageError, refuse
from experiments.play.games import Policy, random_policy
from metagrad import meta_parameters
from metagrad.meta_parameters import MetaParameters


class Players(NamedTuple):
    """N players on boards of one size.

    Attributes:
      snake: the rules of their games.
      policy: what they have in common.
      params: what each has of its own, [N, ...].
      names: of each.
      tuned: the tuned hyperparameters of each, by name.
    """

    snake: Snake
    policy: Policy
    params: Any
    names: tuple[str, ...]
    tuned: tuple[dict[str, float], ...]


class Run(NamedTuple):
    """The folder of a training run and the settings in it."""

    folder: pathlib.Path
    config: Config


def not_agents(name: str, num_players: int, snake: Snake) -> Players:
    """Returns players that need no checkpoint: random ones, which also follow orders."""
    return Players(snake, random_policy, (), (name,) * num_players, ({},) * num_players)


def open_runs(logdir: str) -> list[Run]:
    """Finds the runs in a folder: its own, or those of a comparison, in the order of `ESTIMATORS`.

    Raises:
      UsageError: if there is none, one is of another format, or their settings differ in more than the estimator.
    """
    try:
        top = pathlib.Path(logdir).expanduser()
        folders = [folder for folder in (top / name for name in ESTIMATORS) if (folder / run_folder.CONFIG).exists()]
        if (top / run_folder.CONFIG).exists() or not folders:
            folders = [top]
    except (OSError, RuntimeError):  # a name that is too long, an unknown user's home, or no permission
        refuse("logdir", logdir, "a folder that can be read")
    runs = [Run(folder, config_lib.load(folder / run_folder.CONFIG)) for folder in folders]
    if len({run.config.with_estimator("none") for run in runs}) > 1:
        refuse("logdir", logdir, "the folder of a run or of a comparison, and its runs have different settings")
    return runs


def ranked_seeds(run: Run) -> list[int]:
    """Returns the indices of a run's seeds, the one with the best last logged return first.

    Raises:
      UsageError: if the metrics cannot be read.
    """
    returns = run_folder.read_metrics(run.folder).get("episode_return")
    if returns is None:
        raise UsageError(f"{run.folder / run_folder.METRICS}: is not the metrics of a run (it has no episode_return)")
    if returns.shape[1] != run.config.num_seeds:
        raise UsageError(f"{run.folder / run_folder.METRICS}: has not the seeds that {run_folder.CONFIG} says")
    last = [max(column[np.isfinite(column)][-1:], default=-np.inf) for column in returns.T]
    return sorted(range(run.config.num_seeds), key=lambda seed: -last[seed])


def load(choice: list[tuple[Run, int]]) -> Players:
    """Loads agents as their runs' latest checkpoints have them.

    Args:
      choice: at least one run with the index of a seed; the runs differ in nothing but the estimator.

    Raises:
      UsageError: if a run has no checkpoint, or one that this version cannot read.
    """
    agents = {run.folder: make_agent(run.config) for run, _ in choice}
    learned = {run.folder: _restore(run, agents[run.folder]) for run, _ in choice}
    params, names, tuned = [], [], []
    for run, index in choice:
        agent = agents[run.folder]
        own_params, eta = jax.tree.map(lambda leaf, index=index: leaf[index], learned[run.folder])
        hyper = meta_parameters.hyperparameters(agent.tuning, eta)
        params.append(own_params)
        names.append(f"{run.config.estimator} · seed {run.config.seed + index}")
        tuned.append({name: float(hyper[name]) for name in agent.tuning.tuned})
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
    snake = Snake(*config_lib.board_shape(run.config.board_size), run.config.time_limit)
    return Players(snake, agent.network.apply, stacked, tuple(names), tuple(tuned))


def _restore(run: Run, agent: Agent) -> tuple[hk.Params, MetaParameters]:
    """Returns the parameters and meta-parameters of a run's latest checkpoint, NumPy arrays [num_seeds, ...]."""
    steps = run_folder.checkpoint_steps(run.folder)
    if not steps:
        raise UsageError(f"{run.folder}: holds no checkpoint; one is written while --logdir={run.folder} is trained")
    like = jax.eval_shape(partial(init_seeds, agent, run.config))
    state = run_folder.read_checkpoint(run.folder, steps[-1], like)
    return jax.device_get((state.position.learner_state.params, state.eta))
