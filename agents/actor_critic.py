"""The advantage actor-critic loss and update, differentiable in the hyperparameters.

The loss's gradient is a semi-gradient: lambda-returns and advantages are constants in it. The update as a map still
depends on the hyperparameters and the parameters through them, and the meta-gradient has to see both. So the update
cuts nothing by `stop_gradient`: the targets are computed outside the function that the inner gradient differentiates.
Only the outer loss cuts its targets, since an agent follows `advantage × grad log pi`.
"""

from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import optax
import rlax
from jax.ad_checkpoint import checkpoint_name

from agents.networks import Network, Predictions
from agents.rollouts import Rollout
from metagrad.hyperparameters import Hyperparameters
from metagrad.windows import KEPT


class LearnerState(NamedTuple):
    """What an update changes, `x` in the equations: the parameters and the inner optimizer's state."""

    params: hk.Params
    optimizer_state: optax.OptState


class Targets(NamedTuple):
    """What the loss pulls the predictions towards; constants of its gradient.

    Attributes:
      returns: float [T, B], lambda-returns.
      advantages: float [T, B], returns minus values.
    """

    returns: chex.Array
    advantages: chex.Array


def targets(values: chex.Array, bootstrap_values: chex.Array, rollout: Rollout, hyper: Hyperparameters) -> Targets:
    """Computes lambda-returns and advantages.

        G_t = r_{t+1} + gamma_{t+1} ((1 - lambda_{t+1}) v_{t+1} + lambda_{t+1} G_{t+1}),    A_t = G_t - v_t

    `gamma` is zero after a terminal state. At a truncation `lambda` is zero and `v_{t+1}` is the value of the
    observation before the reset: the return bootstraps there and nothing of the next episode leaks in. Where a rollout
    has more truncations than the environment's time limit allows, the returns are NaN, which stops the training.

    Args:
      values: float [T, B], of the rollout's observations.
      bootstrap_values: float [1 + K, B], of its bootstrap observations.
      rollout: the data.
      hyper: `discount` and `lambda`, float [] each.

    Returns:
      The targets, differentiable in values and hyperparameters.
    """
    next_values = jnp.concatenate([values[1:], bootstrap_values[:1]])
    counted = jnp.cumsum(rollout.truncated, 0)
    for number, value in enumerate(bootstrap_values[1:], 1):
        next_values = jnp.where(rollout.truncated & (counted == number), value, next_values)
    unforeseen = rollout.truncated & (counted > len(bootstrap_values) - 1)
    # No constant: with JAX_DEBUG_NANS and JAX_DISABLE_JIT, NaN anywhere would end what never uses it.
    next_values = jnp.where(unforeseen, jnp.sqrt(-1.0 * unforeseen), next_values)
    # In one precision: the network's may be another than that of the hyperparameters.
    dtype = jnp.result_type(values, hyper["discount"], hyper["lambda"])
    discounts = (hyper["discount"] * (1.0 - rollout.terminated)).astype(dtype)
    lambdas = (hyper["lambda"] * (1.0 - rollout.truncated)).astype(dtype)

    def lambda_returns(*sequences: chex.Array) -> chex.Array:
        # Explicitly: rlax may change this default, and a cut here would silently zero the discount's meta-gradient.
        return rlax.lambda_returns(*sequences, stop_target_gradients=False)

    rewards, next_values = rollout.reward.astype(dtype), next_values.astype(dtype)
    returns = jax.vmap(lambda_returns, in_axes=1, out_axes=1)(rewards, discounts, next_values, lambdas)
    return Targets(returns, returns - values)


def loss(
    predictions: Predictions, actions: chex.Array, targets: Targets, costs: Hyperparameters
) -> tuple[chex.Array, dict[str, chex.Array]]:
    """Computes the actor-critic loss of some predictions, towards given targets.

        L = mean_t( - c_policy A_t log pi(a_t | s_t) + c_value (G_t - v_t)^2 / 2 - c_entropy H(pi(. | s_t)) )

    Args:
      predictions: of the rollout's observations, [T, B, ...].
      actions: int32 [T, B], or float [T, B, D].
      targets: constants for the gradient in `predictions`.
      costs: `policy_cost`, `value_cost` and `entropy_cost`, float [] each; a term without a cost is left out.

    Returns:
      The loss, float [], and its terms before their costs: `policy`, `value` and `entropy`.
    """
    chex.assert_equal_shape([predictions.value, *targets])
    chex.assert_equal_shape_prefix([predictions.value, actions], predictions.value.ndim)

    def flat(leaf: chex.Array) -> chex.Array:
        return leaf.reshape(predictions.value.size, *leaf.shape[predictions.value.ndim :])

    policy = jax.tree.map(flat, predictions.policy)
    log_probs = policy.log_prob(flat(actions))
    terms = {
        # The advantages arrive as constants of the inner gradient; a cut here would cut the meta-gradient as well.
        "policy": jnp.mean(-log_probs * targets.advantages.ravel()),
        "value": jnp.mean(rlax.l2_loss(predictions.value, targets.returns)),
        "entropy": -jnp.mean(policy.entropy()),
    }
    return weigh(terms, costs), terms


def weigh(terms: dict[str, chex.Array], costs: Hyperparameters) -> chex.Array:
    """Adds up the terms of a loss, each times its cost.

    Args:
      terms: `policy`, `value` and `entropy`, float [] each.
      costs: as in `loss`.

    Returns:
      The loss, float [].
    """
    weighted = [costs[f"{name}_cost"] * term for name, term in terms.items() if f"{name}_cost" in costs]
    return jnp.sum(jnp.stack(weighted))


def init(
    network: Network, optimizer: optax.GradientTransformation, observation: chex.ArrayTree, key: chex.PRNGKey
) -> LearnerState:
    """Initialises a learner.

    Args:
      network: the network.
      optimizer: as in `update`.
      observation: a batch of observations, [B, ...], for its shapes.
      key: for the parameters.

    Returns:
      The learner's first state.
    """
    params = network.init(key, observation)
    return LearnerState(params, optimizer.init(params))


def update(
    network: Network,
    optimizer: optax.GradientTransformation,
    learner: LearnerState,
    hyper: Hyperparameters,
    rollout: Rollout,
    exact_targets: bool = True,
) -> tuple[LearnerState, dict[str, chex.Array]]:
    """Does one optimizer step on the actor-critic loss, `U` in the equations.

    Args:
      network: the network.
      optimizer: gives the direction of the step; its length is `learning_rate`, so the optimizer has none of its own
        (`optax.scale_by_adam(eps_root=1e-10)`, not `optax.adam`), and its slope must be finite, as
        `metagrad.windows.InnerProblem` says.
      learner: the state to update.
      hyper: all hyperparameters, float [] each.
      rollout: the data.
      exact_targets: whether the map's derivative is whole. Otherwise, as many implementations have it, the values in
        the targets are constants of the derivative in the parameters too, which leaves the discount and lambda.

    Returns:
      The next state, and the loss terms. Both are differentiable in the learner's state and the hyperparameters.
    """
    # One evaluation serves the targets and, by its pullback, the gradient; only the latter treats targets as constants.
    predictions, pullback = jax.vjp(lambda params: network.apply(params, rollout.observation), learner.params)
    bootstrap_values = network.apply(learner.params, rollout.bootstrap_observation).value
    values = (predictions.value, bootstrap_values)
    constants = targets(*(values if exact_targets else jax.lax.stop_gradient(values)), rollout, hyper)
    slope, terms = jax.grad(loss, has_aux=True)(predictions, rollout.action, constants, hyper)
    # As small as the parameters, and dear to compute: the backward pass of the meta-gradient keeps it.
    gradient = checkpoint_name(pullback(slope)[0], KEPT)
    return descend(optimizer, learner, gradient, hyper), terms


def descend(
    optimizer: optax.GradientTransformation, learner: LearnerState, gradient: hk.Params, hyper: Hyperparameters
) -> LearnerState:
    """Takes one step of the optimizer.

    What `optax.inject_hyperparams` made arguments of the optimizer (Adam's `b1`, a norm to clip to) are hyperparameters
    like others: those among `hyper` go into the step, and can be tuned.

    Args:
      optimizer: as in `update`.
      learner: the state to step from.
      gradient: of the loss, like the parameters.
      hyper: `learning_rate`, float [], the step's length in units of the optimizer's direction; and arguments of the
        optimizer, by their names there.

    Returns:
      The next state.
    """
    state = _inject(learner.optimizer_state, hyper)
    direction, optimizer_state = optimizer.update(gradient, state, learner.params)
    params = jax.tree.map(
        lambda param, step: (param - hyper["learning_rate"] * step).astype(param.dtype), learner.params, direction
    )
    return LearnerState(params, optimizer_state)


def _inject(optimizer_state: optax.OptState, hyper: Hyperparameters) -> optax.OptState:
    """Replaces the injected arguments of an optimizer, wherever in a chain, by the hyperparameters of their names."""

    def is_injected(state: Any) -> bool:
        return isinstance(state, optax.InjectStatefulHyperparamsState)

    def inject(state: Any) -> Any:
        if not is_injected(state):
            return state
        values = {name: hyper.get(name, value) for name, value in state.hyperparams.items()}
        return state._replace(hyperparams=values)

    return jax.tree.map(inject, optimizer_state, is_leaf=is_injected)


def outer_loss(
    network: Network,
    hyper: Hyperparameters,
    learner: LearnerState,
    rollout: Rollout,
    constants: Targets | None = None,
) -> chex.Array:
    """Evaluates the parameters on data that they collected, `l` in the equations.

    Args:
      network: the network.
      hyper: the outer loss's own, fixed `discount`, `lambda` and costs. A term that does not count has no cost here,
        rather than a cost of zero: then nothing is computed for it in the backward pass.
      learner: whose parameters to evaluate.
      rollout: the data.
      constants: the targets, by an outer critic; without them, by the learner's own critic.

    Returns:
      The loss, float []. Its targets are constants.
    """
    predictions = network.apply(learner.params, rollout.observation)
    if constants is None:
        bootstrap_values = network.apply(learner.params, rollout.bootstrap_observation).value
        constants = targets(predictions.value, bootstrap_values, rollout, hyper)
    return loss(predictions, rollout.action, jax.lax.stop_gradient(constants), hyper)[0]
