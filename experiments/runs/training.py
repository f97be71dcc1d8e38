"""The loop of a run: trains all its seeds to the next logging point, writes metrics and checkpoints, and repeats.

What is logged is what `report` of the `Learning` returns, of the actor-critic in `agents.agent`. What happens from one
logging point to the next is in `agents.training`.
"""

import contextlib
import dataclasses
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from agents import training
from agents.agent import Agent
from agents.training import Learning, TrainingState
from experiments.config import validation
from experiments.config.ranges import refuse
from experiments.config.settings import EXECUTION, Config, Execution, by_flag
from experiments.config.titles import run_title
from experiments.runs import compilation, interrupts, progress
from experiments.runs.building import init_seeds, learning_of, make_agent
from experiments.runs.divergence import Divergence, NonFiniteError, divergences
from experiments.runs.hosts import ALONE, Hosts
from experiments.runs.layout import Layout, fits_memory, lay_out
from experiments.runs.progress import RunBar, Turn
from experiments.runs.seeds import Seeds, Starts, Succession
from experiments.storage import checkpoints
from experiments.storage.config_file import CONFIG, TRIALS
from experiments.storage.folder import local_path
from experiments.storage.metrics import Metrics
from experiments.storage.run_folder import RunFolder


class Result(NamedTuple):
    """What became of a run.

    Attributes:
      metrics: the columns of `metrics.csv`, float [logging points, seeds] each; NaN where nothing was measured. Of
        several processes, only the first has them.
      seconds: that training took up to the last checkpoint, compilation and earlier calls included.
    """

    metrics: Metrics
    seconds: float


Between = Callable[[Metrics], Succession]
"""From the columns of `metrics.csv` up to a logging point to where the seeds go on from; a pure function.

It is called at each logging point, and again where a run goes on: the metrics say what the hyperparameters were.
"""


def train(
    config: Config,
    folder: str | os.PathLike[str] | None = None,
    execution: Execution = EXECUTION,
    *,
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
    validation.validate(config)
    validation.check_ranges(execution)
    agent = make_agent(config)
    starts = Starts(config.seed + np.arange(config.num_seeds, dtype=np.int32), {})
    if not turn.title:
        turn = turn._replace(title=f"{run_title(config)}, {config.num_seeds} seeds")
    return train_seeds(agent, config, starts, folder, execution, quiet=quiet, hosts=hosts, turn=turn)


@compilation.checking_themselves()
def train_seeds(
    agent: Agent | Learning,
    config: Config,
    starts: Starts,
    folder: str | os.PathLike[str] | None,
    execution: Execution = EXECUTION,
    *,
    trials: bool = False,
    between: Between | None = None,
    quiet: bool = False,
    hosts: Hosts = ALONE,
    turn: Turn = progress.ALONE,
) -> Result:
    """Trains as `train` does, seeds that start from elsewhere than the settings say.

    With `trials`, those that diverge are dropped in silence; training stops only where the environment is to blame.
    `between`, which needs a single process, may let seeds take over from others after a logging point: one that was
    dropped and takes over from a healthy one is trained on.
    """
    began = time.monotonic()
    hosts.check_alike(by_flag(config) | dataclasses.asdict(execution))
    mine = hosts.share(config.num_seeds)
    learning, report = learning_of(agent), learning_of(agent, starts.hyperparameters).report
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(_run_folder(folder, config, execution, trials)) if hosts.first else None
        done, before = _last_checkpoint(run, config, hosts), run.seconds if run else 0.0
        if done == config.num_env_steps:
            return Result(run.read_metrics() if run else {}, before)
        layout = lay_out(mine.stop - mine.start, execution.seeds_per_batch)
        stack.enter_context(_fits_memory(config, layout, trials))
        states = _read_states(run, learning, config, hosts) if done else None
        dropped = _dropped_before(states, done, config, execution)
        starts = _starts_now(starts, run if done else None, between)
        bar = stack.enter_context(RunBar(config.num_env_steps, done, turn, quiet or not hosts.first))
        seeds = _begin(agent, layout, *jax.tree.map(lambda leaf: leaf[mine], (starts, states)))
        bar.compiled()
        with interrupts.held_back(bar.stopping) as signals:
            for point, (earlier, env_steps) in enumerate(itertools.pairwise(_logging_points(config, done)), 1):
                windows = (env_steps - earlier) // config.steps_per_window
                summary = seeds.advance(np.where(dropped, 0, windows)[mine])
                eta, summary = hosts.all_gather((seeds.eta(), summary))
                broken = divergences(config, starts.numbers, summary.breach, partial(training.checked, learning))
                _stop_where_told(broken, execution, trials)
                dropped[[divergence.seed for divergence in broken]] = True
                columns = _columns(report(eta, summary), dropped)
                if run:
                    bar.say_dropped([] if trials else broken)
                    run.write_metrics(env_steps, columns)
                if run and between:
                    dropped = dropped[seeds.succeed(between(run.read_metrics()))]
                stop = _signals_of_all(signals, hosts)
                if stop or _checkpoint_is_due(config, execution, point, env_steps):
                    states, seconds = hosts.all_gather(seeds.states()), before + time.monotonic() - began
                    if run:
                        run.write_checkpoint(env_steps, states, seconds)
                bar.advance(env_steps, columns["episode_return"], dropped.sum())
                if stop:
                    signals[:] = stop
                    break
        return Result(run.read_metrics() if run else {}, seconds)


def _starts_now(starts: Starts, run: RunFolder | None, between: Between | None) -> Starts:
    """Returns where seeds start from, or what they go on with in a run that takes over from others."""
    if run and between:
        return starts._replace(hyperparameters=between(run.read_metrics()).hyperparameters)
    return starts


def _begin(agent: Agent | Learning, layout: Layout, starts: Starts, states: TrainingState | None) -> Seeds:
    """Compiles what trains the seeds, and lets them begin, or go on from states."""
    with interrupts.at_once():
        seeds = Seeds(agent, starts, layout)
    seeds.begin(states)
    return seeds


def _stop_where_told(broken: Sequence[Divergence], execution: Execution, trials: bool) -> None:
    """Raises a `NonFiniteError` for the first seed that is to end all."""
    for divergence in broken:
        if divergence.by_environment if trials else execution.on_divergence == "stop":
            raise NonFiniteError(f"stopped: {divergence.text}{'' if trials else ADVICE}")


ADVICE = "; what was logged before is on disk, and with `on_divergence`=drop the other seeds go on from there"


@contextlib.contextmanager
def _run_folder(
    folder: str | os.PathLike[str] | None, config: Config, execution: Execution, trials: bool
) -> Iterator[RunFolder]:
    """Opens the run's folder, or one that is removed in the end; one of trials is no run for anybody else."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(tempfile.TemporaryDirectory()) if folder is None else folder
        yield stack.enter_context(
            RunFolder(local_path("logdir", place), config, execution, TRIALS if trials else CONFIG)
        )


def _last_checkpoint(run: RunFolder | None, config: Config, hosts: Hosts) -> int:
    """Returns the environment steps of one seed at the last checkpoint, of which the first process knows."""
    updates = np.array([run.env_steps // config.steps_per_update if run else 0], np.int32)
    return int(hosts.broadcast(updates)[0]) * config.steps_per_update


def _read_states(run: RunFolder | None, learning: Learning, config: Config, hosts: Hosts) -> TrainingState:
    """Returns the states of all seeds at the last checkpoint, without keys."""
    like = jax.eval_shape(lambda: init_seeds(learning, config))
    if run:
        return hosts.broadcast(run.read_checkpoint(like))
    plain = jax.eval_shape(checkpoints.without_keys, like)
    return hosts.broadcast(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), plain))


def _dropped_before(states: TrainingState | None, done: int, config: Config, execution: Execution) -> np.ndarray:
    """Returns which seeds were dropped before the last checkpoint, bool [num_seeds]: they have fewer updates."""
    if states is None:
        return np.zeros(config.num_seeds, bool)
    dropped = states.num_updates < done // config.steps_per_window * config.updates_per_window
    if dropped.any() and execution.on_divergence == "stop":
        refuse("on_divergence", "stop", "drop, to go on with a run that has dropped seeds")
    return np.asarray(dropped)


def _logging_points(config: Config, done: int) -> Iterator[int]:
    """Yields environment steps of one seed, now and at each logging point to come."""
    yield done
    while done < config.num_env_steps:
        done = min(done + config.steps_per_point, config.num_env_steps)
        yield done


def _signals_of_all(signals: Sequence[int], hosts: Hosts) -> list[int]:
    """Returns the signal that came to any of the processes: it stops all, at the same point; later ones at the next."""
    number = int(hosts.all_gather(np.array(signals[:1] or [0])).max())
    return [number] if number else []


def _checkpoint_is_due(config: Config, execution: Execution, point: int, env_steps: int) -> bool:
    return point % execution.checkpoint_every == 0 or checkpoints.stays(config, execution, env_steps)


def _fits_memory(config: Config, layout: Layout, trials: bool) -> contextlib.AbstractContextManager[None]:
    """Says in one line which setting to lower where the memory is too small."""
    at_once = min(layout.size, config.num_seeds)
    if layout.size > layout.mesh.size:
        what = "num_settings" if trials else "seeds_per_batch"
        return fits_memory(what, at_once, "so many seeds at once")
    return fits_memory("num_envs", config.num_envs, "a seed")


def _columns(reported: Mapping[str, np.ndarray], dropped: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a logging point's columns, float [num_seeds] each; NaN where a seed was dropped."""
    return {name: np.where(dropped, np.float32(np.nan), column) for name, column in reported.items()}
