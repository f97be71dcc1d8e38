"""The players that can be watched: agents from the folders that training leaves, and others."""

import pathlib
from functools import partial
from typing import Any, NamedTuple

import haiku as hk
import jax
import numpy as np

from agents.training import Agent
from envs.environment import Environment
from envs.snake import Snake
from experiments.config import settings as config_lib
from experiments.config.ranges import UsageError, refuse
from experiments.config.settings import ESTIMATORS, Config
from experiments.runs.building import init_seeds, make_agent
from experiments.storage import checkpoints, config_file
from experiments.storage import metrics as metrics_csv
from experiments.storage.folder import folder_name, local_path
from experiments.studies.play.games import Policy, random_policy
from metagrad import meta_parameters
from metagrad.meta_parameters import MetaParameters


class Players(NamedTuple):
    """N players of one game.

    Attributes:
      env: the rules of their games.
      policy: what they have in common.
      params: what each has of its own, [N, ...].
      names: of each.
      hyperparameters: of each, by name: what it tuned, or the fixed discount where that is nothing; none if it is no
        agent.
    """

    env: Environment
    policy: Policy
    params: Any
    names: tuple[str, ...]
    hyperparameters: tuple[dict[str, float], ...]


SHARED = (
    *("environment", "board_size", "time_limit", "action_mask", "num_seeds"),
    *("num_channels", "policy_width", "value_width", "shared_torso"),
)
"""Settings in which runs must agree for their players to be shown side by side."""


class Run(NamedTuple):
    """The folder of a training run and the settings in it."""

    folder: pathlib.Path
    config: Config


def not_agents(name: str, num_players: int, env: Environment) -> Players:
    """Returns players that need no checkpoint: random ones, which also follow orders."""
    params = np.zeros((num_players, env.num_actions), np.float32)
    return Players(env, random_policy, params, (name,) * num_players, ({},) * num_players)


def check_visible(env: Environment, config: Config) -> None:
    """Checks that an environment can be drawn.

    Raises:
      UsageError: if it cannot.
    """
    if not isinstance(env, Snake) and not callable(getattr(env, "render", None)):
        refuse("environment", config.environment, "one with a method render to be watched, and this one has none")


def open_runs(logdir: str) -> list[Run]:
    """Finds the runs in a folder: its own, or those of a comparison, in the order of `ESTIMATORS`, then by name.

    Raises:
      UsageError: if there is none, one is of another format, or their players could not be shown side by side.
    """
    top = local_path("logdir", logdir)
    try:
        folders = sorted(path.parent for path in top.glob(f"*/{config_file.CONFIG}"))
        folders.sort(key=lambda folder: [folder.name.startswith(name) for name in ESTIMATORS], reverse=True)
        if (top / config_file.CONFIG).exists() or not folders:
            folders = [top]
    except OSError:
        refuse("logdir", logdir, "a folder that can be read")
    runs = [Run(folder, config_file.load(folder / config_file.CONFIG)) for folder in folders]
    if len({tuple(getattr(run.config, name) for name in SHARED) for run in runs}) > 1:
        refuse(
            "logdir",
            logdir,
            "the folder of a run or of a comparison, and its runs differ in their game, seeds or networks",
        )
    return runs


def ranked_seeds(run: Run) -> list[int]:
    """Returns the indices of a run's seeds, the one with the best last logged return first.

    Raises:
      UsageError: if the metrics cannot be read.
    """
    returns = metrics_csv.read_metrics(run.folder).get("episode_return")
    if returns is None:
        raise UsageError(f"{run.folder / metrics_csv.METRICS}: is not the metrics of a run (it has no episode_return)")
    if returns.shape[1] != run.config.num_seeds:
        raise UsageError(f"{run.folder / metrics_csv.METRICS}: has not the seeds that {config_file.CONFIG} says")
    last = [max(column[np.isfinite(column)][-1:], default=-np.inf) for column in returns.T]
    return sorted(range(run.config.num_seeds), key=lambda seed: -last[seed])


def load(choice: list[tuple[Run, int]]) -> Players:
    """Loads agents as their runs' latest checkpoints have them.

    Args:
      choice: at least one run with the index of a seed; the runs differ in nothing but the estimator.

    Raises:
      UsageError: if a run has no checkpoint, or one that this version cannot read, or its environment no `render`.
    """
    agents = {run.folder: make_agent(run.config) for run, _ in choice}
    env = agents[choice[0][0].folder].env
    check_visible(env, choice[0][0].config)
    learned = {run.folder: _restore(run, agents[run.folder]) for run, _ in choice}
    params, names, hyperparameters = [], [], []
    for run, index in choice:
        agent = agents[run.folder]
        own_params, eta = jax.tree.map(lambda leaf, index=index: leaf[index], learned[run.folder])
        hyper = meta_parameters.hyperparameters(agent.tuning, eta)
        params.append(own_params)
        names.append(f"{_called(run)} · seed {run.config.seed + index}")
        tuned = {name: float(hyper[name]) for name in agent.tuning.tuned}
        hyperparameters.append(tuned or {"fixed discount": float(hyper["discount"])})
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
    return Players(env, agent.network.apply, stacked, tuple(names), tuple(hyperparameters))


def _called(run: Run) -> str:
    """Returns the estimator with its horizon; of what tunes nothing there may be several, called by their folders."""
    if run.config.estimator == "none":
        return folder_name(run.folder)
    return config_lib.estimator_title(run.config.estimator, run.config.horizon)


def _restore(run: Run, agent: Agent) -> tuple[hk.Params, MetaParameters]:
    """Returns the parameters and meta-parameters of a run's latest checkpoint, NumPy arrays [num_seeds, ...]."""
    steps = checkpoints.checkpoint_steps(run.folder)
    if not steps:
        raise UsageError(f"{run.folder}: holds no checkpoint; one is written while `logdir`={run.folder} is trained")
    like = jax.eval_shape(partial(init_seeds, agent, run.config))
    state = checkpoints.read_checkpoint(run.folder, steps[-1], like)
    return jax.device_get((state.position.learner_state.params, state.eta))
