"""The format of `metrics.csv`, a row for each logging point and seed. `report` in `agents.agent` makes the columns."""

import csv
import io
import pathlib
from collections.abc import Iterable, Mapping

import numpy as np

from experiments.config.ranges import UsageError
from experiments.storage.files import read_text

METRICS = "metrics.csv"

Metrics = Mapping[str, np.ndarray]
"""Arrays by column name, each [logging points, seeds]; NaN where nothing was measured."""


def as_rows(env_steps: int, seeds: Iterable[int], columns: Metrics) -> tuple[str, str]:
    """Returns the header of `metrics.csv`, and a logging point's rows.

    Args:
      env_steps: environment steps of one seed so far.
      seeds: their numbers.
      columns: float [seeds] each; NaN becomes an empty cell.
    """
    rows = [
        ",".join([str(env_steps), str(seed), *("" if np.isnan(value) else str(value) for value in values)])
        for seed, *values in zip(seeds, *columns.values(), strict=True)
    ]
    return ",".join(["env_steps", "seed", *columns]), "".join(f"{row}\n" for row in rows)


def length_until(path: pathlib.Path, env_steps: int, num_seeds: int) -> int:
    """Returns the number of bytes of a metrics file until the rows of a checkpoint end.

    Raises:
      UsageError: if these rows are not there.
    """
    length = num_rows = 0
    with path.open("rb") as file:
        for line in file:
            steps = line.split(b",")[0]
            if not line.endswith(b"\n") or (steps.isdigit() and int(steps[:20]) > env_steps):
                break
            length += len(line)
            num_rows += steps == str(env_steps).encode()
    if env_steps and num_rows != num_seeds:
        raise UsageError(f"{path}: lacks the rows of the checkpoint at {env_steps} environment steps")
    return length


def dropped_seeds(metrics: Metrics) -> np.ndarray:
    """Returns which seeds diverged and were dropped, bool [seeds]: their last row is empty, as no other is."""
    measured = [column[-1] for name, column in metrics.items() if name not in ("env_steps", "seed")]
    return np.asarray(np.isnan(measured).all(0))


def of_survivors(metrics: Metrics) -> Metrics:
    """Leaves out the seeds that were dropped, so that a run's means are over the same seeds everywhere.

    The environment steps, which are the same for every seed, stay whole: no other seed may be left.
    """
    survivors = ~dropped_seeds(metrics)
    return {name: column if name == "env_steps" else column[:, survivors] for name, column in metrics.items()}


def read_metrics(folder: pathlib.Path) -> Metrics:
    """Reads `metrics.csv`.

    Args:
      folder: of a run.

    Returns:
      The columns, `env_steps` and `seed` included, each [logging points, seeds]; without a last point that is not all
      on disk.

    Raises:
      UsageError: if the file cannot be read, or the run ended before its first logging point.
    """
    try:
        text = read_text(folder / METRICS)
        rows = list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))
        num_seeds = len({row["seed"] for row in rows}) or 1
        rows = rows[: len(rows) // num_seeds * num_seeds]
        columns = {name: np.array([float(row[name] or "nan") for row in rows]) for name in (rows[0] if rows else ())}
        metrics = {name: column.reshape(-1, num_seeds) for name, column in columns.items()}
        if metrics and not {"env_steps", "seed"} < metrics.keys():
            raise LookupError("it has no env_steps, no seed, or nothing else")
    except (OSError, LookupError, TypeError, ValueError, csv.Error) as error:
        raise UsageError(f"{folder / METRICS}: does not hold a run's metrics ({error})") from error
    if not metrics:
        raise UsageError(f"{folder / METRICS}: has no logging point yet")
    return metrics
