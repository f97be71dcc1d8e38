"""The loop that trains many seeds and stores what comes of them, from checkpoint to checkpoint."""

import contextlib
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import chex
import jax
import numpy as np

from agents import training
from agents.networks import Network
from agents.training import Agent, Summary, TrainingState
from experiments.config import flags as commands
from experiments.config import settings as config_lib
from experiments.config.settings import EXECUTION, Config, Execution, estimator_title, refuse
from experiments.runs import compilation, interrupts, progress
from experiments.runs.building import init_seed, init_seeds, make_agent
from experiments.runs.divergence import NonFiniteError, divergences
from experiments.runs.hosts import ALONE, Hosts
from experiments.runs.layout import Layout, fits_memory, lay_out, over_batch
from experiments.runs.progress import Turn
from experiments.storage import checkpoints
from experiments.storage.metrics import Metrics
from experiments.storage.shared_folder import SharedFolder
from metagrad import meta_parameters
from metagrad.meta_parameters import MetaParameters

POLL_SECONDS = 0.01


class Result(NamedTuple):
    """What became of a run.

    Attributes:
      metrics: the columns of `metrics.csv`, float [logging points, seeds] each; NaN where nothing was measured. Of
        several processes, only the first has them.
      seconds: that training took up to the last checkpoint, compilation and earlier calls included.
    """

    metrics: Metrics
    seconds: float


def train(
    config: Config,
    folder: str | os.PathLike[str] | None = None,
    execution: Execution = EXECUTION,
    *,
    network: Network | None = None,
    quiet: bool = False,
    hosts: Hosts = ALONE,
    turn: Turn = progress.ALONE,
) -> Result:
    """Trains every seed of a run and writes the run's folder, but for the picture.

    Stopped anywhere, the same call goes on from the last checkpoint, to the same end. After SIGINT or SIGTERM, which
    the main thread alone is told of, training goes on to the next logging point and writes a checkpoint there.

    Args:
      config: the settings.
      folder: new, empty, or that of the same run; a run with fewer environment steps becomes longer. None leaves
        nothing on disk. Of several processes, only the first takes notice of it.
      execution: how it is carried out.
      network: in place of the one that is chosen by the observations; a folder does not remember it.
      quiet: whether to show no progress.
      hosts: the processes that train the run, of which each calls this with the same settings.
      turn: its place among other runs, which the progress shows.

    Returns:
      What became of the run.

    Raises:
      UsageError: if a setting is impossible, the folder holds anything else, or the memory is too small for a batch of
        seeds.
      LostError: if another process has ended.
      WriteError: if the folder cannot be written to any more.
      NonFiniteError: if training broke, and is to stop then; the metrics up to the interval before are on disk.
      KeyboardInterrupt: with a signal's number, if one came, to whichever process.
    """
    config_lib.validate(config)
    config_lib.validate_execution(execution)
    if folder is None and hosts.first:
        with tempfile.TemporaryDirectory() as temporary:
            return train(config, temporary, execution, network=network, quiet=quiet, hosts=hosts, turn=turn)
    began = time.monotonic()
    agent = make_agent(config) if network is None else make_agent(config, network)
    place = None if folder is None else commands.local_path("logdir", folder)
    with compilation.checking_themselves(), SharedFolder(place, config, execution, hosts) as writer:
        env_steps, seconds = writer.env_steps, writer.seconds
        if env_steps == config.num_env_steps:
            return Result(writer.read_metrics(), seconds)
        if env_steps:
            states = writer.read_checkpoint(jax.eval_shape(partial(init_seeds, agent, config)))
        shares = hosts.shares(config.num_seeds)
        mine = shares[hosts.index]
        # The largest share decides in all processes, so that all run the same program.
        layout = lay_out(max(share.stop - share.start for share in shares), execution.seeds_per_batch)
        layout = layout._replace(number=mine.stop - mine.start)
        what = turn.title or f"{estimator_title(config.estimator, config.horizon)}, {config.num_seeds} seeds"
        first = env_steps
        with (
            progress.bar(
                what,
                config.num_env_steps,
                "steps",
                env_steps,
                quiet=quiet or not hosts.first,
                postfix=progress.notes(turn.in_all(config.num_env_steps - first, None, seconds), "compiling"),
            ) as bar,
            _seeds_fit_memory(config, layout),
        ):
            with interrupts.at_once():
                program, inputs = training_program(agent, layout)
                compiled = compilation.compiled(program, *inputs)
            if env_steps:
                dropped = hosts.everywhere(states.num_updates < env_steps // (config.num_envs * config.rollout_length))
                if dropped.any() and execution.on_divergence == "stop":
                    refuse("on_divergence", "stop", f"drop, to go on with the run in {folder}, which has dropped seeds")
                batches = layout.split(states)
            else:
                dropped = np.zeros(config.num_seeds, bool)
                batches = _start(agent, config, layout, mine)
            bar.unpause()  # the time left counts from here, not from compilation
            clock = time.monotonic()
            tell = partial(bar.set_postfix_str, "stopping at the next logging point; a second Ctrl-C stops at once")
            with interrupts.held_back(tell) as signals:
                points = 0
                while env_steps < config.num_env_steps:
                    start, env_steps = env_steps, min(env_steps + config.steps_per_point, config.num_env_steps)
                    points += 1
                    num_windows = (env_steps - start) // config.steps_per_window
                    windows = np.where(dropped, 0, num_windows)[mine]
                    own = _advance(compiled, layout, batches, windows)
                    eta, summary = hosts.everywhere((layout.join([batch.eta for batch in batches]), own))
                    for index, divergence in divergences(config, summary.first_nonfinite).items():
                        if execution.on_divergence == "stop":
                            raise NonFiniteError(
                                f"stopped: {divergence}; what was logged before is on disk, and with on_divergence=drop "
                                "the other seeds go on from there"
                            )
                        dropped[index] = True
                        if hosts.first:
                            bar.write(f"dropped: {divergence}; its state from before is kept", file=sys.stderr)
                    metrics = _metrics(agent, eta, summary, dropped)
                    writer.write_metrics(env_steps, metrics)
                    # A signal to one of the processes stops all, at the same point.
                    stopping = int(hosts.everywhere(np.array(signals[:1] or [0])).max())
                    if stopping and not signals:
                        signals.append(stopping)
                    stays = checkpoints.stays(config, execution, env_steps)
                    if stopping or stays or points % execution.checkpoint_every == 0:
                        seconds = writer.seconds + time.monotonic() - began
                        writer.write_checkpoint(env_steps, layout.join(batches), seconds)
                    now = time.monotonic()
                    a_step, so_far = (now - clock) / (env_steps - first), writer.seconds + now - began
                    in_all = turn.in_all(config.num_env_steps - env_steps, a_step, so_far)
                    marked = f"{dropped.sum()} seeds dropped" if dropped.any() else ""
                    told = progress.notes(in_all, f"return {_mean_return(metrics):.2f}", marked)
                    bar.set_postfix_str(told, refresh=False)
                    bar.update(env_steps - start)
                    if stopping:
                        break
        return Result(writer.read_metrics(), seconds)


def training_program(agent: Agent, layout: Layout) -> tuple[jax.stages.Wrapped, tuple[TrainingState, chex.Array]]:
    """Makes the program that trains a batch of seeds.

    Args:
      agent: of every seed.
      layout: of the batch.

    Returns:
      The program, from states without keys, whose memory it reuses, and numbers of windows, int32 [size], to the next
      states and summaries; and the shapes, dtypes and places of what it takes.
    """
    like = jax.eval_shape(partial(init_seed, agent), 0)

    def advance_seed(inputs: tuple[TrainingState, chex.Array]) -> tuple[TrainingState, Summary]:
        state, num_windows = inputs
        state, summary = training.train(agent, checkpoints.with_keys(state, like), num_windows)
        return checkpoints.without_keys(state), summary

    def advance(states: TrainingState, num_windows: chex.Array) -> tuple[TrainingState, Summary]:
        return over_batch(advance_seed, layout)((states, num_windows))

    inputs = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((layout.size, *leaf.shape), leaf.dtype, sharding=layout.sharding),
        (jax.eval_shape(checkpoints.without_keys, like), jax.ShapeDtypeStruct((), np.int32)),
    )
    return jax.jit(advance, donate_argnums=0), inputs


def _start(agent: Agent, config: Config, layout: Layout, mine: slice) -> list[TrainingState]:
    """Initialises this process's share of the seeds, batch by batch."""

    @jax.jit
    def init(seeds: chex.Array) -> TrainingState:
        return over_batch(lambda seed: checkpoints.without_keys(init_seed(agent, seed)), layout)(seeds)

    seeds = layout.split(np.int32(config.seed) + np.arange(config.num_seeds, dtype=np.int32)[mine])
    return [_aside(init(jax.device_put(batch, layout.sharding)), seeds) for batch in seeds]


def _advance(program: Callable, layout: Layout, batches: list[TrainingState], num_windows: np.ndarray) -> Summary:
    """Trains every seed for its number of windows, batch by batch; the new states take the places of the old ones."""
    summaries = []
    for index, windows in enumerate(layout.split(num_windows.astype(np.int32))):
        state, summary = program(*jax.device_put((batches[index], windows), layout.sharding))
        wait(summary)
        batches[index] = _aside(state, batches)
        summaries.append(summary)
    return layout.join(summaries)


def _aside(batch: TrainingState, batches: Sequence) -> TrainingState:
    """Moves one of several batches to the host's memory, where it waits for its turn."""
    return jax.device_get(batch) if len(batches) > 1 else batch


def _seeds_fit_memory(config: Config, layout: Layout) -> contextlib.AbstractContextManager[None]:
    """Says in one line which flag to lower where the memory is too small."""
    at_once = min(layout.size, config.num_seeds)
    if layout.size > layout.mesh.size:
        return fits_memory("seeds_per_batch", at_once, "so many seeds at once")
    return fits_memory("num_envs", config.num_envs, "a seed")


def wait(summary: Summary) -> None:
    """Waits for the device in small steps: inside one long call, no signal would be seen."""
    while not summary.num_updates.is_ready():
        time.sleep(POLL_SECONDS)


def _metrics(agent: Agent, eta: MetaParameters, summary: Summary, dropped: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a logging point's columns, float [num_seeds] each; NaN where no episode ended or a seed was dropped."""
    hyper = meta_parameters.hyperparameters(agent.tuning, eta)
    with np.errstate(invalid="ignore"):
        episodes = {
            "episode_return": summary.return_sum / summary.num_episodes,
            "episode_length": summary.length_sum / summary.num_episodes,
        }
        losses = {f"loss/{name}": total / summary.num_updates for name, total in summary.loss_sums.items()}
    tuned = {f"hyper/{name}": np.asarray(hyper[name]) for name in agent.tuning.tuned}
    gradients = {f"meta_grad/{name}": summary.meta_gradient[name] for name in agent.tuning.tuned}
    columns = episodes | tuned | gradients | losses
    return {name: np.where(dropped, np.float32(np.nan), column) for name, column in columns.items()}


def _mean_return(metrics: dict[str, np.ndarray]) -> float:
    returns = metrics["episode_return"]
    return float(np.nanmean(returns)) if np.isfinite(returns).any() else math.nan
