"""Sampling-corrected meta-gradients: what holding the data constant leaves out, added back.

A horizon gradient `g_n` takes the batches as constants, though the learner that eta moves collected them. By the score
function, what is missing of the slope of the expected outcome `R` of `tau_n`, which is to be raised, is the mean of

    R(tau_n) sum_{k=1}^{n-1} d/d eta log p(tau_k | theta_k(eta)),     log p = sum of log pi over the batch's actions

(Al-Shedivat et al., 2018, "Continuous Adaptation via Meta-Learning in Nonstationary and Competitive Environments";
Rothfuss et al., 2019, "ProMP", arXiv 1810.06784; Vuorio et al., 2022, arXiv 2209.11303). `tau_0` and the window's start
are constants of this too. Where the outer loss's expected gradient is that of `-R`, corrected gradients have no bias
with any number of environments. Their noise is the price: it does not fall as environments are added. The score is a
sum over all actions, so its variance grows with their number, while that of the mean outcome falls.
"""

from functools import partial

import chex
import jax
import jax.numpy as jnp

from metagrad import windows
from metagrad.estimators import Estimator
from metagrad.windows import Batch, InnerProblem, LearnerState, MetaParameters, Metrics, Position, Weights


def sampling_corrected(weights: Weights, coefficient: float = 1.0) -> Estimator:
    """Returns the estimator `sum_k w_k (g_k + coefficient × correction_k)`.

    Args:
      weights: of the horizons 1, ..., n, such as `mixing(n)`. The first horizon needs no correction.
      coefficient: of the correction, in [0, 1]; less than all of it trades noise for bias.

    Returns:
      The estimator, of n updates and as many rollouts. It needs `log_prob` and `outcome` of the inner problem.

    Raises:
      ValueError: if the coefficient is out of its range.
    """
    if not 0.0 <= coefficient <= 1.0:
        raise ValueError(f"coefficient must be in [0, 1], got {coefficient}")
    return Estimator(len(weights), len(weights), partial(_estimate, weights, coefficient))


def _estimate(
    weights: Weights,
    coefficient: float,
    problem: InnerProblem,
    eta: MetaParameters,
    start: Position,
    key: chex.PRNGKey,
) -> tuple[MetaParameters, Position, Metrics]:
    corrected, corrected_start = with_scores(problem, coefficient, start)
    gradient, end, metrics = windows.meta_gradient(corrected, weights, eta, corrected_start, key)
    learner, _ = end.learner_state
    return gradient, end._replace(learner_state=learner), metrics


def with_scores(problem: InnerProblem, coefficient: float, start: Position) -> tuple[InnerProblem, Position]:
    """Restates a window of an inner problem so that its horizon gradients are the corrected ones.

    The learner carries `sum_k log p(tau_k | theta_k)` of the batches that it has learned from, and the outer loss has
    this sum, times the outcome as a constant, subtracted.

    Args:
      problem: with `log_prob` and `outcome`.
      coefficient: as in `sampling_corrected`.
      start: of the window.

    Returns:
      The problem of this window alone, and its start; learner states are pairs with the sum, float [].

    Raises:
      ValueError: if the problem lacks one of the functions.
    """
    log_prob, outcome = problem.log_prob, problem.outcome
    if log_prob is None or outcome is None:
        raise ValueError("sampling-corrected meta-gradients need the functions `log_prob` and `outcome` of a problem")
    start = jax.lax.stop_gradient(start)
    outcome_of = outcome(start)
    Carried = tuple[LearnerState, chex.Array]

    def update(carried: Carried, eta: MetaParameters, batch: Batch) -> tuple[Carried, Metrics]:
        learner, log_probs = carried
        following, metrics = problem.update(learner, eta, batch)
        return (following, log_probs + log_prob(learner, batch)), metrics

    def collect(carried: Carried, *rest: chex.ArrayTree) -> tuple[chex.ArrayTree, Batch]:
        return problem.collect(carried[0], *rest)

    def outer_loss(carried: Carried, batch: Batch) -> chex.Array:
        learner, log_probs = carried
        return problem.outer_loss(learner, batch) - coefficient * outcome_of(batch) * log_probs

    like = jax.eval_shape(log_prob, start.learner_state, start.batch)
    first = start._replace(learner_state=(start.learner_state, jnp.zeros(like.shape, like.dtype)))
    return InnerProblem(update, collect, outer_loss), first
