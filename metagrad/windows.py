"""Meta-gradients through a window of inner updates, in reverse and in forward mode, for any inner problem.

A window starts from a learner state `x_0` and a batch `tau_0` already collected with it. For k = 0, ..., n-1 it updates
`x_{k+1} = U(x_k, eta, tau_k)`, collects `tau_{k+1}` with `x_{k+1}`, and evaluates the outer loss
`l(x_{k+1}, tau_{k+1})`; `x_n` and `tau_n` open the next window. The horizon-k meta-gradient is

    g_k = d/d eta l(x_k(eta), tau_k),   x_0 and every batch held constant,

and an estimator is a weighting of horizons (see `estimators`). `U` is differentiated as a map, optimizer state
included; collecting data is not differentiated. Both modes give the same numbers: reverse mode costs one backward pass
for one weighting, forward mode gives every horizon's gradient at once with memory that does not grow with n.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.flatten_util
import jax.numpy as jnp

Weights = tuple[float, ...]
"""Weights of the horizons 1, ..., n: n finite floats that sum to one."""

KEPT = "kept"
"""Name that an update may give, by `jax.ad_checkpoint.checkpoint_name`, to arrays better kept than computed again."""

LearnerState = Any
ActorState = Any
Batch = Any
MetaParameters = Any
Metrics = Any


class InnerProblem(NamedTuple):
    """What learns, as pure functions: three, and others that some estimators ask for.

    Attributes:
      update: `U`, from (learner state, eta, batch) to (next learner state, metrics). Differentiated with respect to the
        learner state's floating-point leaves and eta, so gradients must flow wherever the update depends on them, and
        every slope must be finite. That of Adam's square root is not where a gradient has always been zero, as behind
        a rectifier that is never active: from the second update of a window on, the meta-gradient is NaN. With a small
        number under the root, as in `optax.scale_by_adam(eps_root=1e-10)`, it is finite.
      collect: from (learner state, eta, actor state, key) to (next actor state, batch). Never differentiated; eta is
        there for hyperparameters of acting.
      outer_loss: `l`, from (learner state, batch) to a float []; for `horizon_gradients` also to a tree of them, whose
        gradients then come from the same pass.
      descend: from (learner state, eta, gradient of the outer loss as `outer_gradient` returns it) to the learner state
        after a step down; for bootstrapped meta-gradients.
      distance: from (learner state, target, batch) to how far the learner is from another, float []; likewise.
      log_prob: from (learner state, batch) to the logarithm of the probability of the batch's actions, all together,
        float []; for estimators that correct for how the data depend on the learner.
      outcome: from a window's start, a `Position`, to a function that tells of a batch how good it is, float [], less
        what was to be expected at the start; for estimators that do not hold the data constant. Batches between the two
        must not matter. Its expected slope in the learner should be minus that of the outer loss.
    """

    update: Callable[[LearnerState, MetaParameters, Batch], tuple[LearnerState, Metrics]]
    collect: Callable[[LearnerState, MetaParameters, ActorState, chex.PRNGKey], tuple[ActorState, Batch]]
    outer_loss: Callable[[LearnerState, Batch], Any]
    descend: Callable[[LearnerState, MetaParameters, LearnerState], LearnerState] | None = None
    distance: Callable[[LearnerState, LearnerState, Batch], chex.Array] | None = None
    log_prob: Callable[[LearnerState, Batch], chex.Array] | None = None
    outcome: Callable[["Position"], Callable[[Batch], chex.Array]] | None = None


class Position(NamedTuple):
    """Where learning stands between two updates: the learner, the actor, and the batch collected with this learner."""

    learner_state: LearnerState
    actor_state: ActorState
    batch: Batch


def advance(
    problem: InnerProblem, eta: MetaParameters, position: Position, key: chex.PRNGKey
) -> tuple[Position, Metrics]:
    """Does one inner update and collects the next batch.

    Args:
      problem: the inner problem.
      eta: meta-parameters.
      position: where to start.
      key: for the next batch.

    Returns:
      The next position and the update's metrics.
    """
    learner_state, metrics = problem.update(position.learner_state, eta, position.batch)
    return _collect(problem, learner_state, eta, position.actor_state, key), metrics


def outer_gradient(problem: InnerProblem, position: Position) -> LearnerState:
    """Returns the gradient of the outer loss in the learner, like it; counters and keys in it stay as they are."""
    floats, rebuild = _split_floats(position.learner_state)
    return rebuild(jax.grad(lambda floats: problem.outer_loss(rebuild(floats), position.batch))(floats))


def meta_gradient(
    problem: InnerProblem, weights: Weights, eta: MetaParameters, start: Position, key: chex.PRNGKey
) -> tuple[MetaParameters, Position, Metrics]:
    """Estimates the meta-gradient `sum_k w_k g_k` of one window in reverse mode.

    The updates between the first and the last are rematerialised in the backward pass, so that memory grows with the
    horizon by a learner state and a batch, not by everything that an update computes. The first is not differentiated
    with respect to `x_0`; the last is the first to be transposed, so it keeps what it computed, and it stands outside
    the loop, where nothing is computed for the parameters that the outer loss ignores.

    Args:
      problem: the inner problem.
      weights: of the horizons 1, ..., n.
      eta: meta-parameters, a tree of floats.
      start: `x_0`, the actor's state and `tau_0`.
      key: the window's randomness; `tau_k` uses `fold_in(key, k - 1)`, so a longer window begins like a shorter one.

    Returns:
      The meta-gradient, like `eta`; the window's end; the metrics of the n updates, each with a leading axis n.
    """
    start = jax.lax.stop_gradient(start)
    keys = window_keys(key, len(weights))

    def evaluate_and_update(
        learner_state: LearnerState, eta: MetaParameters, batch: Batch, weight: chex.Numeric
    ) -> tuple[LearnerState, tuple[chex.Array, Metrics]]:
        # Together, since both see the same parameters and data: what they compute alike is computed, and then
        # rematerialised, once. Horizons that no weight asks for (all but multi-step's last) are not evaluated.
        loss = weight * problem.outer_loss(learner_state, batch) if any(weights[:-1]) else jnp.zeros(())
        learner_state, metrics = problem.update(learner_state, eta, batch)
        return learner_state, (loss, metrics)

    rematerialised = jax.checkpoint(evaluate_and_update, policy=jax.checkpoint_policies.save_only_these_names(KEPT))

    def window_loss(eta: MetaParameters) -> tuple[chex.Array, tuple[Position, Metrics]]:
        def step(body: Callable, position: Position, inputs: tuple) -> tuple[Position, tuple[chex.Array, Metrics]]:
            key, weight = inputs
            learner_state, evaluated = body(position.learner_state, eta, position.batch, weight)
            return _collect(problem, learner_state, eta, position.actor_state, key), evaluated

        position, first_metrics = advance(problem, eta, start, keys[0])
        loss, metrics = jnp.zeros(()), [_with_axis(first_metrics)]
        if len(weights) > 2:
            inputs = keys[1:-1], jnp.array(weights[:-2])
            position, (losses, between) = jax.lax.scan(partial(step, rematerialised), position, inputs)
            loss += jnp.sum(losses)
            metrics.append(between)
        if len(weights) > 1:
            position, (last_but_one, last_metrics) = step(evaluate_and_update, position, (keys[-1], weights[-2]))
            loss += last_but_one
            metrics.append(_with_axis(last_metrics))
        loss += weights[-1] * problem.outer_loss(position.learner_state, position.batch)
        return loss, (position, _concatenate(metrics))

    gradient, (end, metrics) = jax.grad(window_loss, has_aux=True)(eta)
    return gradient, end, metrics


def horizon_gradients(
    problem: InnerProblem, horizon: int, eta: MetaParameters, start: Position, key: chex.PRNGKey
) -> tuple[MetaParameters, Position, Metrics]:
    """Computes every `g_k`, k = 1, ..., n, of one window in one forward pass.

    Carries the sensitivity `J_k = d x_k / d eta` along, `J_{k+1} = dU/dx J_k + dU/d eta` with `J_0 = 0`, and reads
    `g_k = dl/dx J_k` off at each horizon. The first update is not differentiated with respect to `x_0`.

    Args:
      problem: the inner problem.
      horizon: n, at least 1.
      eta: meta-parameters, a tree of floats; the cost grows with their number.
      start: `x_0`, the actor's state and `tau_0`.
      key: the window's randomness, used as `meta_gradient` does.

    Returns:
      The meta-gradients, like `eta` with a leading axis n, or a tree of such where the outer loss is a tree of losses;
      the window's end; the metrics of the n updates, each with a leading axis n.
    """
    flat_eta, unravel = jax.flatten_util.ravel_pytree(eta)
    directions = jax.vmap(unravel)(jnp.eye(flat_eta.size, dtype=flat_eta.dtype))

    def body(carry: tuple[Position, list | None], key: chex.PRNGKey) -> tuple[tuple[Position, list], tuple]:
        position, sensitivity = carry
        floats, rebuild = _split_floats(position.learner_state)

        def update(eta: MetaParameters, floats: list = floats) -> tuple[list, tuple[LearnerState, Metrics]]:
            learner_state, metrics = problem.update(rebuild(floats), eta, position.batch)
            return _split_floats(learner_state)[0], (learner_state, metrics)

        # `x_0` is a constant: by a sensitivity of zero, a slope that is infinite there would become NaN.
        inputs = (eta,) if sensitivity is None else (eta, floats)
        tangents = (directions,) if sensitivity is None else (directions, sensitivity)
        _, push, (learner_state, metrics) = jax.linearize(update, *inputs, has_aux=True)
        # One direction after another: batched, the products of matrices would need transposed copies of their operands.
        sensitivity = jax.lax.map(lambda tangent: push(*tangent), tangents)
        following = _collect(problem, learner_state, eta, position.actor_state, key)
        floats, rebuild = _split_floats(learner_state)
        losses, pullback = jax.vjp(lambda floats: problem.outer_loss(rebuild(floats), following.batch), floats)

        def gradient(chosen: Any) -> MetaParameters:
            (slope,) = pullback(chosen)
            products = [
                jnp.tensordot(tangent, part, part.ndim) for tangent, part in zip(sensitivity, slope, strict=True)
            ]
            return unravel(jnp.sum(jnp.stack(products), 0).astype(flat_eta.dtype))

        gradients = [gradient(chosen) for chosen in _indicators(losses)]
        return (following, sensitivity), (jax.tree.unflatten(jax.tree.structure(losses), gradients), metrics)

    keys = window_keys(key, horizon)
    carry, first = body((start, None), keys[0])
    parts = [_with_axis(first)]
    if horizon > 1:
        carry, later = jax.lax.scan(body, carry, keys[1:])
        parts.append(later)
    gradients, metrics = _concatenate(parts)
    return gradients, carry[0], metrics


def combine(weights: Weights, gradients: MetaParameters) -> MetaParameters:
    """Weighs horizon gradients into an estimator's meta-gradient.

    Args:
      weights: of the horizons 1, ..., n.
      gradients: a tree with a leading axis of n or more horizons, as `horizon_gradients` returns it.

    Returns:
      `sum_k w_k g_k`, the tree without its leading axis.
    """
    return jax.tree.map(lambda leaf: jnp.tensordot(jnp.array(weights, leaf.dtype), leaf[: len(weights)], 1), gradients)


def _collect(
    problem: InnerProblem,
    learner_state: LearnerState,
    eta: MetaParameters,
    actor_state: ActorState,
    key: chex.PRNGKey,
) -> Position:
    """Collects the next batch; data are constants of the meta-gradient: cut here, whatever `collect` does inside."""
    data = problem.collect(*jax.lax.stop_gradient((learner_state, eta)), actor_state, key)
    return Position(learner_state, *jax.lax.stop_gradient(data))


def _with_axis(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], tree)


def _concatenate(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees)


def window_keys(key: chex.PRNGKey, number: int) -> chex.PRNGKey:
    """Returns the keys of a window's batches: that of horizon k depends on k alone, not on their number."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(number))


def _indicators(tree: Any) -> list[Any]:
    """Returns a tree for each leaf: one there, zero elsewhere."""
    leaves, structure = jax.tree.flatten(tree)
    return [
        jax.tree.unflatten(structure, [jnp.full_like(leaf, place == chosen) for place, leaf in enumerate(leaves)])
        for chosen in range(len(leaves))
    ]


def _split_floats(tree: Any) -> tuple[list, Callable[[list], Any]]:
    """Splits off the floating-point leaves, the ones that have derivatives; counters and keys stay in the rebuilder."""
    leaves, structure = jax.tree.flatten(tree)
    is_float = [jnp.issubdtype(jnp.result_type(leaf), jnp.inexact) for leaf in leaves]

    def rebuild(floats: list) -> Any:
        remaining = iter(floats)
        merged = [next(remaining) if chosen else leaf for chosen, leaf in zip(is_float, leaves, strict=True)]
        return jax.tree.unflatten(structure, merged)

    return [leaf for chosen, leaf in zip(is_float, leaves, strict=True) if chosen], rebuild
