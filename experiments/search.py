"""Searches at random for fixed hyperparameters, and measures the best that it finds with fresh seeds.

Example:
    python -m experiments.search --preset=quick --num_settings=32 --logdir=runs/search

What one would do without meta-gradients, and what it costs. Every setting is trained with the same seeds. The best of
many owes something to luck, so its return is measured anew, with seeds on which it was not chosen.

Stopped in the middle, the same command goes on from its last checkpoint, and ends with the same results.
"""

import dataclasses
import itertools
import json
import math
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from absl import flags
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from agents import training
from agents.training import Agent, Summary, TrainingState
from experiments import commands, interrupts, run_folder
from experiments import config as config_lib
from experiments.building import init_seeds, make_agent, over_leading_axis
from experiments.compare import final_returns
from experiments.config import (
    EXECUTION,
    LOGGING_POINTS,
    POSITIVE,
    PRESETS,
    UNIT_OPEN,
    Config,
    Range,
    UsageError,
    as_computed,
    flag_name,
    refuse,
)
from experiments.packing import pack, unpack
from experiments.plots import OKABE_ITO
from experiments.reporting import INTERVALS_NOTE, as_json, cell, table
from experiments.run_folder import WriteError
from experiments.train import progress_bar, wait
from metagrad import statistics
from metagrad.meta_parameters import Tuning

RESULTS, PICTURE, ASKED = "search.json", "search.png", "asked.json"

CHECKPOINTS = "searching.npz", "confirming.npz"
"""The last checkpoint of each part, until the part is complete."""

Settings = Mapping[str, np.ndarray]
"""Many settings of the hyperparameters in `SEARCHED`, float32 [settings] each."""


class Searched(NamedTuple):
    """How one hyperparameter is searched.

    Attributes:
      default: ends of the range.
      allowed: what an end may be.
      below_one: whether one minus it is drawn evenly on a logarithmic scale, or it itself.
      label: of its axis.
    """

    default: tuple[float, float]
    allowed: Range
    below_one: bool
    label: str


SEARCHED = {
    "discount": Searched((0.5, 0.999), UNIT_OPEN, True, "discount, by the logarithm of 1 − discount"),
    "lambda": Searched(
        (0.0, 0.99), Range("in [0, 1)", lambda end: 0.0 <= end < 1.0), True, "lambda, by the logarithm of 1 − lambda"
    ),
    "entropy_cost": Searched((1e-4, 1e-1), POSITIVE, False, "entropy cost"),
    "learning_rate": Searched((1e-4, 1e-2), POSITIVE, False, "learning rate"),
}

UNUSED = (
    *("estimator", "horizon", "mixing_weights", "mixing_decay", "meta_params"),
    *("meta_learning_rate", "meta_learning_rate_halving", "exact_targets"),
    *("meta_gradient_clip", "outer_discount", "outer_lambda", "outer_critic", "outer_value_cost", "outer_entropy_cost"),
    *("discount", "lambda_", "entropy_cost", "learning_rate"),
)
"""Settings that mean nothing here: nothing is tuned online, and some are searched."""

SEARCH_PRESETS = {
    name: {**preset, "estimator": "none", "outer_critic": False, "num_seeds": 2} for name, preset in PRESETS.items()
}
"""The presets with two seeds a setting, since steps are better spent on more settings."""

NUMBERS = {
    "num_settings": Range("in [1, 65536]", lambda value: 1 <= value <= 65_536),
    "num_fresh_seeds": Range("at least 2 and below 2^31", lambda value: 2 <= value < 2**31),
}


def sample(ranges: Mapping[str, tuple[float, float]], num_settings: int, seed: int) -> Settings:
    """Draws settings at random, evenly on each hyperparameter's scale.

    Args:
      ranges: the ends, for each name in `SEARCHED`.
      num_settings: how many.
      seed: the same seed gives the same settings, and more settings begin with fewer.

    Returns:
      The settings.
    """
    places = np.random.default_rng(seed).uniform(size=(num_settings, len(SEARCHED)))
    settings = {}
    for place, (name, searched) in zip(places.T, SEARCHED.items(), strict=True):
        low, high = ranges[name]
        value = 1.0 - _between(place, 1.0 - low, 1.0 - high) if searched.below_one else _between(place, low, high)
        settings[name] = np.clip(value, low, high).astype(np.float32)
    return settings


def _between(place: np.ndarray, start: float, end: float) -> np.ndarray:
    """Maps places in [0, 1] to the logarithmic scale between two positive numbers."""
    return start * (end / start) ** place


class Outcome(NamedTuple):
    """What became of settings.

    Attributes:
      returns: float [settings, seeds], mean episode returns over the last tenth of training; NaN where training broke,
        or no episode ended.
      diverged: bool [settings, seeds], whether a loss or a parameter became NaN or infinite.
      seconds: that training took, compilation and earlier calls included.
    """

    returns: np.ndarray
    diverged: np.ndarray
    seconds: float


def train_settings(config: Config, settings: Settings, checkpoint: pathlib.Path, quiet: bool = False) -> Outcome:
    """Trains every seed of a run with every setting, in one program, of which the settings are data.

    After SIGINT or SIGTERM, for which it must run in the main thread, training goes on to the next logging point and
    writes a checkpoint there.

    Args:
      config: validated settings, with estimator `none`; the hyperparameters that are searched are not used.
      settings: these hyperparameters.
      checkpoint: the file to go on from, if it is there, and to write.
      quiet: whether to show no progress.

    Returns:
      The outcome.

    Raises:
      UsageError: if the checkpoint cannot be read.
      WriteError: if it cannot be written.
      KeyboardInterrupt: with a signal's number, if one came.
    """
    began = time.monotonic()
    agent = make_agent(config)
    num_settings = len(settings["discount"])
    num_windows = config.num_env_steps // agent.steps_per_window
    windows_per_point = math.ceil(num_windows / LOGGING_POINTS)
    ends = [min(start + windows_per_point, num_windows) for start in range(0, num_windows, windows_per_point)]

    def advance_setting(
        setting: dict[str, chex.Array], seeds: TrainingState, num_windows: chex.Numeric
    ) -> tuple[TrainingState, Summary]:
        chosen = dataclasses.replace(agent, tuning=Tuning(agent.tuning.initial | setting, ()))
        return over_leading_axis(lambda seed: training.train(chosen, seed, num_windows))(seeds)

    @partial(jax.jit, donate_argnums=1)
    def advance(
        settings: dict[str, chex.Array], states: TrainingState, num_windows: chex.Numeric
    ) -> tuple[TrainingState, Summary]:
        return over_leading_axis(lambda one: advance_setting(one[0], one[1], num_windows))((settings, states))

    what, runs = "settings" if num_settings > 1 else "setting", num_settings * config.num_seeds
    place = f"{num_settings} {what} × {config.num_seeds} seeds"
    values = {name: jnp.asarray(value) for name, value in settings.items()}
    like = jax.eval_shape(partial(_start, agent, config, num_settings))
    if checkpoint.exists():
        before = _read_checkpoint(checkpoint, like, len(ends))
        states = run_folder.with_keys(before.states, like)
    else:
        states = _start(agent, config, num_settings)
        before = Checkpoint((), np.zeros((num_settings, config.num_seeds), bool), (), 0.0)
    returns, diverged, seconds = list(before.returns), before.diverged, before.seconds
    done = [0, *ends][len(returns)] * agent.steps_per_window
    with progress_bar(place, config.num_env_steps * runs, done * runs, quiet) as bar:
        bar.set_postfix_str("compiling")
        program = advance.lower(values, states, windows_per_point).compile()
        bar.unpause()  # the time left counts from here, not from compilation
        tell = partial(bar.set_postfix_str, "stopping at the next logging point; a second Ctrl-C stops at once")
        with interrupts.held_back(tell) as signals:
            for start, end in itertools.pairwise([0, *ends][len(returns) :]):
                states, summary = program(values, states, end - start)
                wait(summary)
                summary = jax.device_get(summary)
                diverged = diverged | np.any([update >= 0 for update in summary.first_nonfinite.values()], 0)
                with np.errstate(invalid="ignore"):
                    returns.append(summary.return_sum / summary.num_episodes)
                seconds = before.seconds + time.monotonic() - began
                stopping = bool(signals)
                if stopping or len(returns) % EXECUTION.checkpoint_every == 0:
                    plain = run_folder.without_keys(states)
                    _write_checkpoint(checkpoint, Checkpoint(returns, diverged, plain, seconds))
                highest = np.fmax.reduce(returns[-1][~diverged], initial=np.nan)
                bar.set_postfix_str(f"highest return {highest:.2f}", refresh=False)
                bar.update((end - start) * agent.steps_per_window * runs)
                if stopping:
                    break
    final = final_returns(np.array(ends) * agent.steps_per_window, np.array(returns))
    return Outcome(np.where(diverged, np.nan, final), diverged, seconds)


def _start(agent: Agent, config: Config, num_settings: int) -> TrainingState:
    """Initialises every seed, the same for every setting."""
    seeds = init_seeds(agent, config)
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (num_settings, *leaf.shape)), seeds)


class Checkpoint(NamedTuple):
    """How far training has come.

    Attributes:
      returns: float [settings, seeds] for each logging point so far.
      diverged: bool [settings, seeds].
      states: of all seeds, without keys, [settings, seeds, ...] each.
      seconds: that it took.
    """

    returns: Sequence[np.ndarray]
    diverged: np.ndarray
    states: Any
    seconds: float


def _write_checkpoint(file: pathlib.Path, checkpoint: Checkpoint) -> None:
    """Writes a checkpoint whole or not at all, wherever the process is killed.

    Raises:
      WriteError: if it cannot be written; the one before is intact.
    """
    partial_file = file.with_suffix(".npz.partial")
    arrays: Any = checkpoint._replace(states=np.frombuffer(pack(checkpoint.states), np.uint8))._asdict()
    with run_folder.told(file.parent):
        with partial_file.open("wb") as stream:
            np.savez(stream, **arrays)
        os.replace(partial_file, file)


def _read_checkpoint(file: pathlib.Path, like: Any, num_points: int) -> Checkpoint:
    """Reads a checkpoint; `like` are the states' shapes and dtypes, with keys.

    Raises:
      UsageError: if it is not one of this training.
    """
    plain = jax.eval_shape(run_folder.without_keys, like)
    shape = like.num_updates.shape
    try:
        with np.load(file, allow_pickle=False) as saved:
            returns, diverged, seconds = saved["returns"], saved["diverged"], float(saved["seconds"])
            states = unpack(saved["states"].tobytes(), plain)
        right = len(returns) <= num_points and returns.shape[1:] == diverged.shape == shape == states.num_updates.shape
        if not (right and diverged.dtype == bool and np.issubdtype(returns.dtype, np.floating)):
            raise ValueError("it has other arrays")
    except Exception as error:  # whatever a damaged file leads to
        raise UsageError(f"{file}: is not a checkpoint of this search; without it, it starts anew ({error})") from error
    return Checkpoint(list(returns), diverged, states, seconds)


def search(
    config: Config,
    ranges: Mapping[str, tuple[float, float]],
    num_settings: int,
    num_fresh_seeds: int,
    folder: pathlib.Path | None = None,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Searches, and writes `search.json`: once the settings are trained, and again once the best is confirmed.

    Stopped anywhere, the same call goes on from the last checkpoint, to the same end.

    Args:
      config: the settings; nothing is tuned, whatever its estimator, and its seeds are those of the search.
      ranges: ends of the range of each hyperparameter in `SEARCHED`.
      num_settings: settings to draw.
      num_fresh_seeds: seeds for the best of them; they follow those of the search.
      folder: new, empty, or that of the same search. None leaves nothing on disk.
      quiet: whether to show no progress.

    Returns:
      The content of `search.json`; its `best` is None if no setting has a return.

    Raises:
      UsageError: if a setting is impossible, or the folder holds another search or spoilt files.
      WriteError: if the folder cannot be written to any more.
      KeyboardInterrupt: with a signal's number, if one came.
    """
    config = config.with_estimator("none")
    validate(config, ranges, num_settings, num_fresh_seeds)
    if folder is None:
        with tempfile.TemporaryDirectory() as place:
            return search(config, ranges, num_settings, num_fresh_seeds, pathlib.Path(place), quiet=quiet)
    unused = {flag_name(field) for field in dataclasses.fields(config) if field.name in UNUSED}
    asked = {
        "flags": {name: value for name, value in config_lib.by_flag(config).items() if name not in unused},
        "ranges": {name: list(ends) for name, ends in ranges.items()},
    }
    _claim(folder, asked | {"num_settings": num_settings, "num_fresh_seeds": num_fresh_seeds})
    settings = sample(ranges, num_settings, config.seed)
    searching, confirming = (folder / name for name in CHECKPOINTS)
    results = _read_results(folder / RESULTS, num_settings)
    if results is None:
        outcome = train_settings(config, settings, searching, quiet)
        results = {
            "env_steps": config.num_env_steps * config.num_seeds * num_settings,
            "wall_seconds": round(outcome.seconds, 1),
            **asked,
            "best": None,
            "settings": _describe(settings, outcome),
        }
        _save(results, folder)
    best = ranking(results["settings"])[0]
    if results["best"] is not None or results["settings"][best]["return"]["estimate"] is None:
        return results
    fresh = dataclasses.replace(config, seed=config.seed + config.num_seeds, num_seeds=num_fresh_seeds)
    chosen = {name: values[best : best + 1] for name, values in settings.items()}
    outcome = train_settings(fresh, chosen, confirming, quiet)
    (confirmed,) = _describe(chosen, outcome)
    results["best"] = {"setting": best, "seeds": [fresh.seed + index for index in range(num_fresh_seeds)]} | confirmed
    results["env_steps"] += fresh.num_env_steps * num_fresh_seeds
    results["wall_seconds"] = round(results["wall_seconds"] + outcome.seconds, 1)
    _save(results, folder)
    return results


def _claim(folder: pathlib.Path, asked: dict[str, Any]) -> None:
    """Marks the folder as that of this search, or checks that it is.

    Raises:
      UsageError: if it is that of another one.
    """
    file, content = folder / ASKED, json.dumps(asked, indent=2) + "\n"
    if file.exists():
        if file.read_bytes() != content.encode():
            refuse("logdir", folder, "a new or empty folder, or one of a search with the same settings")
        return
    with run_folder.told(folder):
        _write(file, content)


def _read_results(file: pathlib.Path, num_settings: int) -> dict[str, Any] | None:
    """Reads `search.json`, if it is there yet.

    Raises:
      UsageError: if it is something else.
    """
    if not file.exists():
        return None
    try:
        results = json.loads(file.read_text())
        complete = {"env_steps", "wall_seconds", "flags", "best"} <= results.keys()
        if not complete or len(ranking(results["settings"])) != num_settings:
            raise ValueError("it has something else in it")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file}: is not the results of this search; without it, it starts anew ({error})") from error
    return results


def _save(results: dict[str, Any], folder: pathlib.Path) -> None:
    """Writes `search.json`, and removes the checkpoints that it makes superfluous."""
    with run_folder.told(folder):
        _write(folder / RESULTS, json.dumps(results, indent=2, allow_nan=False) + "\n")
        for file in (file for name in CHECKPOINTS for file in folder.glob(f"{name}*")):
            file.unlink()


def _write(file: pathlib.Path, content: str) -> None:
    """Writes a file whole or not at all, wherever the process is killed."""
    partial_file = file.with_name(f"{file.name}.partial")
    partial_file.write_text(content)
    os.replace(partial_file, file)


def _describe(settings: Settings, outcome: Outcome) -> list[dict[str, Any]]:
    """Returns each setting and its outcome as JSON has it.

    A setting's return is the mean over all its seeds, or null: without those that diverged it would look better.
    """
    complete = np.isfinite(outcome.returns).all(1)
    means = np.where(complete, statistics.mean(outcome.returns.T), np.nan)
    return [
        {
            # The shortest numbers that are the same in single precision, so that flags give the same training.
            "hyperparameters": {name: float(str(values[index])) for name, values in settings.items()},
            "return": as_json(statistics.Estimate(*means[:, index])),
            "returns": [float(value) if np.isfinite(value) else None for value in outcome.returns[index]],
            "diverged": bool(outcome.diverged[index].any()),
        }
        for index in range(len(complete))
    ]


def ranking(settings: list[dict[str, Any]]) -> list[int]:
    """Returns the settings' numbers from the highest mean return to the lowest, and then those without one."""

    def loss(index: int) -> float:
        mean = settings[index]["return"]["estimate"]
        return math.inf if mean is None else -mean

    return sorted(range(len(settings)), key=loss)


def draw(results: dict[str, Any], config: Config, picture: pathlib.Path) -> None:
    """Draws the settings' returns against each hyperparameter.

    Args:
      results: the content of `search.json`, with a best setting.
      config: the settings that all share.
      picture: the PNG to write.
    """
    figure, panels = plt.subplots(
        1, len(SEARCHED), figsize=(4.0 * len(SEARCHED), 4.6), sharey=True, layout="constrained"
    )
    for axes, (name, searched) in zip(panels, SEARCHED.items(), strict=True):
        _draw_panel(axes, name, searched, results)
    panels[0].set_ylabel(f"{config_lib.return_label(config)}, last tenth of training")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(
        f"{config_lib.environment_title(config)}, {len(results['settings'])} settings, "
        f"{config.num_env_steps:,} environment steps a seed; {results['env_steps']:,} in all",
        fontsize=11,
    )
    figure.savefig(picture, dpi=130)
    plt.close(figure)


def _draw_panel(axes: Axes, name: str, searched: Searched, results: dict[str, Any]) -> None:
    """Draws the returns against one hyperparameter, on the scale on which it was drawn."""

    def place(described: dict[str, Any]) -> float:
        value = described["hyperparameters"][name]
        return 1.0 - value if searched.below_one else value

    settings, best = results["settings"], results["best"]
    measured = [setting for setting in settings if setting["return"]["estimate"] is not None]
    missing = [setting for setting in settings if setting["return"]["estimate"] is None]
    blue, vermilion, *_ = OKABE_ITO
    num_seeds = results["flags"]["num_seeds"]
    means = [setting["return"]["estimate"] for setting in measured]
    lows, highs = ([end(setting["returns"]) for setting in measured] for end in (min, max))
    places = list(map(place, measured))
    axes.vlines(places, lows, highs, color=blue, alpha=0.35, linewidth=1.0)
    seeds = f"mean of {num_seeds} seeds, line from least to most" if num_seeds > 1 else "one seed"
    axes.plot(places, means, "o", color=blue, markersize=5, label=f"setting: {seeds}")
    if missing:
        axes.plot(
            list(map(place, missing)), [0.0] * len(missing), "x", color="#000000", label="diverged, or no episode ended"
        )
    chosen = settings[best["setting"]]
    axes.plot(
        place(chosen),
        chosen["return"]["estimate"],
        "o",
        color=vermilion,
        fillstyle="none",
        markersize=12,
        markeredgewidth=1.8,
        label="best of the search",
    )
    confirmed = best["return"]
    if confirmed["estimate"] is not None:
        axes.errorbar(
            place(chosen),
            confirmed["estimate"],
            np.abs(np.array(confirmed["ci95"]) - confirmed["estimate"])[:, None],
            fmt="D",
            color=vermilion,
            markersize=5,
            capsize=4,
            label=f"the same, {len(best['seeds'])} fresh seeds, 95% interval",
        )
    axes.set(xscale="log", xlabel=searched.label)
    if searched.below_one:
        axes.invert_xaxis()
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda distance, _: f"{1.0 - distance:.6g}"))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _table(results: dict[str, Any]) -> str:
    """Lays the settings out for a terminal, the best first."""
    settings = results["settings"]
    rows = [
        [
            str(index),
            *(f"{value:.4g}" for value in settings[index]["hyperparameters"].values()),
            cell(settings[index]["return"], "diverged" if settings[index]["diverged"] else "no episode ended"),
        ]
        for index in ranking(settings)
    ]
    return table(["setting", *SEARCHED, "final return"], rows)


def _confirmation(results: dict[str, Any]) -> str:
    """Says what the best setting is worth, what finding it cost, and how to train with it."""
    best, cost = results["best"], f"{results['env_steps']:,} environment steps in all"
    given = " ".join(f"--{name}={value}" for name, value in best["hyperparameters"].items())
    missing = "diverged" if best["diverged"] else "no episode ended"
    return (
        f"Setting {best['setting']} with {len(best['seeds'])} fresh seeds: {cell(best['return'], missing)}; {cost}.\n"
        f"To train with it: --estimator=none {given}"
    )


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = commands.define_flags(SEARCH_PRESETS, UNUSED)
    values[
        "logdir"
    ].help = "folder that the results go to: new, empty, or that of the same search, to go on from its last checkpoint"
    values["num_seeds"].help = "seeds of every setting in the search; at least 1 and below 2^31"
    where: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_integer("num_settings", 32, f"settings to draw; {NUMBERS['num_settings'].text}", **where)
    flags.DEFINE_integer(
        "num_fresh_seeds",
        8,
        f"seeds, after those of the search, for the best setting; {NUMBERS['num_fresh_seeds'].text}",
        **where,
    )
    for name, searched in SEARCHED.items():
        scale = f"evenly in the logarithm of {f'1 - {name}' if searched.below_one else 'it'}"
        flags.DEFINE_list(
            f"{name}_range",
            list(map(str, searched.default)),
            f"where {name} is drawn, {scale}; {_ends(searched)}",
            **where,
        )
    return values


def _ends(searched: Searched) -> str:
    return f"two numbers LOW,HIGH, each {searched.allowed.text}, LOW at most HIGH"


def ranges_from_flags(values: flags.FlagValues) -> dict[str, tuple[float, float]]:
    """Returns the ends of every hyperparameter's range.

    Raises:
      UsageError: if they are no such numbers.
    """
    ranges = {}
    for name, searched in SEARCHED.items():
        given = values[f"{name}_range"].value or []
        try:
            low, high = map(float, given)
            fits = _fit(searched, low, high)
        except ValueError:
            fits = False
        if not fits:
            refuse(f"{name}_range", given, _ends(searched))
        ranges[name] = low, high
    return ranges


def _fit(searched: Searched, low: float, high: float) -> bool:
    """Returns whether two numbers are the ends of a range."""
    return low <= high and all(searched.allowed.accepts(as_computed(end)) for end in (low, high))


def validate(
    config: Config, ranges: Mapping[str, tuple[float, float]], num_settings: int, num_fresh_seeds: int
) -> None:
    """Refuses an impossible search.

    Raises:
      UsageError: names the flag, its value and what is allowed.
    """
    config_lib.validate(config)
    for name, value in (("num_settings", num_settings), ("num_fresh_seeds", num_fresh_seeds)):
        if not NUMBERS[name].accepts(value):
            refuse(name, value, NUMBERS[name].text)
    for name, searched in SEARCHED.items():
        if not _fit(searched, *ranges[name]):
            refuse(f"{name}_range", list(map(str, ranges[name])), _ends(searched))
    if config.seed + config.num_seeds + num_fresh_seeds > 2**31:
        refuse("seed", config.seed, "at most 2^31 - --num_seeds - --num_fresh_seeds")


def main(values: flags.FlagValues) -> None:
    """Searches as the flags say."""
    config = commands.config_from_flags(values, SEARCH_PRESETS)
    ranges = ranges_from_flags(values)
    validate(config, ranges, values.num_settings, values.num_fresh_seeds)
    folder = commands.new_logdir(values.logdir, (ASKED,))
    try:
        results = search(config, ranges, values.num_settings, values.num_fresh_seeds, folder)
    except WriteError as error:
        sys.exit(str(error))
    print(_table(results))
    if results["best"] is None:
        sys.exit(f"stopped: no setting has a return, so there is none to confirm; {folder / RESULTS} has them all")
    draw(results, config, folder / PICTURE)
    print(_confirmation(results))
    print(f"{INTERVALS_NOTE} The results are in {folder / RESULTS}, the picture is {folder / PICTURE}")


if __name__ == "__main__":
    commands.run(main, define_flags(), "the same command goes on from here")
