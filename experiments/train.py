"""Trains agents, several seeds at once, with one meta-gradient estimator.

Example:
    python -m experiments.train --preset=quick --estimator=mixing --logdir=runs/mixing

The game is Snake unless `--environment` names another. Stopped in the middle, the same command goes on from the last
checkpoint, and ends with the same results.
"""

import math
import pathlib
import sys
import tempfile
import time
from functools import partial
from typing import NamedTuple

import chex
import jax
import numpy as np
from absl import flags
from tqdm.auto import tqdm

from agents import training
from agents.networks import Network
from agents.training import Agent, Summary, TrainingState
from experiments import config as config_lib
from experiments import interrupts, plots, run_folder
from experiments.building import init_seeds, make_agent, over_leading_axis
from experiments.config import SAVING, Config, Saving, refuse
from experiments.run_folder import Metrics, RunWriter, WriteError, read_metrics
from metagrad import meta_parameters

POLL_SECONDS = 0.01

define_flags = config_lib.define_training_flags


class NonFiniteError(Exception):
    """A loss or a meta-gradient became NaN or infinite."""


class Result(NamedTuple):
    """What became of a run.

    Attributes:
      metrics: the columns of `metrics.csv`, float [logging points, seeds] each; NaN where nothing was measured.
      seconds: that training took up to the last checkpoint, compilation and earlier calls included.
    """

    metrics: Metrics
    seconds: float


def train(
    config: Config,
    folder: pathlib.Path | None = None,
    saving: Saving = SAVING,
    *,
    network: Network | None = None,
    quiet: bool = False,
) -> Result:
    """Trains every seed of a run and writes the run's folder, but for the picture.

    Stopped anywhere, the same call goes on from the last checkpoint, to the same end. After SIGINT or SIGTERM, for
    which it must run in the main thread, training goes on to the next logging point and writes a checkpoint there.

    Args:
      config: the settings.
      folder: new, empty, or that of the same run; a run with fewer environment steps becomes longer. None leaves
        nothing on disk.
      saving: which checkpoints are written, and which of them stay.
      network: in place of the one that is chosen by the observations; a folder does not remember it.
      quiet: whether to show no progress.

    Returns:
      What became of the run.

    Raises:
      UsageError: if a setting is impossible, or the folder holds anything else.
      WriteError: if the folder cannot be written to any more.
      NonFiniteError: if training broke; the metrics up to the interval before are on disk.
      KeyboardInterrupt: with a signal's number, if one came.
    """
    config_lib.validate(config)
    config_lib.validate_saving(saving)
    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return train(config, pathlib.Path(place), saving, network=network, quiet=quiet)
    began = time.monotonic()
    agent = make_agent(config) if network is None else make_agent(config, network)

    @partial(jax.jit, donate_argnums=0)
    def advance(state: TrainingState, num_windows: chex.Numeric) -> tuple[TrainingState, Summary]:
        return over_leading_axis(lambda seed: training.train(agent, seed, num_windows))(state)

    with RunWriter(folder, config, saving) as writer:
        env_steps, seconds = writer.env_steps, writer.seconds
        if env_steps == config.num_env_steps:
            return Result(read_metrics(folder), seconds)
        what = f"{config.estimator:>11} × {config.num_seeds} seeds"
        with progress_bar(what, config.num_env_steps * config.num_seeds, env_steps * config.num_seeds, quiet) as bar:
            bar.set_postfix_str("compiling")
            like = jax.eval_shape(partial(init_seeds, agent, config))
            state = run_folder.read_checkpoint(folder, env_steps, like) if env_steps else init_seeds(agent, config)
            program = advance.lower(like, 1).compile()
            bar.unpause()  # the time left counts from here, not from compilation
            tell = partial(bar.set_postfix_str, "stopping at the next logging point; a second Ctrl-C stops at once")
            with interrupts.held_back(tell) as signals:
                points = 0
                while env_steps < config.num_env_steps:
                    start, env_steps = env_steps, min(env_steps + config.steps_per_point, config.num_env_steps)
                    points += 1
                    state, summary = program(state, (env_steps - start) // config.steps_per_window)
                    _wait(summary)
                    _check_finite(config, summary)
                    metrics = _metrics(agent, state, summary)
                    writer.write_metrics(env_steps, metrics)
                    stopping = bool(signals)
                    if stopping or points % saving.checkpoint_every == 0 or writer.stays(env_steps):
                        seconds = writer.seconds + time.monotonic() - began
                        writer.write_checkpoint(env_steps, state, seconds)
                    bar.set_postfix_str(f"return {_mean_return(metrics):.2f}", refresh=False)
                    bar.update((env_steps - start) * config.num_seeds)
                    if stopping:
                        break
    return Result(read_metrics(folder), seconds)


def _wait(summary: Summary) -> None:
    """Waits for the device in small steps: inside one long call, no signal would be seen."""
    while not summary.num_updates.is_ready():
        time.sleep(POLL_SECONDS)


def progress_bar(description: str, env_steps: int, done: int = 0, quiet: bool = False) -> tqdm:
    """Starts a bar that counts environment steps, of all seeds together, of which some may be done before."""
    return tqdm(
        disable=quiet,
        desc=description,
        total=env_steps,
        initial=done,
        unit=" steps",
        unit_scale=True,
        mininterval=0.5,
        dynamic_ncols=True,
    )


def _metrics(agent: Agent, state: TrainingState, summary: Summary) -> dict[str, np.ndarray]:
    """Returns a logging point's columns, float [num_seeds] each; NaN where no episode ended."""
    hyper = meta_parameters.hyperparameters(agent.tuning, state.eta)
    summary = jax.device_get(summary)
    with np.errstate(invalid="ignore"):
        episodes = {
            "episode_return": summary.return_sum / summary.num_episodes,
            "episode_length": summary.length_sum / summary.num_episodes,
        }
    tuned = {f"hyper/{name}": np.asarray(hyper[name]) for name in agent.tuning.tuned}
    gradients = {f"meta_grad/{name}": summary.meta_gradient[name] for name in agent.tuning.tuned}
    losses = {f"loss/{name}": total / summary.num_updates for name, total in summary.loss_sums.items()}
    return episodes | tuned | gradients | losses


def _mean_return(metrics: dict[str, np.ndarray]) -> float:
    returns = metrics["episode_return"]
    return float(np.nanmean(returns)) if np.isfinite(returns).any() else math.nan


def _check_finite(config: Config, summary: Summary) -> None:
    """Raises `NonFiniteError` for what broke first; within an update the losses come before what follows from them."""
    broken = [
        (int(update), quantity, config.seed + index)
        for quantity, updates in summary.first_nonfinite.items()
        for index, update in enumerate(np.asarray(updates))
        if update >= 0
    ]
    if broken:
        update, quantity, seed = min(broken)  # "loss/…" < "meta_grad/…" < "outer_critic" < "parameters"
        raise NonFiniteError(
            f"stopped: {quantity} of seed {seed} was not finite at environment step "
            f"{update * config.num_envs * config.rollout_length} (update {update}); what was logged before is on disk"
        )


def main(values: flags.FlagValues) -> None:
    """Trains as the flags say."""
    config = config_lib.config_from_flags(values)
    if config.estimator == "none" and values["outer_critic"].present and config.outer_critic:
        refuse("outer_critic", True, "left out with --estimator=none, which has no outer loss")
    config = config.with_estimator(config.estimator)
    saving = config_lib.saving_from_flags(values)
    folder = config_lib.new_logdir(values.logdir, run_folder.OWN)
    try:
        train(config, folder, saving)
    except (NonFiniteError, WriteError) as error:
        sys.exit(str(error))
    plots.draw_training(folder)
    print(f"The run is in {folder}, its picture is {folder / plots.TRAINING_PICTURE}")


if __name__ == "__main__":
    config_lib.run(main, define_flags(), "the same command goes on from here")
