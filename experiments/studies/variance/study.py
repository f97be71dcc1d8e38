"""A study from its settings to `variance.json`; stopped in the middle, it goes on from the samples that are on disk."""

import dataclasses
import json
import os
import pathlib
import tempfile
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from experiments.config.estimators import Named
from experiments.config.own_code import is_own_code
from experiments.config.ranges import refuse
from experiments.config.settings import Config
from experiments.figures.outcome import MOST_SHOWN
from experiments.figures.tables import lay_out
from experiments.runs import progress
from experiments.runs.layout import fits_memory
from experiments.storage import files
from experiments.storage import folder as storage_folder
from experiments.studies.variance import agent_points, analysis, sampling, tabular_points, text, truth
from experiments.studies.variance.analysis import NONE, Json
from experiments.studies.variance.sampling import Point
from experiments.studies.variance.settings import Study, make_study

RESULTS, STUDY = "variance.json", "study.json"

FOLDERS = {"windows": "samples", "lifetimes": "lifetimes"}

STREAMS = {"windows": 2**31 - 1, "lifetimes": 2**31 - 2}
"""Set the keys of samples apart from those that training derives from the same seed by small numbers."""

LEVELS, LEVELS_OF = 5, {"points": 2, "convergence": 1, "by_environments": 1, "exact": 1, "truth": 1, "own_critic": 1}
"""So many levels of `variance.json` have lines of their own, but fewer of what is so long that it is for programs."""

LIFETIMES_AT_ONCE = 8
"""Pairs of lifetimes in a file."""


def variance(folder: str | os.PathLike[str] | None = None, *, quiet: bool = False, **settings: Any) -> Json:
    """Studies what the command `experiments.variance` does, but for its pictures.

    Args:
      folder: new, empty, or that of the same study, to go on with it. None leaves nothing on disk.
      quiet: whether to show no progress.
      **settings: fields of `settings.Study` and of `Config`, and `preset`; those left out are as on the command line.

    Returns:
      The content of `variance.json`.

    Raises:
      UsageError: if a setting is impossible, the folder holds anything else, or the memory is too small.
      WriteError: if the folder cannot be written to any more.
      NonFiniteError: if an agent that is trained for the study broke, or a sample is not finite.
    """
    study = make_study(settings)
    if folder is not None:
        return carry_out(study, os.fspath(folder), quiet)
    with tempfile.TemporaryDirectory() as place:
        return carry_out(study, place, quiet)


def carry_out(study: Study, logdir: str | None, quiet: bool = False) -> Json:
    """Carries a study out as `variance` does, in a folder that is made only for one that can begin; None is refused."""
    if study.problem == "tabular":
        points = tabular_points.points(study.config.horizon, study.drawn_estimators())
        folder = _open_folder(logdir, study)
    elif study.checkpoint is None:
        folder = _open_folder(logdir, study)
        points = agent_points.trained_points(study, folder, quiet)
    else:
        points = agent_points.checkpoint_points(study)
        folder = _open_folder(logdir, study)
    fits = fits_memory("horizon", study.config.horizon, "so long a window")
    if study.chunk_size > jax.local_device_count():
        fits = fits_memory("chunk_size", study.chunk_size, "so many windows at once")
    with fits:
        windows = draw("windows", study, points, study.num_samples, study.chunk_size, folder, quiet)
        own = {
            name: draw("windows", study, points, study.num_samples, study.chunk_size, folder, quiet, name)
            for name in study.drawn_estimators()
        }
    lifetimes = {}
    if study.reference == "return":
        sampled = [point for point in points if point.lifetimes is not None]
        with fits_memory("horizon", study.config.horizon, f"{LIFETIMES_AT_ONCE} pairs of so long lifetimes"):
            lifetimes = draw("lifetimes", study, sampled, study.num_lifetimes, LIFETIMES_AT_ONCE, folder, quiet)
    results = _results(study, points, windows, lifetimes, own)
    with files.told(folder):
        files.write_whole(folder / RESULTS, lay_out(results, LEVELS, LEVELS_OF) + "\n")
    return results


def _open_folder(logdir: str | None, study: Study) -> pathlib.Path:
    """Makes the folder, or opens that of the same study, to go on with it."""
    file = storage_folder.local_path("logdir", logdir or "") / STUDY
    asked, before = study.determining(), dataclasses.asdict(Config())
    if logdir and file.exists():
        same = files.holds(file, asked, {"config": before, "trained": dict.fromkeys(study.trained, before)})
        # The keys of a point's samples depend on its place.
        if not same or [*json.loads(files.read_text(file)).get("trained", ())] != [*study.trained]:
            refuse("logdir", logdir, "a new or empty folder, or one of a study with the same settings")
        return file.parent
    folder = storage_folder.new_logdir(logdir, (f"{STUDY}{files.PARTIAL}",))
    with files.told(folder):
        files.write_whole(file, json.dumps(asked, indent=2) + "\n")
    return folder


def draw(
    what: str,
    study: Study,
    points: list[Point],
    number: int,
    at_once: int,
    folder: pathlib.Path,
    quiet: bool,
    own: str | None = None,
) -> dict[str, np.ndarray]:
    """Draws so many windows, float [N, C, n, M], or lifetimes, float [L, H, M], of every point, by its name.

    With an estimator of your own, its gradients in these windows are drawn, float [N, C, M].
    """
    key = jax.random.fold_in(jax.random.key(study.seed), STREAMS[what])
    samples = {}
    for index, point in enumerate(points):
        point_key, place = jax.random.fold_in(key, index), folder / FOLDERS[what] / point.name
        program = getattr(point, what)
        if own:
            name = _folder_of(study.drawn_names()[own])
            place, program = folder / f"{FOLDERS[what]}_{name}" / point.name, point.own[own]
        with progress.bar(f"agent {index + 1}/{len(points)}, {point.name}", number, what, quiet=quiet) as bar:
            samples[point.name] = sampling.draw(point, program, point_key, number, at_once, place, bar.update)
    return samples


def _folder_of(estimator: Named) -> str:
    """Returns what the folder of an estimator's samples is called: your own has its module in it."""
    return estimator.name.replace(":", ".") if is_own_code(estimator.name) else estimator.title


def _results(
    study: Study,
    points: list[Point],
    windows: dict[str, Any],
    lifetimes: dict[str, Any],
    own: dict[str, dict[str, Any]],
) -> Json:
    """Returns the content of `variance.json`; its top level repeats the first point, or the largest tabular one."""
    problem = study.config.environment
    converging: Json = {}
    if study.problem == "tabular":
        problem = study.problem
        # All windows show what converges, and how often intervals cover; some of the largest batch's do for the rest.
        by_own_critic = {name: drawn[:, 0] for name, drawn in windows.items()}
        converging = tabular_points.convergence(by_own_critic, points, study.names)
        if own:
            drawn = {name: {point: each[:, 0] for point, each in by_point.items()} for name, by_point in own.items()}
            converging |= tabular_points.by_environments(by_own_critic, drawn, points)
        points = points[-1:]
        few = slice(tabular_points.DESCRIBED)
        windows = {name: drawn[few] for name, drawn in windows.items()}
        own = {name: {point: each[few] for point, each in by_point.items()} for name, by_point in own.items()}
    described = {
        point.name: describe(
            study,
            point,
            windows[point.name],
            lifetimes.get(point.name),
            {name: samples[point.name] for name, samples in own.items()},
        )
        for point in points
    }
    headline = points[0].name
    results: Json = {
        "problem": problem,
        "horizon": study.config.horizon,
        "meta_params": list(points[0].components[:MOST_SHOWN]),
        "reference_is": study.reference,
        "point": headline,
        **{key: value for key, value in described[headline].items() if key not in ("mixing_decays", "by_horizon")},
        **converging,
        "points": described,
    }
    return {"summary": text.summarize(results)} | results


def describe(
    study: Study, point: Point, windows: np.ndarray, lifetimes: np.ndarray | None, own: Mapping[str, np.ndarray] = NONE
) -> Json:
    """Returns what `variance.json` says of a point: by its first critic and, under its name, by the other.

    Args:
      study: what is studied.
      point: where.
      windows: float [N, C, n, M].
      lifetimes: float [L, H, M], where they were sampled.
      own: float [N, C, M], the gradients of estimators of your own in these windows.
    """
    about: Json = {**point.about, "critic": point.critics[0], "num_samples": len(windows)}
    by_critic = dict(zip(point.critics, windows.swapaxes(0, 1), strict=True))
    reference: np.ndarray | None = None
    if study.reference == "return":
        if lifetimes is not None:
            about |= {"num_lifetimes": len(lifetimes), "perturbation": study.perturbation}
            outcomes = lifetimes
        else:  # known exactly, at every horizon
            exact = point.exact[tabular_points.OF_RETURN][[horizon - 1 for horizon in study.return_horizons]]
            outcomes = np.broadcast_to(exact, (len(windows), *exact.shape))
        reference = outcomes[:, -1]
        about["truth"] = truth.describe(by_critic, outcomes, study.return_horizons, point.components)
        about["reference"] = about["truth"][-1]["truth"]
    elif tabular_points.OF_UPDATES in point.exact:
        exact = point.exact[tabular_points.OF_UPDATES][-1]
        reference = np.broadcast_to(exact, (len(windows), *exact.shape))
    first, *others = (
        analysis.analyse(
            gradients,
            point.components,
            reference,
            in_same_units=study.reference != "return",
            own={name: samples[:, place] for name, samples in own.items()},
        )
        for place, gradients in enumerate(by_critic.values())
    )
    if lifetimes is not None:
        first["estimators"]["evolution"] = truth.describe_lifetimes(lifetimes[:, -1], point.components)
    return about | first | dict(zip(point.critics[1:], others, strict=True))
