"""Evolution strategies: meta-gradients by antithetic differences over eta, which hold nothing constant.

A horizon gradient `g_k` of `windows` takes the batches as constants. What it is meant to approximate is how the outcome
`f` of learning moves with eta, data and all. Evolution strategies measure that directly, without any derivative: two
lifetimes start alike and share all randomness, one under `eta + scale epsilon`, one under `eta - scale epsilon`, and

    g_k = epsilon (f(theta_k(eta + scale epsilon)) - f(theta_k(eta - scale epsilon))) / (2 scale),    epsilon ~ N(0, I)

has as its mean the gradient of the smoothed outcome (Nesterov & Spokoiny, 2017),

    d/d eta E_epsilon[F_k(eta + scale epsilon)] = d/d eta F_k(eta) + (scale^2 / 2) d/d eta Laplacian F_k(eta) + ...,

with `F_k = E[f(theta_k)]`. So its bias is O(scale^2), and none at all where `F_k` is quadratic, however biased the data
are as constants. Its price is variance: `M + 1` times the squared gradient with M meta-parameters even without noise;
and where the data are discrete, as actions are, lifetimes that share their randomness still part abruptly, which adds
O(1 / scale). One pair is the unbiased peer of the windows' estimators; the mean of very many is the truth.

Online, in place of a derivative, the unperturbed life goes on, and the rollouts of the pairs are paid for.

See Salimans et al. (2017), "Evolution Strategies as a Scalable Alternative to Reinforcement Learning"; Metz et al.
(2022), "Practical Tradeoffs Between Memory, Compute, and Performance in Learned Optimizers", for meta-gradients; and
Vuorio et al. (2022), "An Investigation of the Bias-Variance Tradeoff in Meta-Gradients", for their place among others.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from metagrad import windows
from metagrad.estimators import Estimator
from metagrad.windows import InnerProblem, MetaParameters, Metrics, Position

ASIDE = np.uint32(2**32 - 1)
"""Folded into a lifetime's key for all that is not a window's: no horizon ever gets there."""


def lifetime_gradients(
    problem: InnerProblem,
    evaluate: Callable[[Position, chex.PRNGKey], chex.Array],
    horizons: Sequence[int],
    scale: float,
    eta: MetaParameters,
    start: Position,
    key: chex.PRNGKey,
) -> MetaParameters:
    """Estimates `d/d eta E[f(theta_k(eta))]` at some horizons k from one pair of antithetic lifetimes.

    The pair costs `2 max(horizons)` inner updates, each with the batch collected after it, and `2 len(horizons)`
    evaluations. Map over keys, and over starts with them, for many pairs.

    Args:
      problem: the inner problem; its outer loss plays no part.
      evaluate: `f`, from (position, key) to a float []: an outcome to raise, of the learner there or of the batch that
        it collected. It is called at the given horizons alone, by both lifetimes with the same key.
      horizons: the numbers of inner updates after which to evaluate, at least 1 each, increasing.
      scale: standard deviation of eta's perturbation, positive.
      eta: meta-parameters, a tree of floats.
      start: `x_0`, the actor's state and `tau_0`, of both lifetimes.
      key: the randomness of direction and lifetimes. Both collect `tau_k` with `fold_in(key, k - 1)`, as windows do;
        what horizon k is evaluated with does not depend on which others are.

    Returns:
      The estimates, like `eta` with a leading axis of the horizons. They point uphill, where those of an outer loss
      point downhill.

    Raises:
      ValueError: if there are no horizons, if they are not positive and increasing, or if the scale is not positive.
    """
    if not horizons or any(low >= high for low, high in zip((0, *horizons), horizons, strict=False)):
        raise ValueError(f"horizons must be positive and increasing, and at least one, got {tuple(horizons)}")
    if not (math.isfinite(scale) and scale > 0.0):
        raise ValueError(f"scale must be positive, got {scale}")
    direction_key, evaluation_key = jax.random.split(jax.random.fold_in(key, ASIDE))
    flat_eta, unravel = jax.flatten_util.ravel_pytree(eta)
    direction = jax.random.normal(direction_key, flat_eta.shape, flat_eta.dtype)

    def outcomes(sign: chex.Array) -> chex.Array:
        perturbed = unravel(flat_eta + sign * scale * direction)

        def advance(k: chex.Array, position: Position) -> Position:
            return windows.advance(problem, perturbed, position, jax.random.fold_in(key, k))[0]

        def segment(position: Position, bounds: tuple[chex.Array, chex.Array]) -> tuple[Position, chex.Array]:
            position = jax.lax.fori_loop(*bounds, advance, position)
            return position, evaluate(position, jax.random.fold_in(evaluation_key, bounds[1]))

        # A loop from one horizon to the next within a loop over horizons: a single copy each of the update and of the
        # evaluation is compiled, whatever the horizons are, and the evaluation needs no condition to be left out.
        ends = jnp.array(horizons, jnp.int32)
        return jax.lax.scan(segment, start, (jnp.concatenate([jnp.zeros(1, jnp.int32), ends[:-1]]), ends))[1]

    # One lifetime after the other: side by side, their products of matrices would be batched ones, which are slower.
    plus, minus = jax.lax.map(outcomes, jnp.array([1.0, -1.0], flat_eta.dtype))
    return jax.vmap(unravel)((plus - minus)[:, None] / (2.0 * scale) * direction)


def evolution_strategies(updates: int, scale: float, pairs: int = 1) -> Estimator:
    """Returns the estimator that tunes online by pairs of antithetic lifetimes, each a window long.

    Args:
      updates: n, inner updates of a window, and of each lifetime that branches off at its start, at least 1.
      scale: standard deviation of eta's perturbation, positive.
      pairs: how many directions are tried in a window, at least 1; they take turns.

    Returns:
      The estimator, of n updates and `n (1 + 2 pairs)` rollouts. It needs `outcome` of the inner problem, of the last
      batch. The gradient is that of minus the outcome.

    Raises:
      ValueError: if a number is out of its range.
    """
    if updates < 1 or pairs < 1 or not (math.isfinite(scale) and scale > 0.0):
        must = "updates and pairs must be at least 1 and scale positive"
        raise ValueError(f"{must}, got {updates}, {pairs} and {scale}")
    return Estimator(updates, updates * (1 + 2 * pairs), partial(_estimate, updates, scale, pairs))


def _estimate(
    updates: int,
    scale: float,
    pairs: int,
    problem: InnerProblem,
    eta: MetaParameters,
    start: Position,
    key: chex.PRNGKey,
) -> tuple[MetaParameters, Position, Metrics]:
    if problem.outcome is None:
        raise ValueError("evolution strategies need the function `outcome` of an inner problem")
    outcome_of = problem.outcome(start)

    def gradient(key: chex.PRNGKey) -> MetaParameters:
        uphill = lifetime_gradients(
            problem, lambda position, _: outcome_of(position.batch), (updates,), scale, eta, start, key
        )
        return jax.tree.map(lambda leaf: -leaf[0], uphill)

    keys = jax.random.split(key, pairs + 1)
    gradients = jax.lax.map(gradient, keys[1:])
    end, metrics = jax.lax.scan(partial(windows.advance, problem, eta), start, windows.window_keys(keys[0], updates))
    return jax.tree.map(lambda leaf: leaf.mean(0), gradients), end, metrics
