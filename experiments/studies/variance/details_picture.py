"""The picture of all that a study found: five panels for each point, and for the tabular problem what converges."""

import pathlib
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from experiments.config.settings import estimator_title
from experiments.figures import styles
from experiments.studies.variance import panels
from experiments.studies.variance.analysis import DECAYS, TOTAL, Json
from experiments.studies.variance.summary import NOT_DETERMINED, title

TRUTHS: dict[str, tuple[str, dict[str, Any]]] = {
    "expected_updates": ("of the outer loss", {"color": styles.COLOURS["multi_step"]}),
    "return": ("of minus the return", {"color": "#000000"}),
}

ENDS: dict[float, dict[str, Any]] = {
    DECAYS[0]: {"xytext": (5, -3)},
    DECAYS[-1]: {"xytext": (0, -15), "ha": "center"},
}
"""Decays that are named in (e), and where."""


def draw(results: Json, picture: pathlib.Path) -> None:
    """Draws `variance_details.png` from the content of `variance.json`."""
    points, names = results["points"], results["meta_params"]
    converging = "convergence" in results
    heights = [4.4 + 0.26 * len(names)] * len(points) + [3.4] * converging
    with styles.picture(picture, sum(heights) + 0.5) as figure:
        rows = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
        for row, (name, point) in zip(rows, points.items(), strict=False):
            axes = row.subplots(2, 3, height_ratios=[2.5, 1.9 + 0.26 * len(names)])
            _draw_point(axes.ravel(), point, results)
            hyper = ", ".join(f"{key} {point['hyperparameters'][key]:.3g}" for key in names)
            styles.title(row, f"{title(name, point)}: {hyper}")
        if converging:
            _draw_convergence(rows[-1], results)
        about = f"{results['problem']}, horizons to {results['horizon']}, {results['num_samples']:,} windows"
        about += f" ({results['num_windows']:,} in f)" if converging else ""
        styles.title(figure, f"Meta-gradient estimators on {about}, bands and bars: 95% intervals")


def _draw_point(axes: Sequence[Axes], point: Json, results: Json) -> None:
    variance, cosine, signal, ratio, trade_off, explained = axes
    names = [*results["meta_params"], TOTAL]
    panels.variances(variance, [(point, name) for name in names])
    for index, name in enumerate(names):
        panels.curves(signal, point, name, "snr", index)
    variance.set_title("(a) variance")
    signal.set(title="(c) signal-to-noise ratio", ylabel="|mean| / deviation", ylim=(0.0, None))
    _draw_cosine(cosine, point, names.index(TOTAL), results)
    panels.ratios(ratio, {name: (point["variance_ratio"][name], point["noise_ratio"][name]) for name in names})
    ratio.set_title(f"(d) {panels.compared(results['horizon'])}")
    _draw_trade_off(trade_off, point)
    handles = {"single-step": Line2D([], [], color=styles.COLOURS["single_step"])} | panels.legend(names)
    explained.axis("off")
    explained.legend(handles.values(), handles, loc="center", frameon=False)


def _draw_cosine(axes: Axes, point: Json, index: int, results: Json) -> None:
    """Draws how well the means point along the reference, and in tables what they are estimates of."""
    panels.curves(axes, point, TOTAL, "cosine", index)
    longest = results["horizon"]
    of_return = results["reference_is"] == "return"
    compared = "the true return's" if of_return else f"{estimator_title('multi_step', longest)}'s"
    axes.set(title=f"(b) cosine to {compared}", ylabel="cosine of the mean")
    if "exact" in point:
        to_return = point["exact"]["cosine_to_return"]
        style: dict[str, Any] = {"color": "black", "linestyle": panels.STROKES[2]}
        axes.plot(range(1, len(to_return) + 1), to_return, label="exact one to\nthe return's", **style)
        axes.legend(loc="lower right")
    found = [entry["estimators"][name][TOTAL] for entry in point["by_horizon"] for name in panels.ESTIMATORS]
    if all(total["cosine"]["estimate"] is None for total in found):
        panels.say(axes, NOT_DETERMINED)
        axes.set_yticks([])


def _draw_trade_off(axes: Axes, point: Json) -> None:
    """Draws every estimator as a point: how far its mean is off in direction, and how noisy it is for its length."""
    estimators = [
        ("single_step", point["estimators"]["single_step"]),
        *(("mixing", mix) for mix in point["mixing_decays"]),
        ("multi_step", point["estimators"]["multi_step"]),
    ]
    places = []
    for estimator, described in estimators:
        cosine, snr = described[TOTAL]["cosine"], described[TOTAL]["snr"]
        if cosine["estimate"] is None or not snr["estimate"]:
            continue
        style: dict[str, Any] = {"color": styles.COLOURS[estimator]}
        angle, *ends = np.degrees(np.arccos(np.clip([cosine["estimate"], *cosine["ci95"]], -1.0, 1.0)))
        noise = snr["estimate"] ** -2
        places.append((angle, noise))
        axes.plot(ends, [noise, noise], alpha=0.3, **style)
        ends = np.maximum(np.array(snr["ci95"], float), 0.5 * snr["estimate"]) ** -2.0
        axes.plot([angle, angle], ends, alpha=0.3, **style)
        axes.plot(angle, noise, "o", **style)
        if (decay := described.get("decay")) in ENDS:
            axes.annotate(f"decay {decay:g}", (angle, noise), textcoords="offset points", **ENDS[decay])
    axes.set_title("(e) bias against noise")
    if not places:
        panels.say(axes, NOT_DETERMINED)
        axes.set(xticks=[], yticks=[])
        return
    axes.plot(*np.transpose(places), color="#999999", linewidth=0.8, zorder=0)
    axes.set(xlabel="angle to (b)'s [degrees]", ylabel="variance / |mean|²")
    styles.set_scale(axes, "y", "log")
    axes.margins(0.2)


def _draw_convergence(figure: Any, results: Json) -> None:
    """Draws multi-step's bias against the batch size for each meta-parameter, and the two truths by horizon."""
    names = results["meta_params"]
    *of_names, truths = figure.subplots(1, len(names) + 1)
    horizons = sorted({entry["horizon"] for entry in results["convergence"]})
    shades = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, len(horizons)))
    handles: dict[str, Any] = {}
    for axes, name in zip(of_names, names, strict=True):
        for index, (horizon, shade) in enumerate(zip(horizons, shades, strict=True)):
            entries = [entry for entry in results["convergence"] if entry["horizon"] == horizon]
            scale = 100.0 / abs(entries[0]["exact"][name])
            bias = scale * np.array([entry["bias"][name]["estimate"] for entry in entries])
            ends = scale * np.array([entry["bias"][name]["ci95"] for entry in entries]).T
            sizes = np.array([entry["num_envs"] for entry in entries]) * 1.08 ** (index - 1.5)
            handles[estimator_title("multi_step", horizon)] = axes.errorbar(
                sizes, bias, yerr=np.abs(ends - bias), color=shade, fmt="o-", capsize=2, markersize=3.5
            )
        axes.axhline(0.0, color="#999999", linewidth=0.8)
        axes.set(title=f"(f) bias: {name}", xlabel="environments", ylabel="% of the exact gradient", xscale="log")
        sizes = sorted({entry["num_envs"] for entry in results["convergence"]})
        axes.set_xticks(sizes, map(str, sizes))
        axes.xaxis.set_minor_locator(NullLocator())
    for truth, (text, style) in TRUTHS.items():
        for index, name in enumerate(names):
            heights = results["exact"][truth][name]
            (handles[f"g: {name}, {text}"],) = truths.plot(
                range(1, len(heights) + 1), heights, **style, **panels.stroke(index)
            )
    truths.xaxis.set_major_locator(MaxNLocator(integer=True))
    truths.set(title="(g) exact gradients", xlabel="horizon n [updates]", ylabel="d / d eta")
    truths.axhline(0.0, color="#999999", linewidth=0.8)
    styles.legend(figure, list(handles.values()), list(handles))
