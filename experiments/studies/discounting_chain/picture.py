"""The picture of the Discounting Chain: exact gradients on the left, then learning curves, discount above return.

Colours stand for what the meta-gradient is of, strokes for the estimator; bands are 95% intervals of the mean.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from experiments.config.titles import estimator_title
from experiments.figures import styles
from experiments.figures.styles import COLOURS, STYLES
from experiments.studies.discounting_chain.exact import CRITERIA, ESTIMATORS, RETURN
from metagrad.statistics import Estimate

CRITERION_COLOURS = dict(zip(CRITERIA, (COLOURS["multi_step"], COLOURS["mixing"], COLOURS["single_step"]), strict=True))
SHOWN_DISCOUNT = 0.95

Json = dict[str, Any]


def draw(results: Json, picture: pathlib.Path) -> None:
    """Draws `discounting_chain.png` from the content of `discounting_chain.json`."""
    main_lambda, papers_lambda = dict.fromkeys(entry["lambda"] for entry in results["curves"])
    settings = results["settings"]
    with styles.picture(picture, 8.2) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=[1.0, 1.8], squeeze=False)[:, 0]
        shown = [entry for entry in results["horizon_gradients"] if entry["lambda"] == main_lambda]
        by_horizon, by_discount = above.subplots(1, 2)
        _draw_gradients(by_horizon, by_discount, shown)
        discounts, returns = panels = below.subplots(2, 3, sharex=True, sharey="row")
        for row, name in zip(panels, ("discount", "episode_return"), strict=True):
            for entry in results["curves"]:
                _draw_curve(row[0 if entry["lambda"] == main_lambda else 1], entry, name)
            for entry in results["sampled"]:
                points = [(point["estimate"], *point["ci95"]) for point in entry[name]]
                stroke = "solid" if entry["critics_start"] == "true" else ":"
                style = {"color": CRITERION_COLOURS[entry["criterion"]], "linestyle": stroke}
                styles.draw_mean(row[2], entry["updates"], Estimate(*np.array(points, float).T), style)
        discounts[0].set(title=f"(b) in expectation,\nlambda {main_lambda:g}", ylabel="discount")
        discounts[1].set_title(f"(c) in expectation,\nlambda {papers_lambda:g} (the paper's)")
        discounts[2].set_title(f"(d) sampled, {settings['num_seeds']} seeds,\nsingle-step, lambda {main_lambda:g}")
        best = max(settings["chain_rewards"])
        for axes in discounts:
            axes.set_ylim(-0.03, 1.03)
        for axes in returns:
            axes.axhline(best, color="black", linewidth=0.8)
            axes.annotate("the best", (0.0, best), xytext=(2, -12), textcoords="offset points")
            axes.set(ylim=(0.995, best + 0.006), xlabel="inner updates")
        returns[0].set_ylabel("return of an episode")
        strokes = {estimator_title(name, len(ESTIMATORS.get(name, ()))): STYLES[name] for name in (*ESTIMATORS, "none")}
        _explain(returns[0], strokes, loc="upper left", bbox_to_anchor=(0.0, 0.88), handlelength=1.5)
        starts = {"true values": "solid", "zero": ":"}
        _explain(returns[2], starts, loc="center left", title="critics start from", alignment="left")
        steps = ", ".join(map(str, settings["reward_steps"]))
        about = f"one choice among chains that pay after {steps} steps, the last but one pays 1.1; bands: 95% intervals"
        styles.title(figure, f"Discounting Chain: {about}")


def _draw_gradients(by_horizon: Axes, by_discount: Axes, entries: list[Json]) -> None:
    """Draws exact gradients against the horizon at one discount, and against the discount at horizon 1."""
    last = max(entry["num_updates"] for entry in entries)
    for criterion, colour in CRITERION_COLOURS.items():
        marker, size = ("x", 6) if criterion == RETURN else ("o", 4)
        style: Json = {"color": colour, "marker": marker, "markersize": size}
        (shown,) = (entry for entry in entries if (entry["num_updates"], entry["discount"]) == (last, SHOWN_DISCOUNT))
        by_horizon.plot(range(1, len(shown[criterion]) + 1), shown[criterion], **style)
        for age, stroke in ((0, ":"), (last, "solid")):
            first = {f"{entry['discount']:g}": entry[criterion][0] for entry in entries if entry["num_updates"] == age}
            by_discount.plot(range(len(first)), list(first.values()), linestyle=stroke, **style)
            by_discount.set_xticks(range(len(first)), list(first))
    title = f"(a) exact $g_n$, discount {SHOWN_DISCOUNT:g}, after {last} updates"
    by_horizon.set(title=title, xlabel="horizon n", ylabel="d return / d log-odds of discount")
    by_discount.set(title="exact $g_1$ by the agent's discount", xlabel="discount of the agent")
    for axes in (by_horizon, by_discount):
        axes.set_yscale("symlog", linthresh=1e-5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.axhline(0.0, color="black", linewidth=0.8)
    lines = [
        Line2D([], [], color=colour, label="true return" if criterion == RETURN else criterion.replace("_", " "))
        for criterion, colour in CRITERION_COLOURS.items()
    ]
    by_horizon.legend(handles=lines, loc="center right", title="meta-gradient of")
    _explain(by_discount, {"uniform policy": ":", f"after {last} updates": "solid"}, loc="center right")


def _draw_curve(axes: Axes, entry: Json, name: str) -> None:
    """Draws a curve in expectation."""
    if entry["estimator"] == "fixed":
        style: Json = {"color": COLOURS["none"], "linestyle": STYLES["none"]}
    else:
        style = {"color": CRITERION_COLOURS[entry["criterion"]], "linestyle": STYLES[entry["estimator"]]}
        # Below the outer critic's, which hides it where both agree unless it is wider.
        style |= {"linewidth": 5.0, "alpha": 0.5, "zorder": 1} if entry["criterion"] == RETURN else {}
    axes.plot(entry["updates"], entry[name], **style)


def _explain(axes: Axes, strokes: Mapping[str, Any], **place: Any) -> None:
    """Writes into a panel what strokes stand for."""
    lines = [Line2D([], [], color="black", linestyle=stroke, label=text) for text, stroke in strokes.items()]
    axes.legend(handles=lines, **place)
