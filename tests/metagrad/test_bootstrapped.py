"""Bootstrapped meta-gradients, on a problem that can be written out, and those of the agent by finite differences."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from differences import central_difference

from agents import training
from agents.agent import inner_problem, learning
from metagrad import InnerProblem, Position, advance, bootstrapped

KEY = jax.random.key(2)


pytestmark = pytest.mark.usefixtures("float64")


def _quadratic(step=0.3):
    """A learner that moves towards its batch, whose outer loss has it at one."""
    return InnerProblem(
        update=lambda x, eta, batch: (x + eta["rate"] * (batch - x), {"x": x}),
        collect=lambda x, eta, actor, key: (actor + 1, 1.0 / (1.0 + actor)),
        outer_loss=lambda x, batch: jnp.square(x - 1.0) / 2.0,
        descend=lambda x, eta, slope: x - step * slope,
        distance=lambda x, target, batch: jnp.square(x - target) / 2.0,
    )


@pytest.mark.parametrize(("updates", "further"), [(1, 0), (2, 0), (1, 2), (3, 2)])
def test_closed_form_on_a_quadratic(updates, further):
    rate, start = 0.2, Position(jnp.float64(0.5), jnp.float64(0.0), jnp.float64(2.0))
    estimator = bootstrapped(updates, further)
    assert estimator[:2] == (updates + further, updates + further)
    gradient, end, metrics = estimator.estimate(_quadratic(), {"rate": jnp.float64(rate)}, start, KEY)
    x, slope, path = 0.5, 0.0, []
    for k in range(updates + further):
        batch = 2.0 if k == 0 else 1.0 / k
        path.append(x)
        if k < updates:
            slope = (1.0 - rate) * slope + batch - x
        x += rate * (batch - x)
        if k == updates - 1:
            reached = x
    target = x - 0.3 * (x - 1.0)
    np.testing.assert_allclose(gradient["rate"], (reached - target) * slope, rtol=1e-12)
    np.testing.assert_allclose(end.learner_state, x, rtol=1e-12)
    np.testing.assert_allclose(metrics["x"], path, rtol=1e-12)
    assert end.actor_state == updates + further


def test_a_problem_without_the_functions_is_told():
    problem = _quadratic()._replace(distance=None)
    with pytest.raises(ValueError, match="need the functions `descend` and `distance`"):
        bootstrapped(1, 1).estimate(problem, {"rate": 0.1}, Position(0.5, 0.0, 2.0), KEY)


def test_the_agents_agrees_with_finite_differences():
    """Batches and target are those of the nominal run."""
    agent = tables.agent(optimizer=optax.scale_by_adam(eps_root=1e-8))
    agent = dataclasses.replace(agent, target_value_cost=0.3)
    problem = inner_problem(agent)
    state = jax.jit(partial(training.init, learning(agent)))(jax.random.key(3))
    eta = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), state.eta)
    step = jax.jit(partial(advance, problem))
    positions = [step(eta, state.position, jax.random.key(4))[0]]
    for k in range(4):
        positions.append(step(eta, positions[-1], jax.random.fold_in(KEY, k))[0])
    last = positions[-1].learner_state

    def loss(params):
        return problem.outer_loss(last._replace(params=params), positions[-1].batch)

    def predictions(learner):
        here = agent.network.apply(learner.params, positions[-1].batch.rollout.observation)
        return np.asarray(jax.nn.softmax(here.policy.logits)), np.asarray(here.value)

    (theirs, values), (ours, others) = predictions(last), predictions(positions[0].learner_state)
    expected = (theirs * np.log(theirs / ours)).sum(-1).mean() + 0.3 * ((values - others) ** 2).mean() / 2.0
    far = problem.distance(positions[0].learner_state, last, positions[-1].batch)
    np.testing.assert_allclose(far, expected, rtol=1e-9)

    target = problem.descend(last, eta, last._replace(params=jax.grad(loss)(last.params)))

    @jax.jit
    def distance(eta):
        learner = positions[0].learner_state
        for k in range(2):
            learner, _ = problem.update(learner, eta, positions[k].batch)
        return problem.distance(learner, target, positions[2].batch)

    gradient, end, _ = jax.jit(partial(bootstrapped(2, 2).estimate, problem))(eta, positions[0], KEY)
    for name in eta:
        assert gradient[name] != 0.0
        np.testing.assert_allclose(gradient[name], central_difference(distance, eta, name), rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-9), end.learner_state, last)
