"""Answers a study's question in words: how much less variance does mixing have?"""

from experiments.config.settings import estimator_title
from experiments.figures.tables import INTERVALS_NOTE, cell
from experiments.studies.variance.analysis import TOTAL, Json

NOT_DETERMINED = "not determined"

FEW = 30
"""Windows below which the bootstrap's intervals are too narrow."""


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
    meaning = [
        "Raw, a gradient that is merely shorter counts as less noisy; at equal scale, with the same mean, it does not. "
        f"{INTERVALS_NOTE}"
    ]
    if any(NOT_DETERMINED in answer["in_words"] for answer in answers.values()):
        meaning.append(
            f"{NOT_DETERMINED.capitalize()}: a mean cannot be told from zero, or the ratio from 1; "
            "more windows may tell (--num_samples)."
        )
    if results["num_samples"] < FEW:
        meaning.append(f"With fewer than {FEW} windows, intervals are narrower than they should be.")
    return {
        "question": f"How much less variance does one window's gradient have by {mixing} than by {multi_step}?",
        "answers": answers,
        "meaning": " ".join(meaning),
    }


def title(name: str, point: Json) -> str:
    """Returns what texts and pictures call a point."""
    if name.startswith("discount_"):  # of an agent that was trained at it
        name = f"discount {point['hyperparameters']['discount']:.4g}"
    steps = f" after {point['env_steps']:,} steps" if "env_steps" in point else ""
    return name.replace("_", " ") + steps


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
