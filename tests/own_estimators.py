"""Estimators that stand outside of the library, for `--estimator=own_estimators:NAME`."""

import jax
import jax.numpy as jnp

from metagrad import Estimator, advance, from_weights, mixing


def alike(horizon):
    """Mixing, under another name."""
    return from_weights(mixing(horizon))


def wasteful(horizon):
    """Goes on by single updates, for each of which it pays another rollout, and always finds zero."""

    def estimate(problem, eta, start, key):
        end, metrics = advance(problem, eta, start, key)
        return jax.tree.map(jnp.zeros_like, eta), end, jax.tree.map(lambda leaf: leaf[None], metrics)

    return Estimator(1, 2, estimate)


def of_another_shape(horizon):
    """Returns a gradient that is not like eta."""
    mixed = alike(horizon)

    def estimate(problem, eta, start, key):
        gradient, *others = mixed.estimate(problem, eta, start, key)
        return jax.tree.map(jnp.atleast_1d, gradient), *others

    return mixed._replace(estimate=estimate)


def without_metrics(horizon):
    """Returns no metrics."""
    mixed = alike(horizon)
    return mixed._replace(estimate=lambda *inputs: (*mixed.estimate(*inputs)[:2], ()))


def nothing(horizon):
    """Returns no estimator."""
