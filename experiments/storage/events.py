"""What TensorBoard shows of a run: its settings, means over seeds, and the seeds one by one."""

import pathlib
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.summary import custom_scalars, text

from experiments.config.settings import Config, by_flag

OF_EACH_SEED = ("episode_return", "hyper")
"""What the columns begin with that are shown seed by seed."""


class EventLog:
    """A file of events. `SummaryWriter` has a thread that dies on a full disk, and then all wait for it."""

    def __init__(self, folder: pathlib.Path, config: Config, env_steps: int, columns: Iterable[str]) -> None:
        """Starts a file, by which all that others of the folder say after so many environment steps is void."""
        self._writer = EventsWriter(str(folder / "events"))
        settings = [f"| {name} | {value} |" for name, value in by_flag(config).items()]
        table = "\n".join(["| setting | value |", "| --- | --- |", *settings])
        shown = [name for name in columns if name.partition("/")[0] in OF_EACH_SEED]
        charts = {"each seed": {name: ["Multiline", [f"{name}/seed_.*"]] for name in shown}}
        self._write(env_steps + 1, session_log=SessionLog(status=SessionLog.START))
        self._write(env_steps + 1, summary=text("settings", table))
        self._write(env_steps + 1, summary=custom_scalars(charts))

    def write(self, env_steps: int, values: Mapping[str, float]) -> None:
        """Adds the values of a logging point by tag, which are on disk then."""
        shown = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(env_steps, summary=Summary(value=shown))
        self._writer.flush()

    def _write(self, env_steps: int, **content: Any) -> None:
        self._writer.write_event(Event(wall_time=time.time(), step=env_steps, **content))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()


def scalars(metrics: Mapping[str, np.ndarray], seeds: Iterable[int]) -> dict[str, float]:
    """Returns what is shown of a logging point, by tag.

    Args:
      metrics: float [seeds] for each column; NaN where nothing was measured, which is left out.
      seeds: their numbers.

    Returns:
      The columns' means, the meta-gradients' standard deviations over two seeds or more, and each seed's return and
      tuned hyperparameters.
    """
    values: dict[str, float] = {}
    for name, column in metrics.items():
        kind, _, rest = name.partition("/")
        measured = {seed: value for seed, value in zip(seeds, column.tolist(), strict=True) if not np.isnan(value)}
        if measured:
            values[name] = float(np.mean([*measured.values()]))
        if kind == "meta_grad" and len(measured) > 1:
            values[f"meta_grad_std/{rest}"] = float(np.std([*measured.values()], ddof=1))
        if kind in OF_EACH_SEED:
            values |= {f"{name}/seed_{seed}": value for seed, value in measured.items()}
    return values
