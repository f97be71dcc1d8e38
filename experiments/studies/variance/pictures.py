"""The pictures of a study, from the content of `variance.json`.

Lines stand for estimators by their colour, and for agents or meta-parameters by their stroke and marker; bands and bars
are 95% confidence intervals.
"""

import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from experiments.config import estimators
from experiments.config.estimators import WEIGHTED
from experiments.config.titles import estimator_title
from experiments.figures import styles
from experiments.studies.variance.analysis import DECAYS, TOTAL, Json
from experiments.studies.variance.text import NOT_DETERMINED, title
from experiments.studies.variance.truth_picture import draw_truth

ESTIMATORS = ("multi_step", "mixing")
MARKERS = "osD^vPX"

CLAIM = 3.0
"""The paper's: mixing's variance is that many times smaller."""

RATIOS: dict[str, dict[str, Any]] = {
    "raw": {"marker": "o", "color": "black"},
    "at equal scale": {"marker": "D", "color": "black", "markerfacecolor": "white"},
}
REFERENCES: dict[float, tuple[str, dict[str, Any]]] = {
    CLAIM: (f"the paper's claim, {CLAIM:g}", {"color": "#009E73", "linestyle": "--"}),
    1.0: ("equal variances, 1", {"color": "#999999", "linewidth": 0.8}),
}
ENDS = {DECAYS[0]: (5, -3), DECAYS[-1]: (-20, -15)}
"""Decays that are named in (e), and where, in points from their own place."""


def draw(results: Json, folder: pathlib.Path) -> list[str]:
    """Draws all pictures of a study into a folder; returns their names."""
    pictures = {"variance.png": draw_answer, "variance_details.png": draw_details}
    if results["reference_is"] == "return" and results["problem"] != "tabular":
        pictures["truth.png"] = draw_truth
    if "by_environments" in results:
        pictures["environments.png"] = draw_environments
    for name, function in pictures.items():
        function(results, folder / name)
    return list(pictures)


def draw_answer(results: Json, picture: pathlib.Path) -> None:
    """Draws how much less variance mixing has: by horizon, and as ratios at the longest one."""
    points = {title(name, point): point for name, point in results["points"].items()}
    explained = _legend(list(points))
    with styles.picture(picture, 2.8 + 0.35 * len(points) + 0.06 * len(explained)) as figure:
        variance, ratio = figure.subplots(1, 2)
        _curves(variance, [(point, TOTAL) for point in points.values()], "variance")
        variance.set_title("Variance of one window's gradient")
        rows = {name.replace(" after ", "\nafter "): (point, TOTAL) for name, point in points.items()}
        _ratios(ratio, rows, results["horizon"], f"at equal scale: {NOT_DETERMINED}")
        about = f"On the {results['problem']} problem, {results['num_samples']:,} windows, all hyperparameters together"
        styles.title(figure, f"How much less variance does mixing have? {about}, bands and bars: 95% intervals")
        styles.legend(figure, list(explained.values()), list(explained))


def draw_details(results: Json, picture: pathlib.Path) -> None:
    """Draws all that a study found: five panels for each point, and for the tabular problem what converges."""
    points, names = results["points"], results["meta_params"]
    converging = "convergence" in results
    heights = [4.4 + 0.26 * len(names) + 0.15 * len(_own(point)) for point in points.values()] + [3.4] * converging
    with styles.picture(picture, sum(heights) + 0.5) as figure:
        rows = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for row, (name, point) in zip(rows, points.items(), strict=False):
            axes = row.subplots(2, 3, height_ratios=[2.5, 1.9 + 0.26 * len(names)])
            _draw_point(axes.ravel(), point, results)
            hyper = ", ".join(
                f"{key} {point['hyperparameters'][key]:.3g}" for key in names if key in point["hyperparameters"]
            )
            styles.title(row, f"{title(name, point)}: {hyper}")
        if converging:
            _draw_convergence(rows[-1], results)
        about = f"{results['problem']}, horizons to {results['horizon']}, {results['num_samples']:,} windows"
        about += f" ({results['num_windows']:,} in f)" if converging else ""
        styles.title(figure, f"Meta-gradient estimators on {about}, bands and bars: 95% intervals")


def _draw_point(axes: Sequence[Axes], point: Json, results: Json) -> None:
    variance, cosine, signal, ratio, trade_off, explained = axes
    names = [*results["meta_params"], TOTAL]
    _curves(variance, [(point, name) for name in names], "variance")
    _mark_own(variance, point, "variance", results["horizon"])
    variance.set_title("(a) variance")
    _draw_cosine(cosine, point, len(names) - 1, results)
    _curves(signal, [(point, name) for name in names], "snr")
    _mark_own(signal, point, "snr", results["horizon"])
    signal.set(title="(c) signal-to-noise ratio", ylabel="|mean| / deviation", ylim=(0.0, None))
    _ratios(ratio, {name: (point, name) for name in names}, results["horizon"])
    ratio.set_title(f"(d) {ratio.get_title()}")
    _draw_trade_off(trade_off, point)
    handles = {"single-step": Line2D([], [], color=styles.COLOURS["single_step"])} | _legend(names)
    for name, look in _looks(_own(point)).items():
        handles[estimator_title(name, results["horizon"])] = Line2D([], [], linestyle="", **look)
    if "env_steps_of_a_sample" in point:
        handles["area in (e): cost"] = Line2D([], [], linestyle="")
    explained.axis("off")
    explained.legend(handles.values(), handles, loc="center", frameon=False)


def _mark_own(axes: Axes, point: Json, statistic: str, horizon: int) -> None:
    """Draws what is no weighted sum of horizons at the longest one: the whole gradient's statistic."""
    for name, look in _looks(_own(point)).items():
        value = point["estimators"][name][TOTAL][statistic]
        height, low, high = np.array((value["estimate"], *value["ci95"]), float)
        axes.plot([horizon], [height], **look)
        axes.vlines([horizon], [low], [high], color=look["color"], alpha=0.3)


def _draw_cosine(axes: Axes, point: Json, index: int, results: Json) -> None:
    """Draws how well the means point along the reference, and on tables what they are estimates of."""
    _curves(axes, [(point, TOTAL)], "cosine", index)
    of_return = results["reference_is"] == "return"
    compared = "the true return" if of_return else estimator_title("multi_step", results["horizon"])
    axes.set(title=f"(b) cosine to {compared}'s", ylabel="cosine of the mean")
    if "exact" in point:
        to_return = point["exact"]["cosine_to_return"]
        style: dict[str, Any] = {"color": "black", "linestyle": styles.STROKES[2]}
        axes.plot(range(1, len(to_return) + 1), to_return, label="exact one to\nthe return's", **style)
        axes.legend(loc="lower right")
    if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
        _say_undetermined(axes)


def _draw_trade_off(axes: Axes, point: Json) -> None:
    """Draws every estimator as a point: how far its mean is off in direction, and how noisy it is for its length.

    Its area is what a sample costs in environment steps, where that is known.
    """
    costs = point.get("env_steps_of_a_sample", {})
    single_step, multi_step = (point["estimators"][name] for name in ("single_step", "multi_step"))
    decaying = [("mixing", described) for described in point["mixing_decays"]]
    own = [(name, point["estimators"][name]) for name in _own(point)]
    places, looks = [], _looks(_own(point))
    for estimator, described in [("single_step", single_step), *decaying, ("multi_step", multi_step), *own]:
        cosine, snr = described[TOTAL]["cosine"], described[TOTAL]["snr"]
        if cosine["estimate"] is None or not snr["estimate"]:
            continue
        look = looks.get(estimator, {"color": styles.COLOURS.get(estimator, "black"), "marker": "o"})
        style: dict[str, Any] = {"color": look["color"]}
        angle, *angles = np.degrees(np.arccos(np.clip([cosine["estimate"], *cosine["ci95"]], -1.0, 1.0)))
        noise = snr["estimate"] ** -2
        noises = np.maximum(np.array(snr["ci95"], float), 0.5 * snr["estimate"]) ** -2.0
        if estimator in WEIGHTED:  # a line leads through the weighted ones
            places.append((angle, noise))
        axes.plot(angles, [noise, noise], alpha=0.3, **style)
        axes.plot([angle, angle], noises, alpha=0.3, **style)
        size = 6.0 * np.sqrt(costs.get(estimator, 1.0) / costs.get("multi_step", 1.0))
        axes.plot(angle, noise, markersize=size, **look)
        if (decay := described.get("decay")) in ENDS:
            axes.annotate(f"decay {decay:g}", (angle, noise), ENDS[decay], textcoords="offset points")
    axes.set(title="(e) bias against noise", xlabel="angle to (b)'s [degrees]", ylabel="variance / |mean|²")
    if not places:
        _say_undetermined(axes)
        return
    axes.plot(*np.transpose(places), color="#999999", linewidth=0.8, zorder=0)
    styles.set_scale(axes, "y", "log")
    axes.margins(0.2)


def _looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the colour and marker of each estimator: one kind has a colour, and your own have what is left."""
    others, looks = itertools.cycle(styles.OTHERS), {}
    for place, name in enumerate(names):
        named = estimators.named(name)
        colour = styles.COLOURS[named.name] if named and named.name in styles.COLOURS else next(others)
        looks[name] = {"color": colour, "marker": MARKERS[place % len(MARKERS)]}
    return looks


def _own(point: Json) -> list[str]:
    """Returns the estimators that are no weighted sums."""
    return [name for name in point["estimators"] if name not in (*WEIGHTED, "evolution")]


def _draw_convergence(figure: FigureBase, results: Json) -> None:
    """Draws multi-step's bias against the batch size for each meta-parameter."""
    entries, names = results["convergence"], results["meta_params"]
    horizons, sizes = (sorted({entry[key] for entry in entries}) for key in ("horizon", "num_envs"))
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, len(horizons)))
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for index, (horizon, shade) in enumerate(zip(horizons, shades, strict=True)):
            shown = [entry for entry in entries if entry["horizon"] == horizon]
            biases = [(entry["bias"][name]["estimate"], *entry["bias"][name]["ci95"]) for entry in shown]
            bias, low, high = 100.0 / abs(shown[0]["exact"][name]) * np.transpose(biases)
            style: dict[str, Any] = {"color": shade, "fmt": "o-", "capsize": 2, "markersize": 3.5}
            beside, label = np.array(sizes) * 1.08 ** (index - 1.5), estimator_title("multi_step", horizon)
            axes.errorbar(beside, bias, yerr=(bias - low, high - bias), label=label, **style)
        axes.axhline(0.0, color="#999999", linewidth=0.8)
        axes.set(title=f"(f) bias: {name}", xlabel="environments", ylabel="% of the exact gradient", xscale="log")
        axes.set_xticks(sizes, map(str, sizes))
        axes.xaxis.set_minor_locator(NullLocator())
    styles.legend(figure, *axes.get_legend_handles_labels())


def _curves(axes: Axes, shown: Sequence[tuple[Json, str]], statistic: str, first: int = 0) -> None:
    """Draws a statistic of both estimators by horizon, with gaps where it is undetermined.

    Shown are pairs of a point and one of its meta-parameters or the total; `first` is the place of their first stroke.
    """
    for index, (point, name) in enumerate(shown, first):
        horizons = [entry["horizon"] for entry in point["by_horizon"]]
        for estimator in ESTIMATORS:
            values = [entry["estimators"][estimator][name][statistic] for entry in point["by_horizon"]]
            numbers = np.array([(value["estimate"], *value["ci95"]) for value in values], float)
            height, low, high = numbers.T
            colour = styles.COLOURS[estimator]
            axes.plot(horizons, height, color=colour, **_stroke(index))
            axes.fill_between(horizons, low, high, color=colour, alpha=0.15, linewidth=0)
            axes.vlines(horizons, low, high, color=colour, alpha=0.15)  # beside gaps, a band has no width
    axes.set(xlabel="horizon n [updates]", xlim=(0.5, horizons[-1] + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if statistic == "variance":
        axes.set_ylabel("(d outer loss / d eta)²")
        if np.isfinite(axes.dataLim.minposy):  # else nothing varies
            styles.set_scale(axes, "y", "log")


def _ratios(axes: Axes, rows: Mapping[str, tuple[Json, str]], horizon: int, undetermined: str = NOT_DETERMINED) -> None:
    """Draws multi-step's variance over mixing's, for pairs of a point and one of its meta-parameters or the total."""
    for place, (point, name) in enumerate(rows.values()):
        ratios = point["variance_ratio"][name], point["noise_ratio"][name]
        for ratio, style, height in zip(ratios, RATIOS.values(), (place - 0.17, place + 0.17), strict=True):
            if ratio["ci95"][0] is not None:  # an interval need not lie around its estimate, so it is drawn by itself
                axes.plot(ratio["ci95"], [height] * 2, color="black", marker="|", markersize=7, linewidth=1.2)
            if ratio["estimate"] is not None:
                axes.plot(ratio["estimate"], height, **style)
        if ratios[1]["estimate"] is None:
            box = {"facecolor": "white", "linewidth": 0.0, "pad": 1.0}
            axes.text(1.1, place + 0.17, undetermined, va="center", bbox=box)
    for reference, (_, style) in REFERENCES.items():
        axes.axvline(reference, zorder=0, **style)
    styles.set_scale(axes, "x", "log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.8), max(high, 12.0))
    axes.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5), xlabel="ratio of variances")
    axes.set_title(" / ".join(estimator_title(name, horizon) for name in ESTIMATORS))


def _legend(names: Sequence[str]) -> dict[str, Line2D]:
    """Returns what explains the panels, by its text; strokes stand for `names`, of which one needs no explanation."""
    lines: dict[str, dict[str, Any]] = {
        estimator_title(name, "n"): {"color": styles.COLOURS[name]} for name in ESTIMATORS
    }
    if len(names) > 1:
        lines |= {name: {"color": "black", **_stroke(index)} for index, name in enumerate(names)}
    lines |= {f"ratio, {name}": {**style, "linestyle": ""} for name, style in RATIOS.items()}
    lines |= dict(REFERENCES.values())
    return {text: Line2D([], [], **style) for text, style in lines.items()}


def _stroke(index: int) -> dict[str, Any]:
    """Returns the stroke and marker of what comes at this place among others."""
    strokes, markers = styles.STROKES, MARKERS
    return {"linestyle": strokes[index % len(strokes)], "marker": markers[index % len(markers)], "markersize": 3.5}


def _say_undetermined(axes: Axes) -> None:
    axes.text(0.5, 0.5, NOT_DETERMINED, transform=axes.transAxes, ha="center", va="center")
    axes.set(xticks=[], yticks=[])


def draw_environments(results: Json, picture: pathlib.Path) -> None:
    """Draws, for tables, every estimator's direction and noise against the number of environments."""
    entries, horizon = results["by_environments"], results["horizon"]
    sizes = [entry["num_envs"] for entry in entries]
    with styles.picture(picture, 4.2) as figure:
        direction, noise = figure.subplots(1, 2)
        looks = _looks(list(entries[0]["estimators"]))
        for place, (name, look) in enumerate(looks.items()):
            described = [entry["estimators"][name] for entry in entries]
            beside = np.array(sizes) * 1.05 ** (place - len(looks) / 2)
            cosines = np.array([(it["cosine"]["estimate"], *it["cosine"]["ci95"]) for it in described], float)
            signals = np.array([(it["snr"]["estimate"], *it["snr"]["ci95"]) for it in described], float)
            with np.errstate(divide="ignore"):
                numbers = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))), signals**-2.0
            for axes, (height, *ends) in zip((direction, noise), (each.T for each in numbers), strict=True):
                axes.plot(beside, height, label=estimator_title(name, horizon), markersize=4, **look)
                axes.vlines(beside, *ends, color=look["color"], alpha=0.4)
        direction.set(title="Direction of the mean", ylabel="angle to the true return's gradient [degrees]")
        noise.set(title="Noise of one window", ylabel="variance / |mean|²", yscale="log")
        for axes in (direction, noise):
            axes.set(xlabel="environments", xscale="log")
            axes.set_xticks(sizes, map(str, sizes))
            axes.xaxis.set_minor_locator(NullLocator())
        styles.title(figure, f"Estimators on the tabular chain, horizon {horizon}, bars: 95% intervals")
        styles.legend(figure, *direction.get_legend_handles_labels())
