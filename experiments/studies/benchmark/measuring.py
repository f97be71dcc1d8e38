"""Measures programs side by side: in turns, so that whatever else the machine does falls on all of them alike."""

import importlib.util
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from experiments.figures import tables
from experiments.studies.benchmark.settings import Scale
from metagrad.statistics import CONFIDENCE, Estimate

STEPS_A_SECOND, SECONDS, BYTES = "environment steps/s", "s", "bytes"
"""Units: of the first, more is better; of the others, less."""

Program = Callable[[], Any]
"""Does its work once and returns when it is done."""

Figure = dict[str, Any]
"""One comparison as `benchmark.json` has it."""

Figures = Mapping[str, Callable[[], Figure]]
"""A suite's figures by name, measured when they are called."""


class Side(NamedTuple):
    """One side of a comparison: a program, and by what its seconds are divided, such as updates."""

    program: Program
    amount: float = 1.0


def race(unit: str, against: str, ours: Side, peer: Side | None, scale: Scale, flops: float | None = None) -> Figure:
    """Measures two programs in turns, and with them the machine's matrix products where the work is known.

    Args:
      unit: `STEPS_A_SECOND`, of environment steps as amounts, or `SECONDS` for one of an amount.
      against: what the peer is.
      ours: our program.
      peer: the other, or None where it is missing.
      scale: rounds and seconds of a measurement.
      flops: floating-point operations of one call of ours.

    Returns:
      The figure. Estimates are medians over the rounds, ratios and shares over those of each round.
    """
    sides = {"ours": ours} | ({} if peer is None else {"peer": peer})
    measured = sides | ({} if flops is None else {"product": Side(*matrix_product(scale))})
    seconds = interleave({name: side.program for name, side in measured.items()}, scale.repeats, scale.seconds)
    of_one = {name: seconds[name] / side.amount for name, side in measured.items()}
    values = {name: 1.0 / of_one[name] if unit == STEPS_A_SECOND else of_one[name] for name in sides}
    if peer is not None:
        values["ratio"] = values["ours"] / values["peer"]
    if flops is not None:
        values["product_share"] = flops * of_one["product"] / seconds["ours"]
    figure = {"unit": unit, "against": against} | {name: median(samples) for name, samples in values.items()}
    return figure if flops is None else figure | {"flops": flops}


def sizes(against: str, ours: float, peer: float) -> Figure:
    """Compares two sizes in bytes, which are exact."""
    return {"unit": BYTES, "against": against, "ours": ours, "peer": peer, "ratio": ours / peer}


def interleave(programs: Mapping[str, Program], repeats: int, least_seconds: float) -> dict[str, np.ndarray]:
    """Measures programs in turns, each warmed up first; every second round goes backwards.

    Args:
      programs: by name.
      repeats: R, the number of rounds.
      least_seconds: that a measurement takes, about, in as many calls as that needs; zero for one call.

    Returns:
      The seconds of a call, float [R], by name; entries of the same round are neighbours in time.
    """
    calls = {}
    for name, program in programs.items():
        program()
        calls[name] = math.ceil(least_seconds / _seconds(program, 1)) if least_seconds else 1
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(repeats):
        for name in list(programs)[:: -1 if number % 2 else 1]:
            seconds[name].append(_seconds(programs[name], calls[name]))
    return {name: np.array(measured) for name, measured in seconds.items()}


def _seconds(program: Program, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        program()
    return max(time.perf_counter() - start, 1e-9) / calls


def median(samples: np.ndarray) -> dict[str, Any]:
    """Estimates a median for JSON, with an interval of order statistics where six samples or more allow one.

    It holds for samples, float [N], of any continuous distribution, outliers included, if they are independent.
    """
    interval = scipy.stats.quantile_test(samples, p=0.5).confidence_interval(CONFIDENCE)
    return tables.as_json(Estimate(np.median(samples), interval.low, interval.high))


def stepping(step: Callable[[Any], Any], state: Any) -> Program:
    """Makes a program that goes on from where its last call ended; the state's memory may be donated."""

    def program() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state))

    return program


def matrix_product(scale: Scale) -> tuple[Program, float]:
    """Makes a product of two square matrices, the most arithmetic that a machine can be asked for.

    Returns:
      The program, whose result takes the memory of its last one, and its floating-point operations.
    """
    matrix = jnp.ones((scale.product_size, scale.product_size))
    multiply = jax.jit(lambda last, matrix: matrix @ matrix, donate_argnums=0, keep_unused=True)
    return stepping(lambda last: multiply(last, matrix), jnp.zeros_like(matrix)), 2.0 * scale.product_size**3


def installed(peer: str) -> bool:
    """Tells whether a peer can be imported; where it cannot, a line says so."""
    found = importlib.util.find_spec(peer) is not None
    if not found:
        print(f"skipped: {peer} is not installed, so that ours is measured alone")
    return found
