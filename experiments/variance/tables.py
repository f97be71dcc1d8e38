"""What a study prints on the terminal."""

from experiments.config import estimator_title
from experiments.reporting import INTERVALS_NOTE, cell, table
from experiments.variance.analysis import TOTAL, Json

UNDETERMINED = "undetermined"

FEW = 30
"""Windows below which the bootstrap's intervals are too narrow."""


def describe(results: Json) -> str:
    """Lays out the content of `variance.json`: a table of signals and one of ratios for each point."""
    parts = [
        _point(name, point, results["meta_params"], results["horizon"]) for name, point in results["points"].items()
    ]
    if "convergence" in results:
        parts.append(_convergence(results))
    parts.append(
        f"{INTERVALS_NOTE} {UNDETERMINED}: a mean cannot be told from zero with that many windows; -: without variance."
    )
    if results["num_samples"] < FEW:
        parts[-1] += f" With fewer than {FEW} windows, intervals are narrower than they should be."
    return "\n\n".join(parts)


def _point(name: str, point: Json, meta_params: list[str], horizon: int) -> str:
    columns = [*meta_params, TOTAL]
    signals = table(
        ["signal-to-noise of one sample", *columns],
        [
            [estimator_title(estimator, horizon)] + [cell(described[column]["snr"]) for column in columns]
            for estimator, described in point["estimators"].items()
        ],
    )
    reduction = point["mixing_reduction"]
    ratios = table(
        [" / ".join(estimator_title(name, horizon) for name in ("multi_step", "mixing")), *columns],
        [
            ["variance ratio", *(cell(point["variance_ratio"][column]) for column in columns)],
            ["noise ratio (equal means)", *(cell(point["noise_ratio"][column], UNDETERMINED) for column in columns)],
            ["variance left by shorter horizons", *(cell(reduction[column]["shorter_horizons"]) for column in columns)],
            ["  and then by averaging", *(cell(reduction[column]["averaging"]) for column in columns)],
        ],
    )
    judged = f"{_truth(point, meta_params)}\n" if "truth" in point else ""
    settings = ", ".join(f"{name} {value:.3g}" for name, value in point["hyperparameters"].items())
    return f"{name}: {settings}\n{judged}{signals}\n{ratios}"


def _truth(point: Json, meta_params: list[str]) -> str:
    """Lays out which estimator's mean points the right way, at each horizon where the truth was taken."""
    rows = []
    for entry in point["truth"]:
        horizon = entry["horizon"]
        rows.append(
            [f"the truth: -d J / d eta, n = {horizon}", *(cell(entry["truth"][name]) for name in meta_params), ""]
        )
        for critic, compared in entry["critics"].items():
            for estimator, found in compared.items():
                signs = [f"{found[name]['sign']}, {cell(found[name]['sign_agreement'])}" for name in meta_params]
                called = f"  {critic}, {estimator_title(estimator, horizon)}"
                rows.append([called, *signs, cell(found[TOTAL]["cosine"], UNDETERMINED)])
    return table(["sign of the mean, how often a window has the true one", *meta_params, "cosine to the truth"], rows)


def _convergence(results: Json) -> str:
    rows = [
        [
            str(entry["num_envs"]),
            str(entry["horizon"]),
            name,
            cell(entry["mean"][name]),
            f"{entry['exact'][name]:.4g}",
            cell(entry["bias"][name]),
            "-" if entry["coverage"][name] is None else f"{entry['coverage'][name]:.0%}",
        ]
        for entry in results["convergence"]
        for name in results["meta_params"]
    ]
    header = ["environments", "horizon", "meta-parameter", "mean of multi-step", "exact", "bias", "coverage"]
    return (
        f"{table(header, rows)}\n{results['num_windows']} windows; coverage: of the 95% intervals of "
        f"{results['num_studies']} studies of {results['study_size']} windows each"
    )
