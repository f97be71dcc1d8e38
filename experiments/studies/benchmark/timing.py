"""Measures programs side by side: in turns, so that whatever else the machine does falls on all of them alike."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from metagrad.statistics import CONFIDENCE, Estimate

Program = Callable[[], Any]
"""Does its work once and returns when it is done."""


def interleave(programs: Mapping[str, Program], repeats: int, least_seconds: float) -> dict[str, np.ndarray]:
    """Measures programs in turns: a round has a measurement of each, and every second round goes backwards.

    Before, each is called once to warm up, and a second time if the calls of a measurement are to be chosen by that.

    Args:
      programs: by name.
      repeats: R, the number of rounds.
      least_seconds: that a measurement takes, about; a program that takes less is called several times for it. Zero for
        one call.

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


def median(samples: np.ndarray) -> Estimate:
    """Estimates a median, with the narrowest symmetric interval of order statistics that covers it in 95% of cases.

    It holds for samples of any continuous distribution, outliers included, as long as they are independent.

    Args:
      samples: float [N], N at least 1.

    Returns:
      The median and its interval, which is NaN with fewer than six samples: too few for one.
    """
    ordered = np.sort(np.asarray(samples, np.float64))
    outside = int(scipy.stats.binom.ppf((1 - CONFIDENCE) / 2, len(ordered), 0.5))
    # The `outside`th from either end, counted from one, covers the median but for 2 P(fewer than `outside` below it).
    if outside < 1:
        low = high = np.array(np.nan)
    else:
        low, high = ordered[outside - 1], ordered[-outside]
    return Estimate(np.asarray(np.median(ordered)), low, high)


def stepping(step: Callable[[Any], Any], state: Any) -> Program:
    """Makes a program that goes on from where its last call ended; the state's memory may be donated."""

    def program() -> None:
        nonlocal state
        state = jax.block_until_ready(step(state))

    return program


def overwriting(function: Callable[[Any], Any], arrays: Any) -> Program:
    """Makes a program whose results take the memory of its last ones: with new memory come page faults."""
    again = jax.jit(lambda _, arrays: function(arrays), donate_argnums=0, keep_unused=True)
    last = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, arrays))
    return stepping(lambda last: again(last, arrays), last)


def matrix_product(size: int) -> tuple[Program, float]:
    """Makes a product of two square matrices, the most arithmetic that a machine can be asked for.

    Args:
      size: of either side.

    Returns:
      The program, and its floating-point operations.
    """
    return overwriting(lambda matrix: matrix @ matrix, jnp.ones((size, size))), 2.0 * size**3


def copy(num_bytes: int) -> tuple[Program, float]:
    """Makes a copy of an array onto itself, with a number added so that it is made: the most bytes a machine can move.

    Args:
      num_bytes: of the array, a multiple of four; far more than the caches hold.

    Returns:
      The program, and the bytes that it reads and writes.
    """
    add = jax.jit(lambda array: array + 1.0, donate_argnums=0)
    return stepping(add, jnp.zeros(num_bytes // 4, jnp.float32)), 2.0 * num_bytes


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Keeps no compiled programs on disk, and finds none there, so that compiling takes what it takes."""
    enabled = jax.config.values["jax_enable_compilation_cache"]
    _enable_cache(False)
    try:
        yield
    finally:
        _enable_cache(enabled)


def _enable_cache(enabled: bool) -> None:
    from jax.experimental.compilation_cache import compilation_cache

    jax.config.update("jax_enable_compilation_cache", enabled)
    compilation_cache.reset_cache()  # JAX looks at the setting once, and then after a reset
