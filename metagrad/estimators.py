"""The estimators of a meta-gradient over several inner updates: functions, or weights of the horizons as their data.

With the horizon-k meta-gradient `g_k = d/d eta l(theta_k(eta), tau_k)`, every weighted estimator is `g = sum_k w_k g_k`
with weights that sum to one (Bonnet et al., 2021, "One Step at a Time: Pros and Cons of Multi-Step Meta-Gradient
Reinforcement Learning"). `windows.meta_gradient` computes any of them. An `Estimator` may do anything else.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import chex

from metagrad.windows import InnerProblem, MetaParameters, Metrics, Position, Weights, meta_gradient


class Estimator(NamedTuple):
    """How a meta-gradient is estimated, whatever the inner problem.

    Attributes:
      updates: inner updates from one meta-update to the next, at least 1.
      rollouts: batches that these cost: what comparisons hold equal.
      estimate: from (inner problem, eta, start, key) to (gradient, like eta, of a loss that is to be lowered; the end,
        a `windows.Position` after `updates` updates; the metrics of the updates, each with a leading axis). Collect by
        `windows.advance`, or cut what `collect` returns: data are constants.
    """

    updates: int
    rollouts: int
    estimate: Callable[[InnerProblem, MetaParameters, Position, chex.PRNGKey], tuple[MetaParameters, Position, Metrics]]


def from_weights(weights: Weights) -> Estimator:
    """Returns the estimator `sum_k w_k g_k`: each batch serves as outer and as inner data, one for each update."""
    return Estimator(len(weights), len(weights), partial(_weighted_sum, weights))


def _weighted_sum(
    weights: Weights, problem: InnerProblem, eta: MetaParameters, start: Position, key: chex.PRNGKey
) -> tuple[MetaParameters, Position, Metrics]:
    return meta_gradient(problem, weights, eta, start, key)


def single_step() -> Weights:
    """Differentiates through one inner update, `g = g_1`, as in Xu et al. (2018)."""
    return (1.0,)


def multi_step(horizon: int) -> Weights:
    """Differentiates the last outer loss through all inner updates, `g = g_n`.

    Args:
      horizon: n, the number of inner updates, at least 1.

    Returns:
      The weights (0, ..., 0, 1).

    Raises:
      ValueError: if the horizon is below 1.
    """
    _check_horizon(horizon)
    return (0.0,) * (horizon - 1) + (1.0,)


def mixing(horizon: int, decay: float = 1.0) -> Weights:
    """Averages all horizons, `g = sum_k w_k g_k` with `w_k` proportional to `decay^(k-1)`.

    Args:
      horizon: n, the number of inner updates, at least 1.
      decay: ratio of one weight to the one before, positive; 1 is the uniform average `w_k = 1/n`.

    Returns:
      The n weights.

    Raises:
      ValueError: if the horizon is below 1 or the decay is not positive.
    """
    _check_horizon(horizon)
    if not (math.isfinite(decay) and decay > 0.0):
        raise ValueError(f"decay must be positive, got {decay}")
    # Scaled so that the largest is one: nothing overflows.
    first = 0 if decay <= 1.0 else 1 - horizon
    return weighted([decay ** (first + k) for k in range(horizon)])


def weighted(proportions: Sequence[float]) -> Weights:
    """Mixes the horizons in any proportions.

    Args:
      proportions: one finite number for each horizon 1, ..., n; their sum is positive.

    Returns:
      The proportions scaled to sum to one.

    Raises:
      ValueError: if there are none, or if their sum is not positive and finite.
    """
    total = math.fsum(proportions)
    if not (math.isfinite(total) and total > 0.0):
        raise ValueError(f"proportions must have a positive, finite sum, got {tuple(proportions)}")
    return tuple(proportion / total for proportion in proportions)


def _check_horizon(horizon: int) -> None:
    if horizon < 1:
        raise ValueError(f"horizon must be at least 1, got {horizon}")
