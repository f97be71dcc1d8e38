"""The hyperparameters of an agent (`INTERVALS` lists them), and the meta-parameters `eta` behind those that are tuned.

Each tuned hyperparameter is `h(eta)` for a bijection `h` from the reals onto an open interval. A meta-parameter counts
from its hyperparameter's initial value: in log-odds for a hyperparameter in (0, 1), in logarithms for a positive one.
So `eta = 0` is the initial value, to the last bit, and a step in `eta` means the same wherever it starts.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp

Hyperparameters = Mapping[str, chex.Array]
"""A float [] for each name in `INTERVALS`."""

MetaParameters = dict[str, chex.Array]
"""`eta`: an unconstrained float [] for each tuned hyperparameter."""

INTERVALS = {
    "discount": (0.0, 1.0),
    "lambda": (0.0, 1.0),
    "policy_cost": (0.0, float("inf")),
    "value_cost": (0.0, float("inf")),
    "entropy_cost": (0.0, float("inf")),
    "learning_rate": (0.0, float("inf")),
}
"""The open interval of each hyperparameter of an actor-critic agent."""


class Tuning(NamedTuple):
    """Which hyperparameters are tuned, and the values that all of them start from. Made by `tune`.

    Inside a program the values may be its data, float [] each: then one program serves any values.
    """

    initial: dict[str, chex.Numeric]
    tuned: tuple[str, ...]


def tune(initial: Mapping[str, float], tuned: Sequence[str]) -> Tuning:
    """Describes what is tuned; the other hyperparameters keep their initial values.

    Args:
      initial: a value for each name in `INTERVALS`, inside its interval.
      tuned: names of the hyperparameters to tune; may be empty.

    Returns:
      The description.

    Raises:
      ValueError: if a name is unknown, missing or repeated, or a value is outside its interval. A hyperparameter that
        is not tuned may also lie on the interval's finite ends: a cost of zero, a discount of one.
    """
    if set(initial) != set(INTERVALS):
        raise ValueError(f"initial must have the names {sorted(INTERVALS)}, got {sorted(initial)}")
    for name in tuned:
        if name not in INTERVALS:
            raise ValueError(f"tuned must be among {', '.join(INTERVALS)}; got {name!r}")
    if len(set(tuned)) < len(tuned):
        raise ValueError(f"tuned must not repeat a name, got {tuple(tuned)}")
    for name, value in initial.items():
        low, high = INTERVALS[name]
        inside = low < value < high or (name not in tuned and value in (low, high) and value != float("inf"))
        if not inside:
            raise ValueError(f"{name} must be in ({low:g}, {high:g}), got {value}")
    return Tuning(dict(initial), tuple(tuned))


def initial_meta_parameters(tuning: Tuning) -> MetaParameters:
    """Returns the `eta` of the initial values: zeros."""
    return {name: jnp.zeros(()) for name in tuning.tuned}


def hyperparameters(tuning: Tuning, eta: MetaParameters) -> Hyperparameters:
    """Maps meta-parameters to hyperparameters, `h(eta)`.

    For a hyperparameter in (0, 1) with initial value c, `h(eta) = sigmoid(logit(c) + eta)`, written so that
    `h(0) = c` exactly; for a positive one, `h(eta) = c exp(eta)`.

    Args:
      tuning: what is tuned.
      eta: float [] for each tuned name.

    Returns:
      Every hyperparameter, tuned or not, inside its open interval for any finite `eta`.
    """
    return {
        name: _bijection(value, INTERVALS[name][1], eta[name]) if name in tuning.tuned else jnp.asarray(value)
        for name, value in tuning.initial.items()
    }


def meta_parameters_of(tuning: Tuning, values: Mapping[str, float]) -> MetaParameters:
    """Inverts `hyperparameters`.

    Args:
      tuning: what is tuned.
      values: of each tuned hyperparameter, inside its interval.

    Returns:
      The `eta` of these values, float [] each.
    """

    def unbounded(name: str, value: float) -> float:
        return math.log(value / (1.0 - value)) if INTERVALS[name][1] == 1.0 else math.log(value)

    return {
        name: jnp.asarray(unbounded(name, values[name]) - unbounded(name, float(tuning.initial[name])))
        for name in tuning.tuned
    }


def _bijection(initial: chex.Numeric, high: float, eta: chex.Array) -> chex.Array:
    """Maps the reals onto (0, high), zero to `initial`; `high` is one or infinity."""
    limits = jnp.finfo(jnp.result_type(eta))
    start = jnp.asarray(initial, limits.dtype)
    # Far out, rounding would reach the ends of the interval or overflow; the clips keep the value strictly inside.
    furthest = -0.5 * jnp.log(limits.tiny)
    growth = jnp.exp(jnp.clip(eta, -furthest, furthest))
    return _with_odds(start, growth) if high == 1.0 else jnp.clip(start * growth, limits.tiny, limits.max)


@jax.custom_jvp
def _with_odds(start: chex.Array, growth: chex.Array) -> chex.Array:
    """Returns the number in (0, 1) whose odds are those of `start` times `growth`."""
    limits = jnp.finfo(start.dtype)
    value = start * growth / (start * growth + (1.0 - start))
    return jnp.clip(value, limits.tiny, 1.0 - limits.epsneg)


@_with_odds.defjvp
def _with_odds_jvp(
    primals: tuple[chex.Array, chex.Array], tangents: tuple[chex.Array, chex.Array]
) -> tuple[chex.Array, chex.Array]:
    """Differentiates without the difference `1 - value`, of which nothing is left near one, and without the clip."""
    (start, growth), (start_tangent, growth_tangent) = primals, tangents
    denominator = start * growth + (1.0 - start)
    slope = growth * start_tangent + start * (1.0 - start) * growth_tangent
    return _with_odds(start, growth), slope / denominator / denominator
