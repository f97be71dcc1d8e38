"""Trains agents on Snake, several seeds at once, with one meta-gradient estimator.

Example:
    python -m experiments.train --preset=quick --estimator=mixing --logdir=runs/mixing
"""

import math
import pathlib
import sys
import time
from functools import partial

import chex
import jax
import numpy as np
import tqdm
from absl import flags

from agents import training
from agents.training import Agent, Summary, TrainingState
from experiments import config as config_lib
from experiments import plots
from experiments.building import init_seeds, make_agent, over_leading_axis
from experiments.config import Config, define_flags, refuse
from experiments.run_folder import RunWriter
from metagrad import meta_parameters

LOGGING_POINTS = 64
CHECKPOINTS = 8


class NonFiniteError(Exception):
    """A loss or a meta-gradient became NaN or infinite."""


def train(config: Config, folder: pathlib.Path) -> float:
    """Trains every seed of a run and writes the run's folder, but for the picture.

    Args:
      config: validated settings.
      folder: new or empty.

    Returns:
      The seconds that it took, compilation included.

    Raises:
      NonFiniteError: if training broke; the metrics up to the interval before are on disk.
    """
    began = time.monotonic()
    agent = make_agent(config)
    num_windows = config.num_env_steps // agent.steps_per_window
    windows_per_point = math.ceil(num_windows / LOGGING_POINTS)
    starts = range(0, num_windows, windows_per_point)
    points_per_checkpoint = math.ceil(len(starts) / CHECKPOINTS)

    @partial(jax.jit, donate_argnums=0)
    def advance(state: TrainingState, num_windows: chex.Numeric) -> tuple[TrainingState, Summary]:
        return over_leading_axis(lambda seed: training.train(agent, seed, num_windows))(state)

    what, env_steps = f"{config.estimator:>11} × {config.num_seeds} seeds", config.num_env_steps * config.num_seeds
    with RunWriter(folder, config) as writer, progress_bar(what, env_steps) as bar:
        bar.set_postfix_str("compiling")
        state = init_seeds(agent, config)
        program = advance.lower(state, windows_per_point).compile()
        bar.unpause()  # the time left counts from here, not from compilation
        for point, start in enumerate(starts, 1):
            end = min(start + windows_per_point, num_windows)
            state, summary = program(state, end - start)
            env_steps = end * agent.steps_per_window
            _check_finite(config, summary)
            metrics = _metrics(agent, state, summary)
            writer.write_metrics(env_steps, metrics)
            if point % points_per_checkpoint == 0 or end == num_windows:
                writer.write_checkpoint(env_steps, state)
            bar.set_postfix_str(f"return {_mean_return(metrics):.2f}", refresh=False)
            bar.update((end - start) * agent.steps_per_window * config.num_seeds)
    return time.monotonic() - began


def progress_bar(description: str, env_steps: int) -> tqdm.tqdm:
    """Starts a bar that counts environment steps, of all seeds together."""
    return tqdm.tqdm(
        desc=description,
        total=env_steps,
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
    folder = config_lib.new_logdir(values.logdir)
    try:
        train(config, folder)
    except NonFiniteError as error:
        sys.exit(str(error))
    plots.draw_training(folder)
    print(f"The run is in {folder}, its picture is {folder / plots.TRAINING_PICTURE}")


if __name__ == "__main__":
    config_lib.run(main, define_flags())
