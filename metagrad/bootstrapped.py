"""Bootstrapped meta-gradients (Flennerhag et al., 2022, "Bootstrapped Meta-Learning", arXiv 2109.04504).

A window has K + L updates. After all of them, one more step down the outer loss gives the target, a constant. The
meta-gradient is that of a distance to it, as the first K updates move the learner:

    g = d/d eta  distance(x_K(eta), target, tau_K),    target = descend(x_{K+L}, grad l(x_{K+L}, tau_{K+L}))

The batches and `x_0` are constants, as everywhere. No update is thrown away, since `x_{K+L}` opens the next window.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from metagrad import windows
from metagrad.estimators import Estimator
from metagrad.windows import KEPT, InnerProblem, MetaParameters, Metrics, Position


def bootstrapped(updates: int, further: int) -> Estimator:
    """Returns the estimator.

    Args:
      updates: K, those that are differentiated, at least 1.
      further: L, those that move the target ahead, at least 0.

    Returns:
      The estimator, of K + L updates and as many rollouts. It needs `descend` and `distance` of the inner problem.

    Raises:
      ValueError: if a number is out of its range.
    """
    if updates < 1 or further < 0:
        raise ValueError(f"updates must be at least 1 and further at least 0, got {updates} and {further}")
    return Estimator(updates + further, updates + further, partial(_estimate, updates, further))


def _estimate(
    updates: int, further: int, problem: InnerProblem, eta: MetaParameters, start: Position, key: chex.PRNGKey
) -> tuple[MetaParameters, Position, Metrics]:
    descend, distance = problem.descend, problem.distance
    if descend is None or distance is None:
        raise ValueError("bootstrapped meta-gradients need the functions `descend` and `distance` of an inner problem")
    start = jax.lax.stop_gradient(start)
    keys = windows.window_keys(key, updates + further)

    def advance(eta: MetaParameters, position: Position, key: chex.PRNGKey) -> tuple[Position, Metrics]:
        return windows.advance(problem, eta, position, key)

    rematerialised = jax.checkpoint(advance, policy=jax.checkpoint_policies.save_only_these_names(KEPT))

    def distance_to_target(eta: MetaParameters) -> tuple[chex.Array, tuple[Position, Metrics]]:
        # The first update is not differentiated with respect to `x_0`.
        first, metrics = advance(eta, start, keys[0])
        position, later = jax.lax.scan(partial(rematerialised, eta), first, keys[1:updates])
        constants = jax.lax.stop_gradient((eta, position))
        end, furthest = jax.lax.scan(partial(advance, constants[0]), constants[1], keys[updates:])
        slope = windows.outer_gradient(problem, end)
        target = jax.lax.stop_gradient(descend(end.learner_state, constants[0], slope))
        joined = jax.tree.map(lambda one, *more: jnp.concatenate([one[None], *more]), metrics, later, furthest)
        return distance(position.learner_state, target, position.batch), (end, joined)

    gradient, (end, metrics) = jax.grad(distance_to_target, has_aux=True)(eta)
    return gradient, end, metrics
