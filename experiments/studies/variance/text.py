"""What a study says in words: how much less variance does mixing have, and by which signals and ratios?"""

import functools
import textwrap

from experiments.config.titles import estimator_title
from experiments.figures.tables import INTERVALS_NOTE, WIDTH, cell, table
from experiments.studies.variance.analysis import TOTAL, Json

NOT_DETERMINED = "not determined"

FEW = 30
"""Windows below which the bootstrap's intervals are too narrow."""

fold = functools.partial(textwrap.fill, width=WIDTH, break_on_hyphens=False)


def summarize(results: Json) -> Json:
    """Answers by the other parts of a `variance.json`.

    Args:
      results: its `points`, `horizon` and `num_samples`.

    Returns:
      Its part `summary`: `question` and `meaning` in words, and in `answers` by point the `raw` ratio of multi-step's
      variance to mixing's at the longest horizon, the one `at_equal_scale`, and both `in_words`.
    """
    answers = {}
    for name, point in results["points"].items():
        raw, scaled = point["variance_ratio"], point["noise_ratio"]
        words = f"{title(name, point)}: raw {_compared(raw[TOTAL])}; at equal scale {_compared(scaled[TOTAL])}"
        if NOT_DETERMINED in _compared(scaled[TOTAL]):
            alone = {name: _compared(ratio) for name, ratio in scaled.items() if name != TOTAL}
            words += "".join(f", {name} alone {text}" for name, text in alone.items() if NOT_DETERMINED not in text)
        answers[name] = {"raw": raw[TOTAL], "at_equal_scale": scaled[TOTAL], "in_words": f"{words}."}
    mixing, multi_step = (estimator_title(name, results["horizon"]) for name in ("mixing", "multi_step"))
    meaning = (
        "Raw, a gradient that is merely shorter counts as less noisy; at equal scale, with the same mean, it does not. "
        f"{INTERVALS_NOTE}"
    )
    if any(NOT_DETERMINED in answer["in_words"] for answer in answers.values()):
        meaning += (
            f" {NOT_DETERMINED.capitalize()}: a mean cannot be told from zero, or the ratio from 1; "
            "more windows may tell (--num_samples)."
        )
    if results["num_samples"] < FEW:
        meaning += f" With fewer than {FEW} windows, intervals are narrower than they should be."
    return {
        "question": f"How much less variance does one window's gradient have by {mixing} than by {multi_step}?",
        "answers": answers,
        "meaning": meaning,
    }


def _compared(ratio: Json) -> str:
    """Says how many times less variance mixing has, by the ratio of multi-step's to its own."""
    estimate, (low, high) = ratio["estimate"], ratio["ci95"]
    if estimate is None or (low is None) != (high is None):
        return NOT_DETERMINED
    if low is None or low <= 0.0 or low <= 1.0 <= high:
        return f"{NOT_DETERMINED} (ratio {cell(ratio)})"
    if low > 1.0:
        return f"{cell(ratio)} times less"
    return f"{cell({'estimate': 1.0 / estimate, 'ci95': [1.0 / high, 1.0 / low]})} times more"


def title(name: str, point: Json) -> str:
    """Returns what texts and pictures call a point."""
    if name.startswith("discount_"):  # of an agent that was trained at it
        name = f"discount {point['hyperparameters']['discount']:.6g}"
    steps = f" after {point['env_steps']:,} steps" if "env_steps" in point else ""
    return name.replace("_", " ") + steps


def answer(summary: Json) -> str:
    """Lays out the part `summary` of `variance.json`."""
    told = [answer["in_words"] for answer in summary["answers"].values()]
    lines = [fold(text, initial_indent="- ", subsequent_indent="  ") for text in told]
    return "\n".join([summary["question"], *lines, fold(summary["meaning"])])


def describe(results: Json) -> str:
    """Lays out signals and ratios of each point in tables; all else is for `variance.json` and the pictures."""
    parts, horizon = [], results["horizon"]
    for name, point in results["points"].items():
        hyper = ", ".join(f"{key} {value:.3g}" for key, value in point["hyperparameters"].items())
        signals, ratios = [], []
        for row in (*results["meta_params"], TOTAL):
            signals.append([row, *(cell(described[row]["snr"]) for described in point["estimators"].values())])
            raw, scaled = cell(point["variance_ratio"][row]), cell(point["noise_ratio"][row], NOT_DETERMINED)
            ratios.append([row, raw, scaled, *map(cell, point["mixing_reduction"][row].values())])
        parts += [
            fold(f"{title(name, point)}: {hyper}"),
            table(["signal-to-noise", *(estimator_title(name, horizon) for name in point["estimators"])], signals),
            table(["variance ratio", "raw", "at equal scale", "shorter horizons", "averaging"], ratios),
        ]
    multi_step, mixing = (estimator_title(name, horizon) for name in ("multi_step", "mixing"))
    note = (
        f"{INTERVALS_NOTE} Signal-to-noise: of one sample. Variance ratio: {multi_step}'s over {mixing}'s; then the "
        "part of multi-step's variance that shorter horizons leave, and the part of that which averaging leaves. "
        f"{NOT_DETERMINED}: a mean cannot be told from zero with that many windows; -: without variance."
    )
    return "\n\n".join([*parts, fold(note)])
