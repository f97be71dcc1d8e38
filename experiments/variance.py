"""Measures the estimators' bias, variance and signal-to-noise ratio at fixed agents.

Examples:
    python -m experiments.variance --problem=tabular --logdir=runs/tabular
    python -m experiments.variance --preset=quick --logdir=runs/variance
    python -m experiments.variance --checkpoint=runs/mixing --num_samples=1024 --logdir=runs/checkpoints

Stopped in the middle, the same command goes on from the samples that are on disk.
"""

import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.config.ranges import UsageError, refuse
from experiments.figures import tables as reporting
from experiments.runs import command_line, progress
from experiments.runs.divergence import NonFiniteError
from experiments.runs.layout import fits_memory
from experiments.storage import files
from experiments.storage import folder as storage_folder
from experiments.storage.files import PARTIAL, WriteError, holds, read_text, write_whole
from experiments.studies.variance import (
    analysis,
    answer_picture,
    details_picture,
    sampling,
    snake_points,
    summary,
    tables,
    tabular_points,
    truth,
    truth_picture,
)
from experiments.studies.variance.analysis import Json
from experiments.studies.variance.sampling import Point, Program
from experiments.studies.variance.settings import Study, define_flags, study_from_flags

RESULTS, STUDY, SAMPLES, LIFETIMES = "variance.json", "study.json", "samples", "lifetimes"

PICTURE, DETAILS, TRUTH_PICTURE = "variance.png", "variance_details.png", "truth.png"

WINDOWS, PAIRS = 2**31 - 1, 2**31 - 2
"""Set the keys of windows and lifetimes apart from those that training derives from the same seed by small numbers."""

LEVELS, LEVELS_OF = 5, {"points": 2, "convergence": 1, "exact": 1, "truth": 1, "own_critic": 1}
"""So many levels of `variance.json` have lines of their own, but fewer of what is so long that it is for programs."""

LIFETIMES_AT_ONCE = 8
"""Pairs of lifetimes in a file."""


def main(values: flags.FlagValues) -> None:
    """Studies what the flags say."""
    study = study_from_flags(values)
    try:
        folder, results = _study(study, values.logdir, quiet=False)
        drawn = {PICTURE: answer_picture.draw, DETAILS: details_picture.draw}
        if study.reference == "return" and study.problem != "tabular":
            drawn[TRUTH_PICTURE] = truth_picture.draw
        with files.told(folder):
            for name, draw in drawn.items():
                draw(results, folder / name)
    except (NonFiniteError, WriteError) as error:
        sys.exit(str(error))
    print(f"{tables.describe(results)}\n\nIn {folder}: {', '.join([RESULTS, *drawn])}\n")
    print(tables.answer(results["summary"]))


def variance(folder: str | os.PathLike[str] | None = None, *, quiet: bool = False, **settings: Any) -> Json:
    """Studies what the flags of this command say, and writes the folder, but for the pictures.

    Args:
      folder: new, empty, or that of the same study, to go on with it. None leaves nothing on disk.
      quiet: whether to show no progress.
      **settings: by the flags' names: numbers, strings, booleans, paths, or lists of them; those left out are as on the
        command line.

    Returns:
      The content of `variance.json`.

    Raises:
      UsageError: if a setting is impossible, the folder holds anything else, or the memory is too small.
      WriteError: if the folder cannot be written to any more.
      NonFiniteError: if an agent that is trained for the study broke.
    """
    given = {name: ",".join(map(str, it)) if isinstance(it, tuple | list) else it for name, it in settings.items()}
    values = define_flags()
    try:
        values(["variance", *(f"--{name}={value}" for name, value in given.items())])
    except flags.Error as error:
        raise UsageError(str(error)) from error
    study = study_from_flags(values)
    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return _study(study, place, quiet)[1]
    return _study(study, str(folder), quiet)[1]


def _study(study: Study, logdir: str | None, quiet: bool) -> tuple[pathlib.Path, Json]:
    """Returns a study's folder and results, which are written there."""
    folder, points = _prepare(study, logdir, quiet)
    samples = _draw(study, points, folder, quiet)
    lifetimes = _live(study, points, folder, quiet) if study.reference == "return" else {}
    results = _results(study, points, samples, lifetimes)
    with files.told(folder):
        write_whole(folder / RESULTS, reporting.lay_out(results, LEVELS, LEVELS_OF) + "\n")
    return folder, results


def _prepare(study: Study, logdir: str | None, quiet: bool) -> tuple[pathlib.Path, list[Point]]:
    """Returns the study's folder and points; a folder is made only for a study that can begin.

    Raises:
      UsageError: if the folder holds something else, or a checkpoint cannot be read.
    """
    if study.problem == "tabular":
        return open_folder(logdir, study), tabular_points.points(study.config.horizon)
    if study.run is None:
        folder = open_folder(logdir, study)
        return folder, snake_points.trained_points(study.trained, study.asked, folder, quiet)
    points = snake_points.checkpoint_points(
        study.config, study.asked, study.run, study.num_checkpoints, study.seed_index
    )
    return open_folder(logdir, study), points


def open_folder(logdir: str | None, study: Study) -> pathlib.Path:
    """Makes the folder, or opens that of the same study, to go on with it.

    Args:
      logdir: the folder, or None, which is refused.
      study: the study.

    Returns:
      The folder.

    Raises:
      UsageError: if it holds anything else.
      WriteError: if it cannot be written to.
    """
    file = storage_folder.local_path("logdir", logdir or "") / STUDY
    asked = study.determining()
    if logdir and file.exists():
        # The keys of a point's samples depend on its place.
        if not holds(file, asked) or list(json.loads(read_text(file))["trained"]) != list(asked["trained"]):
            refuse("logdir", logdir, "a new or empty folder, or one of a study with the same settings")
        return file.parent
    folder = storage_folder.new_logdir(logdir, (f"{STUDY}{PARTIAL}",))
    with files.told(folder):
        write_whole(file, json.dumps(asked, indent=2) + "\n")
    return folder


def _draw(study: Study, points: list[Point], folder: pathlib.Path, quiet: bool) -> dict[str, np.ndarray]:
    """Draws the windows of every point, float [N, C, n, M] by name."""
    programs = [point.windows for point in points]
    fits = fits_memory("horizon", study.config.horizon, "so long a window")
    if study.chunk_size > jax.local_device_count():
        fits = fits_memory("chunk_size", study.chunk_size, "so many windows at once")
    with fits:
        return _sample(
            study.num_samples, study.chunk_size, WINDOWS, study, points, programs, folder / SAMPLES, "windows", quiet
        )


def _live(study: Study, points: list[Point], folder: pathlib.Path, quiet: bool) -> dict[str, np.ndarray]:
    """Draws pairs of lifetimes at every point where the true return is not known exactly, float [L, H, M] by name."""
    sampled = [point for point in points if point.lifetimes is not None]
    programs = [point.lifetimes for point in sampled]
    with fits_memory("horizon", study.config.horizon, f"{LIFETIMES_AT_ONCE} pairs of so long lifetimes"):
        return _sample(
            study.num_lifetimes,
            LIFETIMES_AT_ONCE,
            PAIRS,
            study,
            sampled,
            programs,
            folder / LIFETIMES,
            "lifetimes",
            quiet,
        )


def _sample(
    number: int,
    chunk_size: int,
    stream: int,
    study: Study,
    points: list[Point],
    programs: Sequence[Program | None],
    folder: pathlib.Path,
    unit: str,
    quiet: bool,
) -> dict[str, np.ndarray]:
    """Draws samples of every point by its program."""
    key = jax.random.fold_in(jax.random.key(study.seed), stream)
    samples = {}
    for index, (point, program) in enumerate(zip(points, programs, strict=True)):
        assert program is not None
        point_key = jax.random.fold_in(key, index)
        with progress.bar(f"agent {index + 1}/{len(points)}, {point.name}", number, unit, quiet=quiet) as bar:
            samples[point.name] = sampling.draw(
                point, program, point_key, number, chunk_size, folder / point.name, bar.update
            )
    return samples


def _results(
    study: Study, points: list[Point], samples: dict[str, np.ndarray], lifetimes: dict[str, np.ndarray]
) -> Json:
    """Returns the content of `variance.json`; its top level repeats the first point, or the largest tabular one."""
    problem = study.problem if study.problem == "tabular" else study.config.environment
    converging: Json = {}
    if study.problem == "tabular":
        # All windows show what converges, and how often intervals cover; some of the largest batch's do for the rest.
        own = {name: drawn[:, 0] for name, drawn in samples.items()}
        converging = tabular_points.convergence(own, points, study.names)
        points = points[-1:]
        samples = {point.name: samples[point.name][: tabular_points.DESCRIBED] for point in points}
    described = {
        point.name: _describe(study, point, samples[point.name], lifetimes.get(point.name)) for point in points
    }
    headline = points[0].name
    results: Json = {
        "problem": problem,
        "horizon": study.config.horizon,
        "meta_params": list(study.names),
        "reference_is": study.reference,
        "point": headline,
        **{key: value for key, value in described[headline].items() if key not in analysis.CURVES},
        **converging,
        "points": described,
    }
    return {"summary": summary.summarize(results)} | results


def _describe(study: Study, point: Point, gradients: np.ndarray, lifetimes: np.ndarray | None) -> Json:
    """Returns what `variance.json` says of a point, by its first critic; by another, under that one's name."""
    count = len(gradients)
    about: Json = {**point.about, "critic": point.critics[0], "num_samples": count}
    in_same_units = study.reference != "return"
    reference: np.ndarray | None = None
    if study.reference == "return":
        if lifetimes is None:  # known exactly, at every horizon
            exact = point.exact[tabular_points.OF_RETURN][[horizon - 1 for horizon in study.return_horizons]]
            lifetimes = np.broadcast_to(exact, (count, *exact.shape))
        reference = lifetimes[:, -1]
        windows = dict(zip(point.critics, gradients.swapaxes(0, 1), strict=True))
        about |= truth.describe(windows, lifetimes, study.return_horizons, study.names)
        about["perturbation"] = study.perturbation
        if point.lifetimes is None:
            for of_samples in ("evolution", "num_lifetimes", "perturbation"):
                del about[of_samples]
    elif tabular_points.OF_UPDATES in point.exact:
        exact = point.exact[tabular_points.OF_UPDATES][-1]
        reference = np.broadcast_to(exact, (count, *exact.shape))
    first, *others = (
        analysis.analyse(gradients[:, index], study.names, reference, in_same_units)
        for index in range(len(point.critics))
    )
    if "evolution" in about:
        first["estimators"]["evolution"] = about.pop("evolution")
    return about | first | dict(zip(point.critics[1:], others, strict=True))


if __name__ == "__main__":
    command_line.run(main, define_flags(), "the same command goes on from here")
