"""Trains many settings of the hyperparameters in one program, of which they are data, from checkpoint to checkpoint."""

import dataclasses
import itertools
import math
import pathlib
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents import training
from agents.training import Agent, Summary, TrainingState
from experiments.config.settings import EXECUTION, LOGGING_POINTS, Config, UsageError
from experiments.figures.averages import over_last_tenth
from experiments.runs import compilation, interrupts, progress
from experiments.runs.building import init_seeds, make_agent, over_leading_axis
from experiments.runs.divergence import BREACHES, NonFiniteError, divergences
from experiments.runs.training import wait
from experiments.storage import checkpoints, files
from experiments.storage.files import written_whole
from experiments.storage.packing import pack, unpack
from experiments.studies.search.settings import Settings
from metagrad.meta_parameters import Tuning


class Outcome(NamedTuple):
    """What became of settings.

    Attributes:
      returns: float [settings, seeds], mean episode returns over the last tenth of training; NaN where training broke,
        or no episode ended.
      diverged: bool [settings, seeds], whether a loss or a parameter became NaN or infinite.
      seconds: that training took, compilation and earlier calls included.
    """

    returns: np.ndarray
    diverged: np.ndarray
    seconds: float


def train_settings(config: Config, settings: Settings, checkpoint: pathlib.Path, quiet: bool = False) -> Outcome:
    """Trains every seed of a run with every setting, in one program, of which the settings are data.

    After SIGINT or SIGTERM, which the main thread alone is told of, training goes on to the next logging point and
    writes a checkpoint there.

    Args:
      config: validated settings, with estimator `none`; the hyperparameters that are searched are not used.
      settings: these hyperparameters.
      checkpoint: the file to go on from, if it is there, and to write.
      quiet: whether to show no progress.

    Returns:
      The outcome.

    Raises:
      UsageError: if the checkpoint cannot be read.
      WriteError: if it cannot be written.
      NonFiniteError: if the environment did what it may not.
      KeyboardInterrupt: with a signal's number, if one came.
    """
    began = time.monotonic()
    agent = make_agent(config)
    num_settings = len(settings["discount"])
    num_windows = config.num_env_steps // agent.steps_per_window
    windows_per_point = math.ceil(num_windows / LOGGING_POINTS)
    ends = [min(start + windows_per_point, num_windows) for start in range(0, num_windows, windows_per_point)]

    def advance_setting(
        setting: dict[str, chex.Array], seeds: TrainingState, num_windows: chex.Numeric
    ) -> tuple[TrainingState, Summary]:
        chosen = dataclasses.replace(agent, tuning=Tuning(agent.tuning.initial | setting, ()))
        return over_leading_axis(lambda seed: training.train(chosen, seed, num_windows))(seeds)

    @partial(jax.jit, donate_argnums=1)
    def advance(
        settings: dict[str, chex.Array], states: TrainingState, num_windows: chex.Numeric
    ) -> tuple[TrainingState, Summary]:
        return over_leading_axis(lambda one: advance_setting(one[0], one[1], num_windows))((settings, states))

    what = f"{num_settings} {'settings' if num_settings > 1 else 'setting'}, {config.num_seeds} seeds each"
    values = {name: jnp.asarray(value) for name, value in settings.items()}
    like = jax.eval_shape(partial(_start, agent, config, num_settings))
    if checkpoint.exists():
        before = _read_checkpoint(checkpoint, like, len(ends))
        states = checkpoints.with_keys(before.states, like)
    else:
        states = _start(agent, config, num_settings)
        before = Checkpoint((), np.zeros((num_settings, config.num_seeds), bool), (), 0.0)
    returns, diverged, seconds = list(before.returns), before.diverged, before.seconds
    done = [0, *ends][len(returns)] * agent.steps_per_window
    with (
        compilation.checking_themselves(),
        progress.bar(what, config.num_env_steps, "steps", done, quiet=quiet, postfix="compiling") as bar,
    ):
        with interrupts.at_once():
            program = compilation.compiled(advance, values, states, windows_per_point)
        bar.unpause()  # the time left counts from here, not from compilation
        tell = partial(bar.set_postfix_str, "stopping at the next logging point; a second Ctrl-C stops at once")
        with interrupts.held_back(tell) as signals:
            for start, end in itertools.pairwise([0, *ends][len(returns) :]):
                states, summary = program(values, states, end - start)
                wait(summary)
                summary = jax.device_get(summary)
                diverged = diverged | np.any([update >= 0 for update in summary.first_nonfinite.values()], 0)
                _check_environment(config, summary)
                with np.errstate(invalid="ignore"):
                    returns.append(summary.return_sum / summary.num_episodes)
                seconds = before.seconds + time.monotonic() - began
                stopping = bool(signals)
                if stopping or len(returns) % EXECUTION.checkpoint_every == 0:
                    plain = checkpoints.without_keys(states)
                    _write_checkpoint(checkpoint, Checkpoint(returns, diverged, plain, seconds))
                highest = np.fmax.reduce(returns[-1][~diverged], initial=np.nan)
                bar.set_postfix_str(f"highest return {highest:.2f}", refresh=False)
                bar.update((end - start) * agent.steps_per_window)
                if stopping:
                    break
    final = over_last_tenth(np.array(ends) * agent.steps_per_window, np.array(returns))
    return Outcome(np.where(diverged, np.nan, final), diverged, seconds)


def _check_environment(config: Config, summary: Summary) -> None:
    """Checks that the environment did nothing that it may not, for which no setting is to blame.

    Raises:
      NonFiniteError: says what it did.
    """
    updates = {name: summary.first_nonfinite[name].max(0) for name in BREACHES if name in summary.first_nonfinite}
    for breach in divergences(config, updates).values():
        raise NonFiniteError(f"stopped: {breach}")


def _start(agent: Agent, config: Config, num_settings: int) -> TrainingState:
    """Initialises every seed, the same for every setting."""
    seeds = init_seeds(agent, config)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_settings, *leaf.shape)), seeds)


class Checkpoint(NamedTuple):
    """How far training has come.

    Attributes:
      returns: float [settings, seeds] for each logging point so far.
      diverged: bool [settings, seeds].
      states: of all seeds, without keys, [settings, seeds, ...] each.
      seconds: that it took.
    """

    returns: Sequence[np.ndarray]
    diverged: np.ndarray
    states: Any
    seconds: float


def _write_checkpoint(file: pathlib.Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint whole or not at all, wherever the process is killed.

    Raises:
      WriteError: if it cannot be written; the one before is intact.
    """
    arrays: Any = checkpoint._replace(states=np.frombuffer(pack(checkpoint.states), np.uint8))._asdict()
    with files.told(file.parent), written_whole(file) as stream:
        np.savez(stream, **arrays)


def _read_checkpoint(file: pathlib.Path, like: Any, num_points: int) -> Checkpoint:
    """Reads a checkpoint; `like` are the states' shapes and dtypes, with keys.

    Raises:
      UsageError: if it is not one of this training.
    """
    plain = jax.eval_shape(checkpoints.without_keys, like)
    shape = like.num_updates.shape
    try:
        with np.load(file, allow_pickle=False) as saved:
            returns, diverged, seconds = saved["returns"], saved["diverged"], float(saved["seconds"])
            states = unpack(saved["states"].tobytes(), plain)
        right = len(returns) <= num_points and returns.shape[1:] == diverged.shape == shape == states.num_updates.shape
        if not (right and diverged.dtype == bool and np.issubdtype(returns.dtype, np.floating)):
            raise ValueError("it has other arrays")
    except Exception as error:  # whatever a damaged file leads to
        raise UsageError(
            f"{file}: is not a checkpoint of this search in this precision; without it, it starts anew ({error})"
        ) from error
    return Checkpoint(list(returns), diverged, states, seconds)
