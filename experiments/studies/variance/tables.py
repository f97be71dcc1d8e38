"""What a study prints on the terminal."""

import functools
import textwrap

from experiments.config.settings import estimator_title
from experiments.figures.tables import INTERVALS_NOTE, WIDTH, cell, table
from experiments.studies.variance.analysis import TOTAL, Json
from experiments.studies.variance.summary import NOT_DETERMINED, title

fold = functools.partial(textwrap.fill, width=WIDTH, break_on_hyphens=False)


def describe(results: Json) -> str:
    """Lays out the content of `variance.json`: tables of signals and of ratios for each point."""
    parts = [
        _point(title(name, point), point, results["meta_params"], results["horizon"])
        for name, point in results["points"].items()
    ]
    if "convergence" in results:
        parts.append(_convergence(results))
    multi_step, mixing = (estimator_title(name, results["horizon"]) for name in ("multi_step", "mixing"))
    note = (
        f"{INTERVALS_NOTE} Signal-to-noise: of one sample. Variance ratio: {multi_step}'s over {mixing}'s; then the "
        "part of multi-step's variance that shorter horizons leave, and the part of that which averaging leaves. "
        f"{NOT_DETERMINED}: a mean cannot be told from zero with that many windows; -: without variance."
    )
    return "\n\n".join([*parts, fold(note)])


def answer(summary: Json) -> str:
    """Lays out the part `summary` of `variance.json`."""
    told = [answer["in_words"] for answer in summary["answers"].values()]
    lines = [fold(text, initial_indent="- ", subsequent_indent="  ") for text in told]
    return "\n".join([summary["question"], *lines, fold(summary["meaning"])])


def _point(called: str, point: Json, meta_params: list[str], horizon: int) -> str:
    settings = ", ".join(f"{name} {value:.3g}" for name, value in point["hyperparameters"].items())
    names = [*meta_params, TOTAL]
    estimators, reduction = point["estimators"], point["mixing_reduction"]
    signals = table(
        ["signal-to-noise", *(estimator_title(estimator, horizon) for estimator in estimators)],
        [[name, *(cell(described[name]["snr"]) for described in estimators.values())] for name in names],
    )
    ratios = table(
        ["variance ratio", "raw", "at equal scale", "shorter horizons", "averaging"],
        [
            [
                name,
                cell(point["variance_ratio"][name]),
                cell(point["noise_ratio"][name], NOT_DETERMINED),
                *(cell(reduction[name][factor]) for factor in ("shorter_horizons", "averaging")),
            ]
            for name in names
        ],
    )
    heading = fold(f"{called}: {settings}")
    return "\n\n".join([heading, *(_truth(point, meta_params) if "truth" in point else []), signals, ratios])


def _truth(point: Json, meta_params: list[str]) -> list[str]:
    """Lays out the truth, and which estimator's mean points the right way at each horizon where it was taken."""
    entries = point["truth"]
    truths = table(
        ["the truth: -dJ / d eta", *(f"n = {entry['horizon']}" for entry in entries)],
        [[name, *(cell(entry["truth"][name]) for entry in entries)] for name in meta_params],
    )
    rows = [
        [
            f"{critic.replace('_', ' ')}: {estimator_title(estimator, entry['horizon'])}",
            *(_sign(found[name]) for name in meta_params),
            cell(found[TOTAL]["cosine"], NOT_DETERMINED),
        ]
        for entry in entries
        for critic, compared in entry["critics"].items()
        for estimator, found in compared.items()
    ]
    signs = table(["sign: of the mean, a window's", *meta_params, "cosine to the truth"], rows)
    return [truths, signs]


def _sign(found: Json) -> str:
    """Says whether the mean has the true sign, and how often a window has it."""
    often = found["sign_agreement"]["estimate"]
    return found["sign"] if often is None else f"{found['sign']} {often:.0%}"


def _convergence(results: Json) -> str:
    rows = [
        [
            str(entry["num_envs"]),
            estimator_title("multi_step", entry["horizon"]),
            name,
            f"{entry['exact'][name]:.4g}",
            cell(entry["bias"][name]),
            "-" if entry["coverage"][name] is None else f"{entry['coverage'][name]:.0%}",
        ]
        for entry in results["convergence"]
        for name in results["meta_params"]
    ]
    header = ["environments", "estimator", "meta-parameter", "exact", "bias", "coverage"]
    return (
        f"{table(header, rows)}\n\n{results['num_windows']} windows; coverage: of the 95% intervals of "
        f"{results['num_studies']} studies of {results['study_size']} windows each"
    )
