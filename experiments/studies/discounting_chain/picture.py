"""The picture of the Discounting Chain: exact gradients on the left, then learning curves, discount above return.

Colours stand for what the meta-gradient is of, strokes for the estimator; bands are 95% intervals of the mean.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from experiments.config import settings as config_lib
from experiments.figures import styles
from experiments.figures.styles import COLOURS, STYLES
from experiments.studies.discounting_chain.exact import CRITERIA, ESTIMATORS, INNER_CRITIC, OUTER_CRITIC, RETURN

CRITERION_COLOURS = {
    INNER_CRITIC: COLOURS["multi_step"],
    OUTER_CRITIC: COLOURS["mixing"],
    RETURN: COLOURS["single_step"],
}
LABELS = {INNER_CRITIC: "inner critic", OUTER_CRITIC: "outer critic", RETURN: "true return"}
SHOWN_DISCOUNT = 0.95
SHOWN_DISCOUNTS = (5e-4, 1.0 - 1e-6)

Json = dict[str, Any]


def draw(results: Json, picture: pathlib.Path) -> None:
    """Draws `discounting_chain.png` from the content of `discounting_chain.json`."""
    main_lambda = results["curves"][0]["lambda"]
    with styles.picture(picture, 8.2) as figure:
        above, below = figure.subfigures(2, 1, height_ratios=[1.0, 1.8], squeeze=False)[:, 0]
        by_horizon, by_discount = above.subplots(1, 2)
        _draw_gradients(by_horizon, by_discount, results["horizon_gradients"], main_lambda)
        discounts, returns = below.subplots(2, 3, sharex=True, sharey="row")
        for panels, name in ((discounts, "discount"), (returns, "episode_return")):
            in_expectation, papers, sampled = panels
            for entry in results["curves"]:
                _draw_curve(in_expectation if entry["lambda"] == main_lambda else papers, entry, name)
            for entry in results["sampled"]:
                _draw_runs(sampled, entry, name)
        _finish(discounts, returns, results)
        steps = ", ".join(map(str, results["settings"]["reward_steps"]))
        styles.title(
            figure,
            f"Discounting Chain: one choice among chains that pay after {steps} steps, the last but one pays 1.1",
        )


def _finish(discounts: Sequence[Axes], returns: Sequence[Axes], results: Json) -> None:
    """Gives the learning curves their scales, titles and legends."""
    main_lambda, *others = dict.fromkeys(entry["lambda"] for entry in results["curves"])
    discounts[0].set(title=f"(b) in expectation,\nlambda {main_lambda:g}", ylabel="discount")
    discounts[1].set(title=f"(c) in expectation,\nlambda {others[0]:g} (the paper's)")
    discounts[2].set(
        title=f"(d) sampled, {results['settings']['num_seeds']} seeds,\nsingle-step, lambda {main_lambda:g}"
    )
    for panel in discounts:
        styles.set_scale(panel, "y", "logit")
        panel.set_ylim(*SHOWN_DISCOUNTS)
    best = max(results["settings"]["chain_rewards"])
    for panel in returns:
        panel.axhline(best, color="black", linewidth=0.8)
        panel.annotate("the best", (0.0, best), xytext=(2, -12), textcoords="offset points")
        panel.set(ylim=(0.995, best + 0.006), xlabel="inner updates")
    returns[0].set_ylabel("return of an episode")
    strokes = [
        _stroke(STYLES[name], config_lib.estimator_title(name, len(ESTIMATORS.get(name, ()))))
        for name in (*ESTIMATORS, "none")
    ]
    returns[0].legend(handles=strokes, loc="upper left", bbox_to_anchor=(0.0, 0.88), handlelength=1.5)
    starts = [_stroke("solid", "true values"), _stroke(":", "zero")]
    returns[2].legend(handles=starts, loc="center left", title="critics start from", alignment="left")


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
        ylabel="d return / d log-odds of discount",
    )
    by_discount.set(
        title="exact $g_1$ by the agent's discount",
        xlabel="discount of the agent",
    )
    for axes in (by_horizon, by_discount):
        axes.set_yscale("symlog", linthresh=1e-5)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.axhline(0.0, color="black", linewidth=0.8)
    by_horizon.legend(handles=_criteria(CRITERIA), loc="center right", title="meta-gradient of")
    strokes = [_stroke(":", "uniform policy"), _stroke("solid", f"after {last} updates")]
    by_discount.legend(handles=strokes, loc="center right")


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
