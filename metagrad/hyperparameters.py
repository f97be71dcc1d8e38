"""Hyperparameters, and the meta-parameters `eta` behind those that are tuned.

Each tuned hyperparameter is `h(eta)` for a bijection `h` from the reals onto an open interval. A meta-parameter counts
from its hyperparameter's initial value: in log-odds for a hyperparameter in (0, 1), in logarithms for a positive one.
So `eta = 0` is the initial value, to the last bit, and a step in `eta` means the same wherever it starts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

Hyperparameters = Mapping[str, Any]
"""The value of each hyperparameter by its name: a float [], an array of floats, or a tree of them."""

MetaParameters = dict[str, Any]
"""`eta`: unconstrained floats for each tuned hyperparameter, a tree of the same arrays."""


class Bijection(NamedTuple):
    """From the reals onto an open interval, for arrays of any shape, element by element.

    Attributes:
      low: end of the interval.
      high: the other end.
      forward: `h`, from (initial value, eta) to the value, strictly inside for any finite eta; `h(c, 0) = c` exactly.
      inverse: from (initial value, value), NumPy numbers or arrays, to eta; not for traced values.
    """

    low: float
    high: float
    forward: Callable[[chex.Numeric, chex.Array], chex.Array]
    inverse: Callable[[chex.Numeric, chex.Numeric], chex.Array]

    def __str__(self) -> str:
        return f"({self.low:g}, {self.high:g})"


class Hyperparameter(NamedTuple):
    """A hyperparameter that may be tuned.

    Attributes:
      initial: the value that it starts from, or keeps: a float, an array of floats, or a tree of them.
      bijection: onto where it may be: `UNIT`, `POSITIVE`, `REAL`, or your own.
    """

    initial: Any
    bijection: Bijection


class Tuning(NamedTuple):
    """Which hyperparameters are tuned, and what all of them start from. Made by `tune`.

    Inside a program the initial values may be its data: then one program serves any values.
    """

    hyperparameters: Mapping[str, Hyperparameter]
    tuned: tuple[str, ...]

    def starting_from(self, initial: Mapping[str, Any]) -> "Tuning":
        """Returns the same with other initial values for some hyperparameters; they are not checked."""
        changed = {name: self.hyperparameters[name]._replace(initial=value) for name, value in initial.items()}
        return self._replace(hyperparameters={**self.hyperparameters, **changed})


def tune(hyperparameters: Mapping[str, Hyperparameter], tuned: Sequence[str]) -> Tuning:
    """Describes what is tuned; the other hyperparameters keep their initial values.

    Args:
      hyperparameters: by name, each with initial values inside its interval.
      tuned: names of those to tune; may be empty.

    Returns:
      The description.

    Raises:
      ValueError: if a name is unknown or repeated, or a value is outside its interval. A hyperparameter that is not
        tuned may also lie on the interval's finite ends: a cost of zero, a discount of one.
    """
    for name in tuned:
        if name not in hyperparameters:
            raise ValueError(f"tuned must be among {', '.join(hyperparameters)}; got {name!r}")
    if len(set(tuned)) < len(tuned):
        raise ValueError(f"tuned must not repeat a name, got {tuple(tuned)}")
    for name, (initial, bijection) in hyperparameters.items():
        for value in map(jnp.asarray, jax.tree.leaves(initial)):
            inside = (bijection.low < value) & (value < bijection.high)
            if name not in tuned:
                inside |= jnp.isfinite(value) & ((value == bijection.low) | (value == bijection.high))
            if not jnp.all(inside):
                raise ValueError(f"{name} must be in {bijection}, got {initial}")
    return Tuning(dict(hyperparameters), tuple(tuned))


def initial_meta_parameters(tuning: Tuning) -> MetaParameters:
    """Returns the `eta` of the initial values: zeros."""
    return {
        name: jax.tree.map(lambda value: jnp.zeros(jnp.shape(value)), tuning.hyperparameters[name].initial)
        for name in tuning.tuned
    }


def hyperparameters(tuning: Tuning, eta: MetaParameters) -> Hyperparameters:
    """Maps meta-parameters to hyperparameters, `h(eta)`.

    Args:
      tuning: what is tuned.
      eta: a tree of floats like the initial value, for each tuned name.

    Returns:
      Every hyperparameter, tuned or not, inside its open interval for any finite `eta`.
    """
    return {
        name: jax.tree.map(bijection.forward, initial, eta[name])
        if name in tuning.tuned
        else jax.tree.map(jnp.asarray, initial)
        for name, (initial, bijection) in tuning.hyperparameters.items()
    }


def meta_parameters_of(tuning: Tuning, values: Hyperparameters) -> MetaParameters:
    """Inverts `hyperparameters`.

    Args:
      tuning: what is tuned.
      values: of each tuned hyperparameter, inside its interval.

    Returns:
      The `eta` of these values.
    """
    return {
        name: jax.tree.map(bijection.inverse, initial, values[name])
        for name, (initial, bijection) in tuning.hyperparameters.items()
        if name in tuning.tuned
    }


def _growth(initial: chex.Numeric, eta: chex.Array) -> tuple[chex.Array, chex.Array]:
    """Returns the initial value in eta's precision, and `exp(eta)`, which neither overflows nor vanishes."""
    limits = jnp.finfo(jnp.result_type(eta))
    furthest = -0.5 * jnp.log(limits.tiny)
    return jnp.asarray(initial, limits.dtype), jnp.exp(jnp.clip(eta, -furthest, furthest))


def _positive(initial: chex.Numeric, eta: chex.Array) -> chex.Array:
    start, growth = _growth(initial, eta)
    limits = jnp.finfo(start.dtype)
    # Far out, rounding would reach the ends of the interval or overflow; the clip keeps the value strictly inside.
    return jnp.clip(start * growth, limits.tiny, limits.max)


def _unit(initial: chex.Numeric, eta: chex.Array) -> chex.Array:
    return _with_odds(*_growth(initial, eta))


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


def _logit(value: chex.Numeric) -> np.ndarray:
    return np.log(np.float64(value) / (1.0 - np.float64(value)))


UNIT = Bijection(0.0, 1.0, _unit, lambda initial, value: jnp.asarray(_logit(value) - _logit(initial)))
"""Onto (0, 1): `h(c, eta) = sigmoid(logit(c) + eta)`, written so that `h(c, 0) = c` exactly."""

POSITIVE = Bijection(
    0.0,
    float("inf"),
    _positive,
    lambda initial, value: jnp.asarray(np.log(np.float64(value)) - np.log(np.float64(initial))),
)
"""Onto (0, inf): `h(c, eta) = c exp(eta)`."""

REAL = Bijection(
    float("-inf"),
    float("inf"),
    lambda initial, eta: jnp.asarray(initial, jnp.result_type(eta)) + eta,
    lambda initial, value: jnp.asarray(np.float64(value) - np.float64(initial)),
)
"""Onto the reals: `h(c, eta) = c + eta`."""
