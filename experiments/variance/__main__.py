"""Measures the estimators' bias, variance and signal-to-noise ratio at fixed agents.

Examples:
    python -m experiments.variance --problem=tabular --logdir=runs/tabular
    python -m experiments.variance --preset=quick --logdir=runs/variance
    python -m experiments.variance --checkpoint=runs/mixing --num_samples=1024 --logdir=runs/checkpoints

Stopped in the middle, the same command goes on from the samples that are on disk.
"""

import json
import pathlib
import sys

import jax
import numpy as np
import tqdm
from absl import flags

from experiments import config as config_lib
from experiments.config import refuse
from experiments.train import NonFiniteError
from experiments.variance import analysis, picture, sampling, snake_points, tables, tabular_points
from experiments.variance.analysis import Json
from experiments.variance.sampling import Point
from experiments.variance.settings import Study, define_flags, study_from_flags

RESULTS, PICTURE, STUDY, SAMPLES = "variance.json", "variance.png", "study.json", "samples"

WINDOWS = 2**31 - 1
"""Sets the windows' keys apart from those that training derives from the same seed by small numbers."""


def main(values: flags.FlagValues) -> None:
    """Studies what the flags say."""
    study = study_from_flags(values)
    try:
        folder, points = _prepare(study, values.logdir)
        samples = _draw(study, points, folder)
    except NonFiniteError as error:
        sys.exit(str(error))
    results = _results(study, points, samples)
    (folder / RESULTS).write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    picture.draw(results, folder / PICTURE)
    print(tables.describe(results))
    print(f"The numbers are in {folder / RESULTS}, the picture is {folder / PICTURE}")


def _prepare(study: Study, logdir: str | None) -> tuple[pathlib.Path, list[Point]]:
    """Returns the study's folder and points; a folder is made only for a study that can begin.

    Raises:
      UsageError: if the folder holds something else, or a checkpoint cannot be read.
    """
    if study.problem == "tabular":
        return _open(logdir, study), tabular_points.points(study.config.horizon)
    if study.run is None:
        folder = _open(logdir, study)
        return folder, snake_points.trained_points(study.config, study.burn_in, folder)
    points = snake_points.checkpoint_points(
        study.config, study.names, study.burn_in, study.run, study.num_checkpoints, study.seed_index
    )
    return _open(logdir, study), points


def _open(logdir: str | None, study: Study) -> pathlib.Path:
    """Makes the folder, or opens that of the same study, to go on with it.

    Raises:
      UsageError: if it holds anything else.
    """
    file = pathlib.Path(logdir or "").expanduser() / STUDY
    content = json.dumps(study.determining(), indent=2) + "\n"
    if logdir and file.exists():
        if file.read_text() != content:
            refuse("logdir", logdir, "a new or empty folder, or one of a study with the same settings")
        return file.parent
    folder = config_lib.new_logdir(logdir)
    file.write_text(content)
    return folder


def _draw(study: Study, points: list[Point], folder: pathlib.Path) -> dict[str, np.ndarray]:
    """Draws the samples of every point, float [N, n, M] by name."""
    # Agents are trained with keys of the same seed: the windows' are none of theirs.
    key = jax.random.fold_in(jax.random.key(study.seed), WINDOWS)
    samples = {}
    with tqdm.tqdm(total=study.num_samples * len(points), unit=" windows", dynamic_ncols=True) as bar:
        for index, point in enumerate(points):
            bar.set_description(point.name)
            place = folder / SAMPLES / point.name
            point_key = jax.random.fold_in(key, index)
            samples[point.name] = sampling.draw(
                point, point_key, study.num_samples, study.chunk_size, place, bar.update
            )
    return samples


def _results(study: Study, points: list[Point], samples: dict[str, np.ndarray]) -> Json:
    """Returns the content of `variance.json`; its top level repeats the point that matters most."""
    results: Json = {"problem": study.problem, "horizon": study.config.horizon, "meta_params": list(study.names)}
    if study.problem == "tabular":
        # All windows show what converges, and how often intervals cover; some of the largest batch's do for the rest.
        results |= tabular_points.convergence(samples, points, study.names)
        points = points[-1:]
        samples = {point.name: samples[point.name][: tabular_points.DESCRIBED] for point in points}
    described = {}
    for point in points:
        exact = point.exact.get(tabular_points.OF_UPDATES)
        reference = None if exact is None else exact[-1]
        numbers = analysis.analyse(samples[point.name], study.names, reference)
        described[point.name] = {**point.about, "num_samples": len(samples[point.name]), **numbers}
    headline = "poor" if "poor" in described else points[-1].name
    summary = {key: value for key, value in described[headline].items() if key not in analysis.CURVES}
    return results | {"point": headline} | summary | {"points": described}


if __name__ == "__main__":
    config_lib.run(main, define_flags(), "the same command goes on from here")
