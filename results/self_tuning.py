"""Draws what tuning the discount online brings on 6×6 Snake, beside the published curves, and tells what earns it.

Example:
    python -m results.self_tuning

Everything is in `results/self_tuning`. Our runs have every flag in their `config.json`; those of `as_published` have
the network of `results.published` besides. The published curves are those of Bonnet, Midgley and Laterre (2022, arXiv
2211.10550): means over ten seeds with 95% intervals, taken from the data in their repository,
instadeepai/outer-value-function-meta-rl. Their fixed agents' returns are those of the greedy policy, those of their
tuned ones, as all of ours, of the sampled one. Their game has no action mask, so that they are drawn beside our runs of
that game.
"""

import csv
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from matplotlib.ticker import EngFormatter

from experiments.figures import styles
from experiments.figures.averages import over_last_tenth, over_training
from experiments.figures.outcome import final_returns
from experiments.figures.plots import COMPARISON_PICTURE, draw_comparison
from experiments.figures.styles import COLOURS
from experiments.figures.tables import INTERVALS_NOTE, as_json, cell, table
from experiments.storage import config_file
from experiments.storage.config_file import CONFIG
from experiments.storage.metrics import read_metrics
from experiments.studies.comparison import COMPARISON
from metagrad import statistics
from metagrad.statistics import Estimate

FOLDER = pathlib.Path(__file__).parent / "self_tuning"
RUNS, PUBLISHED, PICTURE = FOLDER / "discount", FOLDER / "published.csv", FOLDER.with_suffix(".png")
UNMASKED, AS_PUBLISHED = FOLDER / "unmasked", FOLDER / "as_published"
TRIALS = {
    "with an action mask": FOLDER / "trials",
    "without one, as published": FOLDER / "unmasked_trials",
    "by the published settings": FOLDER / "as_published_trials",
}
STARTS = {
    "a start that is bad in everything, with an action mask": FOLDER / "start_bad",
    "the search's best, with an action mask": FOLDER / "start_tuned",
    "a discount of 0.8, the published game": FOLDER / "start_published",
    "a discount of 0.8, with an action mask, on 12×12": FOLDER / "board_12",
}
"""Comparisons by where their agents start; `ablations/RUN/` has what was changed of one of their runs."""

TRIALS_HEADER = (
    *("trial", "tuned", "envs", "lr", "lambda", "entropy", "outer discount, lambda", "meta-lr, halving", "steps"),
    *("seeds", "discount", "return"),
)

POINTS = (1e6, 2e6, 3.75e6, 7.5e6, 15e6, 30e6, 45e6, 74.5e6)
"""Environment steps at which curves are told; the published ones end at 74.75 M."""

TOLD = (
    UNMASKED / "mixing",
    UNMASKED / "single_step",
    AS_PUBLISHED / "mixing",
    AS_PUBLISHED / "single_step",
    AS_PUBLISHED / "own_critic",
)
"""Runs of which every seed's end is told."""

WHOLE = "whole"
"""Among ablations: the run that they change, once more, where that of the comparison played another game."""

OWN_CRITIC = "#CC79A7"
"""Of agents whose outer loss takes its advantages from their own critic; all others have an outer critic."""

DIFFERENCES = (
    (UNMASKED / "single_step", UNMASKED / "mixing"),
    (AS_PUBLISHED / "single_step", AS_PUBLISHED / "own_critic"),
    (AS_PUBLISHED / "single_step", AS_PUBLISHED / "mixing"),
    (AS_PUBLISHED / "mixing", AS_PUBLISHED / "none"),
)
"""Pairs of runs of which it is told by how much the first returns more."""

ENOUGH = 30.0
"""Fruits an episode that tell an agent that has learned the game from those on the plateau below 20."""


class Curve(NamedTuple):
    """Seeds along training.

    Attributes:
      env_steps: float [points], of one seed.
      returns: fruits an episode, the mean over seeds, [points].
      discounts: the discount, likewise.
      paths: float [points, seeds], each seed's discount, where it is known.
      last_tenth: the mean return over the last tenth of training, likewise.
    """

    env_steps: np.ndarray
    returns: Estimate
    discounts: Estimate
    paths: np.ndarray | None = None
    last_tenth: Estimate | None = None


def read_run(folder: pathlib.Path) -> Curve:
    """Reads the curve of a training run."""
    metrics, config = read_metrics(folder), config_file.load(folder / CONFIG)
    fixed = np.full_like(metrics["env_steps"], config.discount, dtype=float)
    discounts = metrics.get("hyper/discount", fixed)
    returns, means = statistics.mean(metrics["episode_return"].T), statistics.mean(discounts.T)
    env_steps = metrics["env_steps"][:, 0]
    return Curve(env_steps, returns, means, discounts, statistics.mean(final_returns(metrics)))


def read_published(agent: str) -> Curve:
    """Reads a published curve, by the agent's name in the file."""
    with PUBLISHED.open() as file:
        rows = [row for row in csv.DictReader(file) if row["agent"] == agent]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "agent"}
    returns, discounts = (
        Estimate(*(columns[f"{name}{end}"] for end in ("", "_low", "_high"))) for name in ("return", "discount")
    )
    return Curve(columns["env_steps"], returns, discounts)


def steps_until(curve: Curve, enough: float = ENOUGH) -> float:
    """Returns the environment steps after which the mean return stays at some height; NaN where it does not."""
    below = np.flatnonzero(~(curve.returns.estimate >= enough))
    first = below[-1] + 1 if len(below) else 0
    return float(curve.env_steps[first]) if first < len(curve.env_steps) else np.nan


def draw(games: dict[str, dict[str, tuple[Curve, dict[str, Any]]]], picture: pathlib.Path) -> None:
    """Draws returns and discounts, a row for each game: means with bands, or each seed's discount and their median.

    Args:
      games: by title, the curves by label, each with the style of its line.
      picture: the PNG to write.
    """
    with styles.picture(picture, 4.2 * len(games)) as figure:
        rows = np.atleast_1d(figure.subfigures(len(games), 1))
        for row, (title, curves_of_game) in zip(rows, games.items(), strict=True):
            _draw_game(row, title, curves_of_game)


def _draw_game(figure: SubFigure, title: str, curves_of_game: dict[str, tuple[Curve, dict[str, Any]]]) -> None:
    returns, discounts = figure.subplots(1, 2)
    for label, (curve, style) in curves_of_game.items():
        _line(returns, curve.env_steps, curve.returns, style | {"label": label})
        if curve.paths is None:
            _line(discounts, curve.env_steps, curve.discounts, style)
        else:
            # A mean near 1 says nothing of the seeds, and its interval goes beyond.
            discounts.plot(curve.env_steps, curve.paths, **style | {"linewidth": 0.8, "alpha": 0.45})
            discounts.plot(curve.env_steps, np.median(curve.paths, axis=1), **style)
    returns.set(title="Return", ylabel="fruits an episode", ylim=(0.0, 36.0))
    styles.set_scale(discounts, "y", "logit")
    discounts.set(title="Discount (ours: each seed, median)", ylim=(0.02, 0.99999))
    for axes in (returns, discounts):
        axes.set(xscale="log", xlabel="environment steps a seed", xlim=(5e4, 8e7))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    styles.legend(figure, *returns.get_legend_handles_labels())
    styles.title(figure, title)


def _line(axes: Axes, env_steps: np.ndarray, estimate: Estimate, style: dict[str, Any]) -> None:
    mean, low, high = estimate
    axes.plot(env_steps, mean, **style)
    axes.fill_between(env_steps, low, high, color=style["color"], alpha=0.15, linewidth=0)


def curves() -> dict[str, dict[str, tuple[Curve, dict[str, Any]]]]:
    """Returns every curve, with the style of its line, by game and label."""
    ours = {"linewidth": 2.0, "linestyle": "solid"}
    sized = {"linewidth": 2.0, "linestyle": (0, (1, 1))}
    theirs = {"linewidth": 1.2, "linestyle": (0, (4, 2))}
    return {
        "6×6 Snake with an action mask, the discount starts at 0.8; means of ten seeds, 95% bands": {
            "mixing(5), from 0.8": (read_run(RUNS / "mixing"), ours | {"color": COLOURS["mixing"]}),
            "single-step, from 0.8": (read_run(RUNS / "single_step"), ours | {"color": COLOURS["single_step"]}),
            "fixed at 0.8": (read_run(RUNS / "none"), ours | {"color": COLOURS["none"]}),
        },
        "The published game, without an action mask, the discount starts at 0.8; means of "
        "ten seeds, four where it says published settings, 95% bands": {
            "mixing(5), our settings": (read_run(UNMASKED / "mixing"), ours | {"color": COLOURS["mixing"]}),
            "single-step, our settings": (read_run(UNMASKED / "single_step"), ours | {"color": COLOURS["single_step"]}),
            "fixed at 0.8, our settings": (read_run(UNMASKED / "none"), ours | {"color": COLOURS["none"]}),
            "mixing(5), published settings, 5 × rate": (
                read_run(AS_PUBLISHED / "mixing"),
                sized | {"color": COLOURS["mixing"]},
            ),
            "single-step, published settings": (
                read_run(AS_PUBLISHED / "single_step"),
                sized | {"color": COLOURS["single_step"]},
            ),
            "single-step, own critic, published settings": (
                read_run(AS_PUBLISHED / "own_critic"),
                sized | {"color": OWN_CRITIC},
            ),
            "fixed at 0.8, published settings": (read_run(AS_PUBLISHED / "none"), sized | {"color": COLOURS["none"]}),
            "published, single-step": (
                read_published("single-step with outer critic"),
                theirs | {"color": COLOURS["single_step"]},
            ),
            "published, single-step, own critic": (read_published("single-step"), theirs | {"color": OWN_CRITIC}),
            "published, fixed at 0.8": (read_published("fixed"), theirs | {"color": COLOURS["none"]}),
        },
    }


def progress(label: str, curve: Curve) -> list[str]:
    """Tells a curve's returns at `POINTS`, interpolated, as far as it goes; a row of a table."""
    points = [point for point in POINTS if curve.env_steps[0] <= point <= curve.env_steps[-1]]
    parts = [np.interp(POINTS, curve.env_steps, part) for part in curve.returns]
    cells = [
        cell(as_json(Estimate(*values))) if point in points else ""
        for point, *values in zip(POINTS, *parts, strict=True)
    ]
    return [label, *cells]


def _story(curve: Curve) -> str:
    """Tells when a curve gets to 30 fruits, and where it ends."""
    end = Estimate(*(part[-1] for part in curve.returns))
    steps = steps_until(curve)
    reached = "never" if np.isnan(steps) else f"after {steps / 1e6:.2f} M steps"
    return (
        f"{ENOUGH:g} fruits {reached}; after {curve.env_steps[-1] / 1e6:5.2f} M: {end.estimate:.1f} "
        f"[{end.low:.1f}, {end.high:.1f}], discount {curve.discounts.estimate[-1]:.4f}"
        + (f"; last tenth {cell(as_json(curve.last_tenth))}" if curve.last_tenth else "")
    )


def pairs(start: pathlib.Path) -> str:
    """Lays out by how much each run of a comparison returns more than each other one, seed by seed."""
    runs = sorted(file.parent for file in start.glob(f"*/{CONFIG}"))
    returns = {run.name: _returns(run) for run in runs}

    def more(name: str, other: str) -> str:
        return cell(as_json(statistics.mean(returns[name] - returns[other]))) if name != other else ""

    return table(("more than", *returns), [[name, *(more(name, other) for other in returns)] for name in returns])


def ablations(start: pathlib.Path) -> str:
    """Lays out a comparison's ablations, one table for each run of which something was changed."""
    tables = []
    for changed in sorted(start.glob("ablations/*")):
        again = changed / WHOLE
        whole = again if again.exists() else start / changed.name
        others = sorted(folder for folder in changed.iterdir() if folder != whole)
        header = ("changed", "return", f"less that of {whole.name}", "discount: median, lowest, highest")
        tables.append(table(header, [ablation(folder, whole) for folder in (whole, *others)]))
    return "\n".join(tables)


def ablation(folder: pathlib.Path, whole: pathlib.Path) -> list[str]:
    """Holds a run against the one that it is a change of, whose seeds it shares; a row of a table."""
    returns, metrics = _returns(folder), read_metrics(folder)
    fixed = np.full((1, len(returns)), config_file.load(folder / CONFIG).discount)
    discounts = metrics.get("hyper/discount", fixed)[-1]
    estimates = (statistics.mean(returns), statistics.mean(returns - _returns(whole)))
    ends = (np.median(discounts), discounts.min(), discounts.max())
    return [folder.name, *(cell(as_json(estimate)) for estimate in estimates), ", ".join(f"{end:.3f}" for end in ends)]


def _returns(folder: pathlib.Path) -> np.ndarray:
    """Returns what each seed of a run had over the last tenth of its steps, float [seeds]."""
    return final_returns(read_metrics(folder))


def trial(folder: pathlib.Path) -> list[str]:
    """Tells a run's settings, and what it had over the last tenth of its steps, mean and range; a row of a table."""
    flags, metrics = json.loads((folder / CONFIG).read_text())["flags"], read_metrics(folder)
    env_steps = metrics["env_steps"][:, 0]
    tuned = flags["estimator"] != "none"
    discounts = metrics["hyper/discount"][-1] if tuned else np.array(flags["discount"])
    return [
        folder.name,
        ", ".join(flags["meta_params"]) if tuned else "nothing",
        *(f"{flags[name]:.3g}" for name in ("num_envs", "learning_rate", "lambda", "entropy_cost")),
        *(
            f"{flags[first]:g}, {flags[second]:g}" if tuned else ""
            for first, second in (
                ("outer_discount", "outer_lambda"),
                ("meta_learning_rate", "meta_learning_rate_halving"),
            )
        ),
        f"{env_steps[-1] / 1e6:.2f} M",
        ", ".join(f"{seed:g}" for seed in metrics["seed"][0]),
        _ranged(discounts, ".4f"),
        _ranged(_returns(folder), ".1f"),
    ]


def ends(folder: pathlib.Path) -> list[list[str]]:
    """Tells each seed's return over the last tenth of its steps, and its discount at the end; a table's rows."""
    metrics = read_metrics(folder)
    seeds = zip(metrics["seed"][0], _returns(folder), metrics["hyper/discount"][-1], strict=True)
    return [[f"{seed:g}", f"{value:.1f}", f"{discount:.4f}"] for seed, value, discount in seeds]


def difference(folder: pathlib.Path, other: pathlib.Path) -> str:
    """Tells by how much a run returns more than one of the same seeds, up to the last logging point that they share."""
    runs = [read_metrics(folder), read_metrics(other)]
    end = np.intersect1d(*(run["env_steps"][:, 0] for run in runs)).max()
    curves = []
    for run in runs:
        until = run["env_steps"][:, 0] <= end
        curves.append((run["env_steps"][until, 0], run["episode_return"][until]))

    def more(average: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> str:
        returns, others = (average(*curve) for curve in curves)
        return cell(as_json(statistics.mean(returns - others)))

    return (
        f"{folder.name} less {other.name}, seed by seed, over the last tenth of {end / 1e6:.2f} M steps: "
        f"{more(over_last_tenth)}, over all of them: {more(over_training)}"
    )


def _ranged(values: np.ndarray, places: str) -> str:
    """Returns values' mean, and in brackets the lowest and the highest where they differ."""
    mean, low, high = (f"{statistic(values):{places}}" for statistic in (np.mean, np.min, np.max))
    return mean if low == high else f"{mean} [{low}, {high}]"


def main() -> None:
    """Draws the pictures, and prints how far each curve gets, where seeds end, the ablations and the trials."""
    games = curves()
    draw(games, PICTURE)
    for title, every in games.items():
        print(title)
        for label, (curve, _) in every.items():
            print(f"{label:43}  {_story(curve)}")
        header = ("return after", *(f"{point / 1e6:g} M steps" for point in POINTS))
        print(f"\n{table(header, [progress(label, curve) for label, (curve, _) in every.items()])}\n")
    for folder in TOLD:
        rows = table(("seed", "return, last tenth", "discount at the end"), ends(folder))
        print(f"{folder.relative_to(FOLDER)}\n{rows}\n")
    for folder, other in DIFFERENCES:
        print(difference(folder, other))
    print()
    for title, start in STARTS.items():
        names = json.loads((start / COMPARISON).read_text())["estimators"]
        draw_comparison({name: start / name for name in names}, start / COMPARISON_PICTURE)
        print(f"From {title}\n{pairs(start)}\n\n{ablations(start)}\n")
    for title, every in TRIALS.items():
        rows = [trial(folder) for folder in sorted(every.iterdir())]
        print(f"\nTrials {title}, means over the last tenth [lowest, highest seed]\n{table(TRIALS_HEADER, rows)}")
    print(f"\n{INTERVALS_NOTE} The picture is {PICTURE}, and {COMPARISON_PICTURE} is in the folder of each start")


if __name__ == "__main__":
    main()
