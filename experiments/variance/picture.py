"""The picture of a study: a row of panels for each point, and for the tabular problem one of what converges.

Lines stand for estimators by their colour and for meta-parameters by their stroke and marker; bands and bars are 95%
confidence intervals. Colours are Okabe and Ito's, which readers with any colour vision can tell apart.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullFormatter

from experiments.config import estimator_title
from experiments.styles import COLOURS
from experiments.variance.analysis import DECAYS, TOTAL, Json

STROKES: tuple[Any, ...] = (
    "solid",
    (0, (5, 2)),
    (0, (1, 1)),
    (0, (5, 1, 1, 1)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (8, 3)),
    (0, (1, 4)),
)
MARKERS = "osD^vPX"
ESTIMATORS = ("multi_step", "mixing")
UNDETERMINED = "undetermined:\na mean cannot be\ntold from zero"

CLAIM = 3.0
"""The paper's: mixing's variance is that many times smaller."""


def draw(results: Json, picture: pathlib.Path) -> None:
    """Draws `variance.png` from the content of `variance.json`."""
    converging = "convergence" in results
    num_rows = len(results["points"]) + converging
    figure = Figure(figsize=(20.0, 3.9 * num_rows + 0.7), layout="constrained")
    rows = figure.subfigures(num_rows, 1, squeeze=False)[:, 0]
    for row, (name, point) in zip(rows, results["points"].items(), strict=False):
        hyper = ", ".join(f"{key} {point['hyperparameters'][key]:.3g}" for key in results["meta_params"])
        steps = f", after {point['env_steps']:,} environment steps" if "env_steps" in point else ""
        row.suptitle(f"{name.replace('_', ' ')}{steps}: {hyper}", fontweight="bold")
        _draw_point(row.subplots(1, 5), point, results["meta_params"], results["problem"], results["reference_is"])
    if converging:
        _draw_convergence(rows[-1].subplots(1, len(results["meta_params"]) + 1), results)
    figure.suptitle(
        f"Meta-gradient estimators on the {results['problem']} problem, horizons to {results['horizon']}, "
        f"{results['num_samples']:,} windows"
        + (f" ({results['num_windows']:,} in f)" if converging else "")
        + "; bands and bars: 95% intervals",
        fontsize=13,
    )
    figure.savefig(picture, dpi=110)


def _draw_point(panels: Sequence[Axes], point: Json, names: Sequence[str], problem: str, reference: str) -> None:
    variance, cosine, signal, ratio, trade_off = panels
    variance.set_yscale("log")  # first, since limits that were asked for before may have no logarithm
    for index, name in enumerate(names):
        _curves(variance, point, name, "variance", index)
        _curves(signal, point, name, "snr", index)
    _curves(signal, point, TOTAL, "snr", len(names))
    _curves(variance, point, TOTAL, "variance", len(names))
    _curves(cosine, point, TOTAL, "cosine", 0)
    variance.set(title="(a) variance", ylabel="variance of one window's gradient")
    longest = point["by_horizon"][-1]["horizon"]
    truth = "exact" if problem == "tabular" else "mean of other windows"
    compared = "the true return's" if reference == "return" else f"{estimator_title('multi_step', longest)} ({truth})"
    cosine.set(title=f"(b) cosine to {compared}", ylabel="cosine of the mean", xlim=(0.5, longest + 0.5))
    if problem == "tabular":
        to_return = point["exact"]["cosine_to_return"]
        label = "exact multi-step gradient,\nwith the true return's"
        cosine.plot(range(1, len(to_return) + 1), to_return, color="black", linestyle=STROKES[2], label=label)
        cosine.legend(fontsize=8, loc="lower right")
    if all(
        entry["estimators"][name][TOTAL]["cosine"]["estimate"] is None
        for entry in point["by_horizon"]
        for name in ESTIMATORS
    ):
        _say(cosine, UNDETERMINED)
        cosine.set_yticks([])
    signal.set(title="(c) signal-to-noise of one window", ylabel="|mean| / standard deviation", ylim=(0.0, None))
    for axes in (variance, cosine, signal):
        axes.set_xlabel("horizon n")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    variance.set_ylim(top=variance.get_ylim()[1] * 50.0)  # room for the legend
    _legend(variance, names)
    _draw_ratios(ratio, point, names)
    _draw_trade_off(trade_off, point)
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)


def _curves(axes: Axes, point: Json, name: str, statistic: str, stroke: int) -> None:
    """Draws a statistic of both estimators against the horizon, with bands, and with gaps where it is undetermined."""
    horizons = np.array([entry["horizon"] for entry in point["by_horizon"]])
    for estimator in ESTIMATORS:
        values = [entry["estimators"][estimator][name][statistic] for entry in point["by_horizon"]]
        heights = np.array([value["estimate"] for value in values], float)
        low, high = np.array([value["ci95"] for value in values], float).T
        if statistic == "variance":  # on a logarithmic scale, to which zeros alone are a warning or an error
            low, high, heights = (np.where(heights > 0.0, ends, np.nan) for ends in (low, high, heights))
        colour = COLOURS[estimator]
        axes.plot(horizons, heights, color=colour, linestyle=STROKES[stroke], marker=MARKERS[stroke], markersize=3.5)
        axes.fill_between(horizons, low, high, color=colour, alpha=0.15, linewidth=0)
        known = np.pad(np.isfinite(heights), 1)
        alone = known[1:-1] & ~known[:-2] & ~known[2:]  # where a band would have no width
        axes.vlines(horizons[alone], low[alone], high[alone], color=colour, alpha=0.4)


def _legend(axes: Axes, names: Sequence[str]) -> None:
    estimators = [Line2D([], [], color=COLOURS[name], label=estimator_title(name, "n")) for name in ESTIMATORS]
    components = [
        Line2D([], [], color="black", linestyle=STROKES[index], marker=MARKERS[index], markersize=3.5, label=name)
        for index, name in enumerate([*names, TOTAL])
    ]
    axes.legend(handles=[*estimators, *components], fontsize=8, loc="upper left")


def _draw_ratios(axes: Axes, point: Json, names: Sequence[str]) -> None:
    """Draws multi-step's variance over mixing's: raw, and after both have the same mean."""
    labels = [*names, TOTAL]
    kinds = [("variance_ratio", "raw variance", "o", -0.13), ("noise_ratio", "noise (equal means)", "D", 0.13)]
    for key, label, marker, offset in kinds:
        for place, name in enumerate(labels):
            value = point[key][name]
            if value["estimate"] is None:
                axes.text(
                    0.03,
                    place + offset,
                    f"{label}: undetermined",
                    transform=axes.get_yaxis_transform(),
                    va="center",
                    fontsize=8,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0},
                )
                continue
            # An interval need not lie around its estimate, so it is drawn by itself.
            low, high = value["ci95"]
            if low is not None:
                axes.plot([low, high], [place + offset] * 2, color="black", marker="|", markersize=7, linewidth=1.2)
            face = "black" if marker == "o" else "white"
            axes.plot(value["estimate"], place + offset, marker, color="black", markerfacecolor=face)
        axes.plot([], [], marker, color="black", markerfacecolor="black" if marker == "o" else "white", label=label)
    axes.axvline(CLAIM, color="#009E73", linestyle="--", label=f"the paper's claim, {CLAIM:g}")
    axes.axvline(1.0, color="#999999", linewidth=0.8)
    axes.set(title="(d) multi-step / mixing, longest horizon", xlabel="ratio", xscale="log")
    axes.set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.4, -1.3))
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.9), max(high, 4.0))
    ticks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000) if low < tick < max(high, 4.0)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.legend(fontsize=8, loc="upper right")


def _draw_trade_off(axes: Axes, point: Json) -> None:
    """Draws every estimator as a point: how far its mean is off in direction, and how noisy it is for its length."""
    single, multi = point["estimators"]["single_step"][TOTAL], point["estimators"]["multi_step"][TOTAL]
    mixes = [
        (f"mixing, decay {mix['decay']:g}" if mix["decay"] in (DECAYS[0], DECAYS[-1]) else "", mix[TOTAL], "mixing")
        for mix in point["mixing_decays"]
    ]
    places = []
    for label, total, estimator in [
        ("single-step", single, "single_step"),
        *mixes,
        ("multi-step", multi, "multi_step"),
    ]:
        if total["cosine"]["estimate"] is None or not total["snr"]["estimate"]:
            continue
        angle = np.degrees(np.arccos(np.clip(total["cosine"]["estimate"], -1.0, 1.0)))
        noise = total["snr"]["estimate"] ** -2
        places.append((angle, noise))
        ends = np.degrees(np.arccos(np.clip(np.array(total["cosine"]["ci95"], float), -1.0, 1.0)))
        axes.plot(ends, [noise, noise], color=COLOURS[estimator], alpha=0.3)
        ends = np.maximum(np.array(total["snr"]["ci95"], float), 0.5 * total["snr"]["estimate"]) ** -2.0
        axes.plot([angle, angle], ends, color=COLOURS[estimator], alpha=0.3)
        axes.plot(angle, noise, "o", color=COLOURS[estimator])
        offset, side = ((-6, -3), "right") if label.endswith(" 1") else ((5, 4), "left")
        axes.annotate(label, (angle, noise), xytext=offset, textcoords="offset points", fontsize=8, ha=side)
    axes.set(
        title="(e) bias against variance",
        xlabel="angle of the mean to that of (b) [degrees]",
        ylabel="variance / |mean|²",
        yscale="log",
    )
    if places:
        axes.plot(*np.transpose(places), color="#999999", linewidth=0.8, zorder=0)
        axes.margins(x=0.2)
    else:
        _say(axes, UNDETERMINED)
        axes.set(xticks=[], yticks=[])
        axes.minorticks_off()


def _draw_convergence(panels: Sequence[Axes], results: Json) -> None:
    """Draws multi-step's bias against the batch size for each meta-parameter, and the two truths by horizon."""
    *of_names, truths = panels
    horizons = sorted({entry["horizon"] for entry in results["convergence"]})
    shades = colormaps["viridis"](np.linspace(0.0, 0.85, len(horizons)))
    for axes, name in zip(of_names, results["meta_params"], strict=True):
        for index, (horizon, shade) in enumerate(zip(horizons, shades, strict=True)):
            entries = [entry for entry in results["convergence"] if entry["horizon"] == horizon]
            scale = 100.0 / abs(entries[0]["exact"][name])
            bias = scale * np.array([entry["bias"][name]["estimate"] for entry in entries])
            ends = scale * np.array([entry["bias"][name]["ci95"] for entry in entries]).T
            sizes = np.array([entry["num_envs"] for entry in entries]) * 1.04 ** (index - 1.5)
            axes.errorbar(
                sizes, bias, yerr=np.abs(ends - bias), color=shade, fmt="o-", capsize=2, label=f"n = {horizon}"
            )
        axes.axhline(0.0, color="#999999", linewidth=0.8)
        axes.set(
            title=f"(f) bias of multi-step(n): {name}",
            xlabel="environments",
            xscale="log",
            ylabel="bias [% of the exact gradient]",
        )
        sizes = sorted({entry["num_envs"] for entry in results["convergence"]})
        axes.set_xticks(sizes, map(str, sizes))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8)
    for truth, colour in (("expected_updates", "#D55E00"), ("return", "#000000")):
        for index, name in enumerate(results["meta_params"]):
            heights = results["exact"][truth][name]
            truths.plot(
                range(1, len(heights) + 1),
                heights,
                color=colour,
                linestyle=STROKES[index],
                marker=MARKERS[index],
                markersize=3.5,
                label=f"{name}, {'outer loss, data constant' if truth != 'return' else '-(true return)'}",
            )
    truths.xaxis.set_major_locator(MaxNLocator(integer=True))
    truths.set(title="(g) exact meta-gradients", xlabel="horizon n", ylabel="d / d eta")
    truths.axhline(0.0, color="#999999", linewidth=0.8)
    truths.legend(fontsize=8)
    for axes in panels:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center")
