"""Tunes the discount on bsuite's Discounting Chain with and without an outer critic, exactly and with sampled episodes.

Example:
    python -m experiments.discounting_chain --logdir=runs/discounting_chain
"""

import json
import time
from collections.abc import Callable
from concurrent import futures
from functools import partial
from typing import Any

import numpy as np
from absl import flags

from envs import processes
from experiments.config import flags as commands
from experiments.config.ranges import Range, refuse
from experiments.config.settings import Group
from experiments.figures.tables import INTERVALS_NOTE, as_json, cell, table
from experiments.runs import command_line, progress
from experiments.storage import folder as storage_folder
from experiments.storage.files import write_whole
from experiments.studies.discounting_chain import exact, picture, sampled
from experiments.studies.discounting_chain.exact import INNER_CRITIC, OUTER_CRITIC, RETURN
from metagrad import statistics

RESULTS, PICTURE = "discounting_chain.json", "discounting_chain.png"

LAMBDA, PAPERS_LAMBDA = 0.95, 0.0
"""Of both losses: the library's, and the paper's, with which a meta-gradient looks one step ahead."""

DISCOUNTS = (0.8, 0.9, 0.95, 0.99)
HORIZON = 10
AGES = (0, 50)
"""Updates after which horizon gradients are told: at the uniform policy, and at one that is about to settle."""

CURVES = (
    (LAMBDA, "fixed", INNER_CRITIC),
    *((LAMBDA, "single_step", criterion) for criterion in exact.CRITERIA),
    *((LAMBDA, "mixing", criterion) for criterion in exact.CRITERIA),
    *((PAPERS_LAMBDA, "single_step", criterion) for criterion in (INNER_CRITIC, OUTER_CRITIC)),
    *((PAPERS_LAMBDA, "mixing", criterion) for criterion in (INNER_CRITIC, OUTER_CRITIC)),
)
"""Learning curves in expectation. With one update, the return's gradient is the outer critic's, whatever the lambda."""

SAMPLED = tuple((criterion, knowing) for knowing in (True, False) for criterion in (INNER_CRITIC, OUTER_CRITIC))
"""Sampled agents, single-step: the critic of the outer loss, and whether critics know the first policy's values."""

RANGES = {
    "seed": Range("at least 0 and below 2^30", lambda value: 0 <= value < 2**30),
    "num_seeds": Range("at least 2 and below 2^20", lambda value: 2 <= value < 2**20),
    "num_updates": Range(
        "a multiple of 5, at least 10 and below 2^20", lambda value: 10 <= value < 2**20 and value % 5 == 0
    ),
}

Json = dict[str, Any]


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = flags.FlagValues()
    where: Json = {"flag_values": values, "module_name": Group.BUDGET}
    for name, default, text in (
        ("num_updates", 400, "inner updates of every agent"),
        ("num_seeds", 5, "sampled agents of each kind"),
        ("seed", 0, "seed of the first sampled agent; those of the others follow it"),
    ):
        flags.DEFINE_integer(name, default, f"{text}; {RANGES[name].text}", **where)
    commands.define_logdir(values)
    return values


def main(values: flags.FlagValues) -> None:
    """Computes what the docstring says, and writes `discounting_chain.json` and `discounting_chain.png`."""
    for name, allowed in RANGES.items():
        if not allowed.accepts(values[name].value):
            refuse(name, values[name].value, allowed.text)
    folder = storage_folder.new_logdir(values.logdir)
    begin = time.monotonic()
    # The longest first, so that both threads end at about the same time.
    jobs: dict[tuple, Callable[[], Any]] = {
        ("sampled", criterion, knowing): partial(
            sampled.train,
            LAMBDA,
            criterion,
            exact.ESTIMATORS["single_step"],
            values.num_updates,
            seed=values.seed,
            num_seeds=values.num_seeds,
            knowing=knowing,
        )
        for criterion, knowing in SAMPLED
    }
    for lambda_ in (LAMBDA, PAPERS_LAMBDA):
        jobs["gradients", lambda_] = partial(exact.horizon_gradients, lambda_, DISCOUNTS, HORIZON, AGES)
    for lambda_, estimator, criterion in CURVES:
        weights = exact.ESTIMATORS.get(estimator, ())
        jobs["curve", lambda_, estimator, criterion] = partial(
            exact.learn, lambda_, criterion, weights, values.num_updates
        )
    done = _run(jobs)
    results = {
        "settings": {
            "chain_rewards": _chain_rewards().tolist(),
            "reward_steps": list(exact.REWARD_STEPS),
            "initial_discount": exact.INITIAL_DISCOUNT,
            "outer_discount": exact.OUTER_DISCOUNT,
            "num_updates": values.num_updates,
            "seed": values.seed,
            "num_seeds": values.num_seeds,
        },
        "horizon_gradients": [
            {"lambda": lambda_, "num_updates": age, "discount": discount}
            | {name: _rounded(numbers) for name, numbers in entry.items()}
            for lambda_ in (LAMBDA, PAPERS_LAMBDA)
            for age, at_age in zip(AGES, done["gradients", lambda_], strict=True)
            for discount, entry in zip(DISCOUNTS, at_age, strict=True)
        ],
        "curves": [
            {"lambda": lambda_, "estimator": estimator, "criterion": criterion}
            | _describe_curve(done["curve", lambda_, estimator, criterion])
            for lambda_, estimator, criterion in CURVES
        ],
        "sampled": [
            {"criterion": criterion, "critics_start": "true" if knowing else "zero"}
            | _describe_runs(done["sampled", criterion, knowing])
            for criterion, knowing in SAMPLED
        ],
        "wall_seconds": round(time.monotonic() - begin, 1),
    }
    write_whole(folder / RESULTS, json.dumps(results, allow_nan=False) + "\n")
    picture.draw(results, folder / PICTURE)
    print(_tables(results))
    print(f"The numbers are in {folder / RESULTS}, the picture is {folder / PICTURE}")


def _run(jobs: dict[tuple, Callable[[], Any]]) -> dict[tuple, Any]:
    """Does jobs on two threads, which compile and compute side by side."""
    pool = futures.ThreadPoolExecutor(2)
    try:
        running = {pool.submit(job): name for name, job in jobs.items()}
        with progress.bar("computed", len(jobs), "programs") as bar:
            for future in futures.as_completed(running):
                future.result()
                bar.update()
        return {name: future.result() for future, name in running.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _chain_rewards() -> np.ndarray:
    """Returns what each chain pays, [C]."""
    bonus = np.arange(len(exact.REWARD_STEPS)) == exact.BONUS_CHAIN
    return 1.0 + processes.BONUS * bonus


def _rounded(numbers: np.ndarray) -> list[float]:
    """Returns numbers as JSON holds them, to six digits."""
    return [float(f"{number:.6g}") for number in numbers]


def _describe_curve(curve: exact.Curve) -> Json:
    return {
        "updates": curve.updates.tolist(),
        "discount": _rounded(curve.discount),
        "episode_return": _rounded(curve.chains @ _chain_rewards()),
        "bonus_probability": _rounded(curve.chains[:, exact.BONUS_CHAIN]),
    }


def _describe_runs(runs: sampled.Runs) -> Json:
    means = {
        "discount": statistics.mean(runs.discount.T.astype(np.float64)),
        "episode_return": statistics.mean(runs.episode_return.T.astype(np.float64)),
    }
    return {"updates": runs.updates.tolist()} | {
        name: [
            as_json(statistics.Estimate(*numbers))
            for numbers in zip(*(np.atleast_1d(part) for part in mean), strict=True)
        ]
        for name, mean in means.items()
    }


def _tables(results: Json) -> str:
    """Lays out what a terminal shows."""
    criteria = (INNER_CRITIC, OUTER_CRITIC, RETURN)
    gradients = [
        [
            f"{entry['lambda']:g}",
            f"{entry['num_updates']}",
            f"{entry['discount']:g}",
            *(f"{entry[criterion][at]:+.1e}" for at in (0, 4, HORIZON - 1) for criterion in criteria),
        ]
        for entry in results["horizon_gradients"]
    ]
    header = [f"{criterion.split('_')[0]} g_{n}" for n in (1, 5, HORIZON) for criterion in criteria]
    curves = [
        [
            f"{entry['lambda']:g}",
            entry["estimator"],
            "" if entry["estimator"] == "fixed" else entry["criterion"],
            f"{entry['discount'][-1]:.4f}",
            f"{entry['episode_return'][-1]:.4f}",
        ]
        for entry in results["curves"]
    ]
    runs = [
        [entry["criterion"], entry["critics_start"], cell(entry["discount"][-1]), cell(entry["episode_return"][-1])]
        for entry in results["sampled"]
    ]
    return "\n\n".join(
        [
            "d return / d log-odds of the discount, exactly (positive: upwards)",
            table(["lambda", "updates", "discount", *header], gradients, keys=3),
            f"In expectation, from {exact.INITIAL_DISCOUNT:g}, after {results['settings']['num_updates']} updates",
            table(["lambda", "estimator", "criterion", "discount", "episode return"], curves),
            f"Sampled, {results['settings']['num_seeds']} seeds, single-step, lambda {LAMBDA:g}. {INTERVALS_NOTE}",
            table(["criterion", "critics start", "discount", "episode return"], runs),
        ]
    )


if __name__ == "__main__":
    command_line.run(main, define_flags())
