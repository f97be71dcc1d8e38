"""The picture of the Discounting Chain: exact gradients on the left, then learning curves, discount above return.

Colours stand for what the meta-gradient is of, strokes for the estimator; bands are 95% intervals of the mean.
"""

import pathlib
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.discounting_chain.exact import CRITERIA, INNER_CRITIC, OUTER_CRITIC, RETURN
from experiments.plots import COLOURS, STYLES

CRITERION_COLOURS = {
    INNER_CRITIC: COLOURS["multi_step"],
    OUTER_CRITIC: COLOURS["mixing"],
    RETURN: COLOURS["single_step"],
}
LABELS = {INNER_CRITIC: "inner critic", OUTER_CRITIC: "outer critic", RETURN: "true return"}
SHOWN_DISCOUNT = 0.95

Json = dict[str, Any]


def draw(results: Json, picture: pathlib.Path) -> None:
    """Draws `discounting_chain.png` from the content of `discounting_chain.json`."""
    figure = Figure(figsize=(18.0, 8.0), layout="constrained")
    (by_horizon, *discounts), (by_discount, *returns) = figure.subplots(2, 4)
    main_lambda = results["curves"][0]["lambda"]
    _draw_gradients(by_horizon, by_discount, results["horizon_gradients"], main_lambda)
    for axes, name in ((discounts, "discount"), (returns, "episode_return")):
        for panel, is_main in ((axes[0], True), (axes[1], False)):
            for entry in results["curves"]:
                if (entry["lambda"] == main_lambda) == is_main:
                    _draw_curve(panel, entry, name)
        for entry in results["sampled"]:
            _draw_runs(axes[2], entry, name)
    others = next(entry["lambda"] for entry in results["curves"] if entry["lambda"] != main_lambda)
    discounts[0].set(title=f"(b) in expectation, lambda {main_lambda:g}", ylabel="discount")
    discounts[1].set(title=f"(c) in expectation, lambda {others:g} (the paper's)")
    discounts[2].set(
        title=f"(d) sampled, {results['settings']['num_seeds']} seeds, single-step, lambda {main_lambda:g}"
    )
    returns[0].set(ylabel="return of an episode")
    best = max(results["settings"]["chain_rewards"])
    for panel in discounts:
        panel.set_ylim(-0.03, 1.03)
    for panel in returns:
        panel.axhline(best, color="black", linewidth=0.8)
        panel.annotate("the best", (0.0, best), xytext=(2, -11), textcoords="offset points", fontsize=8)
        panel.set(ylim=(0.995, best + 0.006))
    for panel in (*discounts, *returns):
        panel.set_xlabel("inner updates")
    for axes in figure.axes:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    by_horizon.legend(handles=_criteria(CRITERIA), fontsize=8, loc="center right", title="meta-gradient of")
    estimators = (("single_step", "single-step"), ("mixing", "mixing(5)"), ("none", "discount fixed"))
    strokes = [_stroke(STYLES[name], label) for name, label in estimators]
    returns[0].legend(handles=strokes, fontsize=8, loc="center left")
    starts = [_stroke("solid", "critics start from true values"), _stroke(":", "critics start from zero")]
    returns[2].legend(handles=starts, fontsize=8, loc="center left", title="mean, 95% band", title_fontsize=8)
    steps = ", ".join(map(str, results["settings"]["reward_steps"]))
    figure.suptitle(
        f"Discounting Chain: one choice among chains that pay after {steps} steps; the last but one pays 1.1"
    )
    figure.savefig(picture, dpi=110)


def _draw_gradients(by_horizon: Axes, by_discount: Axes, entries: list[Json], lambda_: float) -> None:
    """Draws exact gradients against the horizon at one discount, and against the discount at horizon 1."""
    entries = [entry for entry in entries if entry["lambda"] == lambda_]
    last = max(entry["num_updates"] for entry in entries)
    for criterion in CRITERIA:
        style: Json = {"color": CRITERION_COLOURS[criterion], "marker": "x" if criterion == RETURN else "o"}
        style |= {"markersize": 6 if criterion == RETURN else 4}
        (shown,) = (entry for entry in entries if (entry["num_updates"], entry["discount"]) == (last, SHOWN_DISCOUNT))
        by_horizon.plot(range(1, len(shown[criterion]) + 1), shown[criterion], **style)
        for age, stroke in ((0, ":"), (last, "solid")):
            at_age = [entry for entry in entries if entry["num_updates"] == age]
            positions = np.arange(len(at_age))
            by_discount.plot(positions, [entry[criterion][0] for entry in at_age], linestyle=stroke, **style)
            by_discount.set_xticks(positions, [f"{entry['discount']:g}" for entry in at_age])
    by_horizon.set(
        title=f"(a) exact $g_n$, discount {SHOWN_DISCOUNT:g}, after {last} updates",
        xlabel="horizon n",
        ylabel="d return / d log-odds of the discount",
    )
    by_discount.set(
        title="exact $g_1$ by the agent's discount",
        xlabel="discount of the agent",
        ylabel="d return / d log-odds of the discount",
    )
    for axes in (by_horizon, by_discount):
        axes.set_yscale("symlog", linthresh=1e-5)
        axes.axhline(0.0, color="black", linewidth=0.8)
    strokes = [_stroke(":", "uniform policy"), _stroke("solid", f"after {last} updates")]
    by_discount.legend(handles=strokes, fontsize=8, loc="center right")


def _draw_curve(axes: Axes, entry: Json, name: str) -> None:
    """Draws a curve in expectation."""
    if entry["estimator"] == "fixed":
        style: Json = {"color": COLOURS["none"], "linestyle": STYLES["none"]}
    else:
        style = {"color": CRITERION_COLOURS[entry["criterion"]], "linestyle": STYLES[entry["estimator"]]}
        # Below the outer critic's, which hides it where both agree unless it is wider.
        style |= {"linewidth": 5.0, "alpha": 0.5, "zorder": 1} if entry["criterion"] == RETURN else {}
    axes.plot(entry["updates"], entry[name], **style)


def _draw_runs(axes: Axes, entry: Json, name: str) -> None:
    """Draws the mean of sampled runs with its band."""
    colour = CRITERION_COLOURS[entry["criterion"]]
    heights = np.array([point["estimate"] for point in entry[name]], float)
    low, high = np.array([point["ci95"] for point in entry[name]], float).T
    axes.plot(entry["updates"], heights, color=colour, linestyle="solid" if entry["critics_start"] == "true" else ":")
    axes.fill_between(entry["updates"], low, high, color=colour, alpha=0.18, linewidth=0)


def _criteria(criteria: tuple[str, ...]) -> list[Line2D]:
    return [Line2D([], [], color=CRITERION_COLOURS[name], label=LABELS[name]) for name in criteria]


def _stroke(linestyle: Any, label: str) -> Line2D:
    return Line2D([], [], color="black", linestyle=linestyle, label=label)
