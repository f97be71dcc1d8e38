"""All of the study's numbers, as `discounting_chain.json` has them, and its tables."""

import time
from collections.abc import Callable, Sequence
from concurrent import futures
from functools import partial
from typing import Any

import numpy as np

from experiments.figures.tables import INTERVALS_NOTE, cell, table
from experiments.runs import progress
from experiments.studies.discounting_chain import exact, sampled
from experiments.studies.discounting_chain.exact import CRITERIA, INNER_CRITIC

LAMBDA, PAPERS_LAMBDA = LAMBDAS = (0.95, 0.0)
"""Of both losses: the library's, and the paper's, with which a meta-gradient looks one step ahead."""

DISCOUNTS = (0.8, 0.9, 0.95, 0.99)
HORIZON = 10
AGES = (0, 50)
"""Updates after which horizon gradients are told: at the uniform policy, and at one that is about to settle."""

CURVES = (
    (LAMBDA, "fixed", INNER_CRITIC),
    *((LAMBDA, estimator, criterion) for estimator in exact.ESTIMATORS for criterion in CRITERIA),
    *((PAPERS_LAMBDA, estimator, criterion) for estimator in exact.ESTIMATORS for criterion in CRITERIA[:2]),
)
"""Learning curves in expectation. With one update, the return's gradient is the outer critic's, whatever the lambda."""

Json = dict[str, Any]


def compute(num_updates: int, seed: int, num_seeds: int) -> Json:
    """Computes the content of `discounting_chain.json`: every agent learns for some updates, sampled ones by seeds."""
    begin = time.monotonic()
    # The longest first, so that both threads end at about the same time.
    jobs: list[Callable[[], Any]] = [
        *(partial(sampled.learn, LAMBDA, criterion, num_updates, seed, num_seeds) for criterion in CRITERIA[:2]),
        *(partial(exact.horizon_gradients, lambda_, DISCOUNTS, HORIZON, AGES) for lambda_ in LAMBDAS),
        *(partial(exact.learn, *curve, num_updates) for curve in CURVES),
    ]
    by_inner, by_outer, gradients, papers_gradients, *curves = _run(jobs)
    return {
        "settings": {
            "chain_rewards": exact.chain_rewards().tolist(),
            "reward_steps": list(exact.REWARD_STEPS),
            "initial_discount": exact.INITIAL_DISCOUNT,
            "outer_discount": exact.OUTER_DISCOUNT,
            "num_updates": num_updates,
            "seed": seed,
            "num_seeds": num_seeds,
        },
        "horizon_gradients": list(map(_rounded, gradients + papers_gradients)),
        "curves": list(map(_rounded, curves)),
        "sampled": [curve for of_a_start in zip(by_inner, by_outer, strict=True) for curve in of_a_start],
        "wall_seconds": round(time.monotonic() - begin, 1),
    }


def _run(jobs: Sequence[Callable[[], Any]]) -> list[Any]:
    """Does jobs on two threads, which compile and compute side by side."""
    pool = futures.ThreadPoolExecutor(2)  # not as a context, which would not let Ctrl-C through before all are done
    running = [pool.submit(job) for job in jobs]
    try:
        with progress.bar("computed", len(jobs), "programs") as bar:
            for future in futures.as_completed(running):
                future.result()
                bar.update()
        return [future.result() for future in running]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _rounded(entry: Json) -> Json:
    """Writes arrays as lists, to six digits."""
    return {
        name: [float(f"{number:.6g}") for number in value] if isinstance(value, np.ndarray) else value
        for name, value in entry.items()
    }


def tables(results: Json) -> str:
    """Lays out the content of `discounting_chain.json` for a terminal."""
    gradients = [
        [f"{entry['lambda']:g}", f"{entry['num_updates']}", f"{entry['discount']:g}"]
        + [f"{entry[criterion][at]:+.1e}" for at in (0, 4, HORIZON - 1) for criterion in CRITERIA]
        for entry in results["horizon_gradients"]
    ]
    shown = [f"{criterion.split('_')[0]} g_{n}" for n in (1, 5, HORIZON) for criterion in CRITERIA]
    curves = [
        [f"{entry['lambda']:g}", entry["estimator"], "" if entry["estimator"] == "fixed" else entry["criterion"]]
        + [f"{entry[name][-1]:.4f}" for name in ("discount", "episode_return")]
        for entry in results["curves"]
    ]
    runs = [
        [entry["criterion"], entry["critics_start"], cell(entry["discount"][-1]), cell(entry["episode_return"][-1])]
        for entry in results["sampled"]
    ]
    return "\n\n".join(
        [
            "d return / d log-odds of the discount, exactly (positive: upwards)",
            table(["lambda", "updates", "discount", *shown], gradients, keys=3),
            f"In expectation, from {exact.INITIAL_DISCOUNT:g}, after {results['settings']['num_updates']} updates",
            table(["lambda", "estimator", "criterion", "discount", "episode return"], curves),
            f"Sampled, {results['settings']['num_seeds']} seeds, single-step, lambda {LAMBDA:g}. {INTERVALS_NOTE}",
            table(["criterion", "critics start", "discount", "episode return"], runs),
        ]
    )
