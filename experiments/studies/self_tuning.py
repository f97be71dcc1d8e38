"""Draws what tuning the discount online brings on 6×6 Snake, beside the published curves, and prints the numbers.

Example:
    python -m experiments.studies.self_tuning

It reads results/self_tuning, and prints the numbers of results/self_tuning.md and results/published_game.md. The
published curves are those of Bonnet, Midgley and Laterre (2022, arXiv 2211.10550): means over ten seeds with 95%
intervals, from the data in their repository, instadeepai/outer-value-function-meta-rl. Their fixed agents' returns are
those of the greedy policy, those of their tuned ones, as all of ours, of the sampled one.
"""

import csv
import functools
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import SubFigure
from matplotlib.ticker import EngFormatter

from experiments.config.settings import Config
from experiments.figures import styles
from experiments.figures.averages import over_last_tenth, over_training
from experiments.figures.outcome import final_returns
from experiments.figures.plots import COMPARISON_PICTURE, draw_comparison
from experiments.figures.styles import COLOURS
from experiments.storage import config_file
from experiments.storage.config_file import CONFIG
from experiments.storage.metrics import Metrics, read_metrics
from experiments.studies.comparison import COMPARISON
from metagrad import statistics
from metagrad.statistics import Estimate

RESULTS = pathlib.Path(__file__).parents[2] / "results"
RUNS = RESULTS / "self_tuning"

OWN_CRITIC = "#CC79A7"
"""Of agents whose outer loss takes its advantages from their own critic; all others have an outer critic."""

STROKES: dict[str, Any] = {
    "discount": "solid",
    "unmasked": "solid",
    "as_published": (0, (1, 1)),
    "published": (0, (4, 2)),
}

GAMES: dict[str, dict[str, tuple[str, str, str]]] = {
    "6×6 Snake with an action mask, the discount starts at 0.8; means of ten seeds, 95% bands": {
        "mixing(5), from 0.8": ("discount", "mixing", COLOURS["mixing"]),
        "single-step, from 0.8": ("discount", "single_step", COLOURS["single_step"]),
        "fixed at 0.8": ("discount", "none", COLOURS["none"]),
    },
    "The published game, without an action mask, the discount starts at 0.8; means of "
    "ten seeds, four where it says published settings, 95% bands": {
        "mixing(5), our settings": ("unmasked", "mixing", COLOURS["mixing"]),
        "single-step, our settings": ("unmasked", "single_step", COLOURS["single_step"]),
        "fixed at 0.8, our settings": ("unmasked", "none", COLOURS["none"]),
        "mixing(5), published settings, 5 × rate": ("as_published", "mixing", COLOURS["mixing"]),
        "single-step, published settings": ("as_published", "single_step", COLOURS["single_step"]),
        "single-step, own critic, published settings": ("as_published", "own_critic", OWN_CRITIC),
        "fixed at 0.8, published settings": ("as_published", "none", COLOURS["none"]),
        "published, single-step": ("published", "single-step with outer critic", COLOURS["single_step"]),
        "published, single-step, own critic": ("published", "single-step", OWN_CRITIC),
        "published, fixed at 0.8": ("published", "fixed", COLOURS["none"]),
    },
}
"""By title and label: a folder of runs and one of them, or an agent among the published; and the line's colour."""

STARTS = ("start_bad", "start_tuned", "start_published", "board_12")
"""Comparisons by where their agents start; `ablations/RUN/` has what was changed of one of their runs."""

WHOLE = "whole"
"""Among ablations: the run that they change, once more, where that of the comparison played another game."""

DIFFERENCES = (
    ("unmasked/single_step", "unmasked/mixing"),
    ("as_published/single_step", "as_published/own_critic"),
    ("as_published/single_step", "as_published/mixing"),
    ("as_published/mixing", "as_published/none"),
)

TRIALS = ("trials", "unmasked_trials", "as_published_trials")
OF_TRIALS = (
    *("trial", "tuned", "environments", "Adam", "lambda", "entropy cost", "outer discount, lambda"),
    *("meta-learning rate, halving", "steps a seed", "seeds", "discount at the end", "return"),
)

POINTS = (1e6, 2e6, 3.75e6, 7.5e6, 15e6, 30e6, 45e6, 74.5e6)
"""Environment steps at which curves are told; the published ones end at 74.75 M."""

ENOUGH = 30.0
"""Fruits an episode that tell an agent that has learned the game from those on the plateau below 20."""


class Curve(NamedTuple):
    """Seeds along training; the last two of the published are not known.

    Attributes:
      env_steps: float [points], of one seed.
      returns: fruits an episode, the mean over seeds, [points].
      discounts: the discount, likewise.
      paths: float [points, seeds], each seed's discount.
      ends: float [seeds], each seed's return over the last tenth of training.
    """

    env_steps: np.ndarray
    returns: Estimate
    discounts: Estimate
    paths: np.ndarray | None = None
    ends: np.ndarray | None = None


@functools.cache
def _read(run: pathlib.Path) -> tuple[Config, Metrics]:
    """Reads a run, whose discount is among its metrics even where it is fixed."""
    config, metrics = config_file.load(run / CONFIG), read_metrics(run)
    return config, {"hyper/discount": np.full_like(metrics["seed"], config.discount, dtype=float)} | dict(metrics)


def read_curve(folder: str, name: str) -> Curve:
    """Reads the curve of one of our runs, or of a published agent."""
    if folder != "published":
        _, metrics = _read(RUNS / folder / name)
        paths = metrics["hyper/discount"]
        returns, discounts = (statistics.mean(values.T) for values in (metrics["episode_return"], paths))
        return Curve(metrics["env_steps"][:, 0], returns, discounts, paths, final_returns(metrics))
    with (RUNS / "published.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["agent"] == name]
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "agent"}
    returns, discounts = (
        Estimate(*(columns[f"{name}{end}"] for end in ("", "_low", "_high"))) for name in ("return", "discount")
    )
    return Curve(columns["env_steps"], returns, discounts)


def draw(picture: pathlib.Path) -> None:
    """Draws returns and discounts into a PNG, a row for each game: means with bands, or each seed and their median."""
    with styles.picture(picture, 4.2 * len(GAMES)) as figure:
        rows: Any = figure.subfigures(len(GAMES), 1)
        for row, title in zip(rows, GAMES, strict=True):
            _draw_game(row, title)


def _draw_game(figure: SubFigure, title: str) -> None:
    returns, discounts = figure.subplots(1, 2)
    for label, (folder, name, colour) in GAMES[title].items():
        curve = read_curve(folder, name)
        style = {"color": colour, "linestyle": STROKES[folder], "linewidth": 1.2 if folder == "published" else 2.0}
        drawn = [(returns, curve.returns)]
        if curve.paths is None:
            drawn.append((discounts, curve.discounts))
        else:  # a mean near 1 says nothing of the seeds, and its interval goes beyond
            discounts.plot(curve.env_steps, curve.paths, **style | {"linewidth": 0.8, "alpha": 0.45})
            discounts.plot(curve.env_steps, np.median(curve.paths, axis=1), **style)
        for axes, (mean, low, high) in drawn:
            axes.plot(curve.env_steps, mean, label=label, **style)
            axes.fill_between(curve.env_steps, low, high, color=colour, alpha=0.15, linewidth=0)
    returns.set(title="Return", ylabel="fruits an episode", ylim=(0.0, 36.0))
    styles.set_scale(discounts, "y", "logit")
    discounts.set(title="Discount (ours: each seed, median)", ylim=(0.02, 0.99999))
    for axes in (returns, discounts):
        axes.set(xscale="log", xlabel="environment steps a seed", xlim=(5e4, 8e7))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    styles.legend(figure, *returns.get_legend_handles_labels())
    styles.title(figure, title)


def told(estimate: Iterable[Any], places: int = 1) -> str:
    """Writes a mean and in brackets its two ends, with one more digit where an end would be zero."""
    values = [float(value) for value in estimate]
    if any(round(value, places) == 0.0 for value in values[1:]):
        places += 1
    mean, low, high = (f"{round(value, places) + 0.0:.{places}f}".replace("-", "−") for value in values)
    return f"{mean} [{low}, {high}]"


def _table(*rows: Sequence[str]) -> str:
    """Lays rows out in Markdown, the first of them the header."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "| --- " * len(rows[0]) + "|", *lines[1:]])


def progress(label: str, curve: Curve) -> list[str]:
    """Tells a curve's returns at `POINTS`, interpolated, as far as it goes, and its end; a row of a table."""
    parts = [np.interp(POINTS, curve.env_steps, part) for part in curve.returns]
    first, last = curve.env_steps[[0, -1]]
    at_points = [told(values) if first <= point <= last else "" for point, *values in zip(POINTS, *parts, strict=True)]
    below = np.flatnonzero(~(curve.returns.estimate >= ENOUGH))
    stays = below[-1] + 1 if len(below) else 0
    reached = f"{curve.env_steps[stays] / 1e6:.2f} M" if stays < len(curve.env_steps) else "never"
    if curve.paths is None or curve.ends is None:
        return [label, *at_points, reached, "", "", f"{curve.discounts.estimate[-1]:.4f}"]
    ends, discounts = (", ".join(f"{v:.{n}f}" for v in values) for n, values in ((1, curve.ends), (4, curve.paths[-1])))
    return [label, *at_points, reached, told(statistics.mean(curve.ends)), ends, discounts]


def more(run: pathlib.Path, other: pathlib.Path) -> list[str]:
    """Tells by how much a run returns more than one of the same seeds, over a last tenth and over all of their steps.

    Args:
      run: the run.
      other: of as many steps, or more or fewer: what one of them has beyond the other is left out.
    """
    metrics = [_read(folder)[1] for folder in (run, other)]
    end = np.intersect1d(metrics[0]["env_steps"], metrics[1]["env_steps"]).max()

    def until_end(metrics: Metrics) -> tuple[np.ndarray, np.ndarray]:
        shared = metrics["env_steps"][:, 0] <= end
        return metrics["env_steps"][shared, 0], metrics["episode_return"][shared]

    own, others = map(until_end, metrics)
    return [told(statistics.mean(average(*own) - average(*others))) for average in (over_last_tenth, over_training)]


def pairs(start: pathlib.Path) -> str:
    """Lays out by how much each run of a comparison returns more than each other one, seed by seed."""
    runs = sorted(file.parent for file in start.glob(f"*/{CONFIG}"))
    rows = [[run.name, *(more(run, other)[0] if run != other else "" for other in runs)] for run in runs]
    return _table(("more than", *(run.name for run in runs)), *rows)


def ablations(start: pathlib.Path) -> Iterator[str]:
    """Lays out a comparison's ablations, one table for each run of which something was changed, seed by seed."""
    for changed in sorted(start.glob("ablations/*")):
        again = changed / WHOLE
        whole = again if again.exists() else start / changed.name
        rows = []
        for run in (whole, *sorted(set(changed.iterdir()) - {whole})):
            config, metrics = _read(run)
            ends = metrics["hyper/discount"][-1]
            discounts = ", ".join(f"{end:.3f}" for end in (np.median(ends), ends.min(), ends.max()))
            if config.estimator == "none" or "discount" not in config.meta_params:
                discounts = f"{config.discount:g}, fixed"
            less = more(run, whole)[0] if run != whole else ""
            rows.append([run.name, told(statistics.mean(final_returns(metrics))), less, discounts])
        header = ("changed", "return", f"less that of {whole.name}", "discount: median, lowest, highest")
        yield f"{changed.relative_to(RUNS)}\n{_table(header, *rows)}"


def trial(run: pathlib.Path) -> list[str]:
    """Tells a run's settings, and what it had over the last tenth of its steps, mean and range; a row of a table."""
    config, metrics = _read(run)
    tuned = config.estimator != "none"

    def ranged(values: np.ndarray, places: int) -> str:
        mean, low, high = (f"{statistic(values):.{places}f}" for statistic in (np.mean, np.min, np.max))
        return mean if low == high else f"{mean} [{low}, {high}]"

    return [
        run.name,
        ", ".join(config.meta_params) if tuned else "nothing",
        *(f"{value:.3g}" for value in (config.num_envs, config.learning_rate, config.lambda_, config.entropy_cost)),
        f"{config.outer_discount:g}, {config.outer_lambda:g}" if tuned else "",
        f"{config.meta_learning_rate:g}, {config.meta_learning_rate_halving:g}" if tuned else "",
        f"{metrics['env_steps'][-1, 0] / 1e6:.2f} M",
        ", ".join(f"{seed:g}" for seed in metrics["seed"][0]),
        ranged(metrics["hyper/discount"][-1], 4),
        ranged(final_returns(metrics), 1),
    ]


def tables() -> Iterator[str]:
    """Lays out how far each curve gets, what differs between runs, the ablations and the trials."""
    at_points = [f"{point / 1e6:g} M steps" for point in POINTS]
    header = ("return after", *at_points, "30 fruits from", "last tenth", "of each seed", "discount at the end")
    for title, lines in GAMES.items():
        rows = [progress(label, read_curve(*run)) for label, (*run, _) in lines.items()]
        yield f"{title}\n{_table(header, *rows)}"
    rows = [[f"{name} less {other}", *more(RUNS / name, RUNS / other)] for name, other in DIFFERENCES]
    yield _table(("seed by seed", "over the last tenth", "over all steps"), *rows)
    for start in STARTS:
        yield f"{start}\n{pairs(RUNS / start)}"
        yield from ablations(RUNS / start)
    for name in TRIALS:
        rows = [trial(folder) for folder in sorted((RUNS / name).iterdir())]
        yield f"{name}: returns of the last tenth [lowest, highest seed]\n{_table(OF_TRIALS, *rows)}"


def main() -> None:
    """Prints the tables, and draws the pictures."""
    print("\n\n".join(tables()))
    draw(RUNS.with_suffix(".png"))
    for start in STARTS:
        names = json.loads((RUNS / start / COMPARISON).read_text())["estimators"]
        draw_comparison({name: RUNS / start / name for name in names}, RUNS / start / COMPARISON_PICTURE)
    print(f"\nThe picture is {RUNS.with_suffix('.png')}, and {COMPARISON_PICTURE} is in the folder of each start")


if __name__ == "__main__":
    main()
