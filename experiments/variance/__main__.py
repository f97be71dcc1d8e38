"""Measures the estimators' bias, variance and signal-to-noise ratio at fixed agents.

Examples:
    python -m experiments.variance --problem=tabular --logdir=runs/tabular
    python -m experiments.variance --preset=quick --logdir=runs/variance
    python -m experiments.variance --checkpoint=runs/mixing --num_samples=1024 --logdir=runs/checkpoints

Stopped in the middle, the same command goes on from the samples that are on disk.
"""

import dataclasses
import json
import pathlib
import sys
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import tqdm
from absl import flags

from agents import tabular
from experiments import config as config_lib
from experiments.config import PRESETS, Config, Range, flag_name, refuse
from experiments.run_folder import CONFIG
from experiments.train import NonFiniteError
from experiments.variance import analysis, picture, sampling, snake_points, tables, tabular_points
from experiments.variance.analysis import Json
from experiments.variance.sampling import Point

RESULTS, PICTURE, STUDY, SAMPLES = "variance.json", "variance.png", "study.json", "samples"

PROBLEMS = ("snake", "tabular")

STUDY_PRESETS = {
    # Of `single_step`, which tunes, and whose windows are single rollouts.
    "quick": {**PRESETS["quick"], "estimator": "single_step", "horizon": 10, "num_env_steps": 64_000},
    "paper": {**PRESETS["paper"], "estimator": "single_step", "horizon": 10, "num_env_steps": 6_400_000},
}
"""Settings of the agents that are trained for a study, and its horizon."""

NUM_SAMPLES = {"quick": 256, "paper": 4_096, "tabular": 6_400}
"""Windows of a point by default: of a preset, or of the tabular problem."""

CHUNK_SIZES = {"quick": 16, "paper": 64, "tabular": 320}
"""Windows of one call by default, likewise: on a GPU and for the tables, all are drawn at once."""

UNUSED = ("estimator", "num_seeds", "mixing_weights", "mixing_decay", "meta_learning_rate", "meta_gradient_clip")
"""Settings that mean nothing here: every estimator is studied, and nothing is tuned."""

OF_TABULAR = ("seed", "horizon")
OF_CHECKPOINTS = (
    *("seed", "horizon", "meta_params"),
    *("outer_discount", "outer_lambda", "outer_value_cost", "outer_entropy_cost"),
)
"""Settings that a study of the tabular problem, or of a run's checkpoints, leaves open."""

RANGES = {
    "problem": Range(f"one of {', '.join(PROBLEMS)}", lambda value: value in PROBLEMS),
    "num_samples": Range("at least 8", lambda value: value is None or value >= 8),
    "num_checkpoints": Range("1, 2 or 3", lambda value: value in snake_points.PHASES),
    "seed_index": Range("at least 0", lambda value: value >= 0),
    "burn_in": Range("at least 0", lambda value: value >= 0),
    "chunk_size": Range("at least 1", lambda value: value is None or value >= 1),
}


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = flags.FlagValues()
    where: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_bool("help", False, "show this help", **where)
    flags.DEFINE_string("problem", "snake", f"what is learned: {RANGES['problem'].text}", **where)
    flags.DEFINE_string(
        "checkpoint",
        None,
        "folder of a training run whose agents are studied; without it, two agents are trained for --num_env_steps",
        **where,
    )
    flags.DEFINE_integer(
        "num_checkpoints", 3, f"how many of the run's, from early to late; {RANGES['num_checkpoints'].text}", **where
    )
    flags.DEFINE_integer("seed_index", 0, "which of the run's agents, from 0", **where)
    flags.DEFINE_integer(
        "num_samples",
        None,
        f"independent windows at each agent; {RANGES['num_samples'].text}; by default " + _defaults(NUM_SAMPLES),
        **where,
    )
    flags.DEFINE_integer("burn_in", 10, "rollouts from the checkpoint's environments to the start of a window", **where)
    flags.DEFINE_integer(
        "chunk_size",
        None,
        f"windows between two files of samples, which a GPU draws at once; {RANGES['chunk_size'].text}; by default "
        + _defaults(CHUNK_SIZES),
        **where,
    )
    config_lib.define_flags(STUDY_PRESETS, UNUSED, values)
    return values


def _defaults(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} ({name})" for name, number in numbers.items())


def main(values: flags.FlagValues) -> None:
    """Studies what the flags say."""
    if values.help:
        print(f"{__doc__}\n{values.get_help(include_special_flags=False)}")
        return
    began = time.monotonic()
    config, names, settings = _settings(values)
    kind = "tabular" if values.problem == "tabular" else values.preset
    num_samples, chunk_size = values.num_samples or NUM_SAMPLES[kind], values.chunk_size or CHUNK_SIZES[kind]
    folder = _open(values.logdir, settings)
    try:
        points = _points(values, config, names, folder)
    except NonFiniteError as error:
        sys.exit(str(error))
    samples = _draw(points, values.seed, num_samples, chunk_size, folder)
    results = _results(values.problem, config.horizon, names, points, samples)
    results["seconds"] = round(time.monotonic() - began, 1)
    (folder / RESULTS).write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")
    picture.draw(results, folder / PICTURE)
    print(tables.describe(results))
    print(f"The numbers are in {folder / RESULTS}, the picture is {folder / PICTURE}")


def _settings(values: flags.FlagValues) -> tuple[Config, tuple[str, ...], Json]:
    """Returns the settings of the agents, the meta-parameters to study, and all that the samples depend on.

    Raises:
      UsageError: names what is impossible.
    """
    for name, allowed in RANGES.items():
        if not allowed.accepts(values[name].value):
            refuse(name, values[name].value, allowed.text)
    given = config_lib.given_settings(values)
    config = config_lib.config_from_flags(STUDY_PRESETS, values)
    if config.horizon < 2:
        refuse("horizon", config.horizon, "at least 2, for estimators to differ")
    of_checkpoints = ("num_checkpoints", "seed_index", "checkpoint")
    if values.problem == "tabular":
        _leave_out(values, "--problem=tabular", [*of_checkpoints, "burn_in"], set(given) - set(OF_TABULAR))
        names = tabular.study_agent(1).tuning.tuned
        return config, names, {"problem": "tabular", "seed": config.seed, "horizon": config.horizon}
    if values.checkpoint is None:
        _leave_out(values, "no --checkpoint", of_checkpoints, ())
        return config, config.meta_params, {"config": dataclasses.asdict(config), "burn_in": values.burn_in}
    run = pathlib.Path(values.checkpoint).expanduser()
    theirs = config_lib.load(run / CONFIG)
    for field in dataclasses.fields(Config):
        name = field.name
        if name in given and name not in OF_CHECKPOINTS and given[name] != getattr(theirs, name):
            refuse(flag_name(field), given[name], f"left out, or {getattr(theirs, name)}, as in {run}")
    if theirs.estimator == "none":
        refuse("checkpoint", values.checkpoint, "a run that tunes hyperparameters, and this one's estimator is none")
    if values.seed_index >= theirs.num_seeds:
        refuse("seed_index", values.seed_index, f"in [0, {theirs.num_seeds - 1}], the run's seeds")
    names = given.get("meta_params", theirs.meta_params)
    if not set(names) <= set(theirs.meta_params):
        refuse("meta_params", names, f"among those that the checkpoint tuned: {', '.join(theirs.meta_params)}")
    own = {name: value for name, value in given.items() if name.startswith("outer_")}
    config = dataclasses.replace(theirs, horizon=config.horizon, **own)
    settings = {
        "config": dataclasses.asdict(config),
        "meta_params": names,
        "seed": values.seed,
        "burn_in": values.burn_in,
        **{name: values[name].value for name in of_checkpoints},
    }
    return config, names, settings


def _leave_out(values: flags.FlagValues, why: str, names: Any, settings: Any) -> None:
    """Refuses flags that would have no effect."""
    of_settings = [flag_name(field) for field in dataclasses.fields(Config) if field.name in settings]
    for name in (*names, *of_settings):
        if values[name].present:
            refuse(name, values[name].value, f"left out with {why}")


def _open(logdir: str | None, settings: Json) -> pathlib.Path:
    """Makes the folder, or opens that of the same study, to go on with it.

    Raises:
      UsageError: if it holds anything else.
    """
    file = pathlib.Path(logdir or "").expanduser() / STUDY
    content = json.dumps(settings, indent=2) + "\n"
    if logdir and file.exists():
        if file.read_text() != content:
            refuse("logdir", logdir, "a new or empty folder, or one of a study with the same settings")
        return file.parent
    folder = config_lib.new_logdir(logdir)
    file.write_text(content)
    return folder


def _points(values: flags.FlagValues, config: Config, names: tuple[str, ...], folder: pathlib.Path) -> list[Point]:
    if values.problem == "tabular":
        return tabular_points.points(config.horizon)
    if values.checkpoint is None:
        return snake_points.trained_points(config, values.burn_in, folder)
    run = pathlib.Path(values.checkpoint).expanduser()
    return snake_points.checkpoint_points(config, names, values.burn_in, run, values.num_checkpoints, values.seed_index)


def _draw(points: list[Point], seed: int, num_samples: int, chunk_size: int, folder: pathlib.Path) -> dict[str, Any]:
    """Draws the samples of every point, float [N, n, M] by name."""
    samples = {}
    with tqdm.tqdm(total=num_samples * len(points), unit=" windows", dynamic_ncols=True) as bar:
        for index, point in enumerate(points):
            bar.set_description(point.name)
            key = jax.random.fold_in(jax.random.key(seed), index)
            samples[point.name] = sampling.draw(
                point, key, num_samples, chunk_size, folder / SAMPLES / point.name, bar.update
            )
    return samples


def _results(problem: str, horizon: int, names: tuple[str, ...], points: list[Point], samples: dict[str, Any]) -> Json:
    """Returns the content of `variance.json`; its top level repeats the point that matters most."""
    results: Json = {"problem": problem, "horizon": horizon, "meta_params": list(names)}
    if problem == "tabular":
        # All windows show what converges, and how often intervals cover; some of the largest batch's do for the rest.
        results |= tabular_points.convergence(samples, points, names)
        points = points[-1:]
        samples = {point.name: samples[point.name][: tabular_points.DESCRIBED] for point in points}
    described = {}
    for point in points:
        exact = point.exact.get(tabular_points.OF_UPDATES)
        reference = None if exact is None else exact[horizon - 1]
        numbers = analysis.analyse(samples[point.name], names, reference)
        described[point.name] = {**point.about, "num_samples": len(samples[point.name]), **numbers}
    headline = "poor" if "poor" in described else points[-1].name
    return results | {"point": headline} | described[headline] | {"points": described}


if __name__ == "__main__":
    parsed_flags = define_flags()
    try:
        config_lib.run(partial(main, parsed_flags), parsed_flags)
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on from here")
