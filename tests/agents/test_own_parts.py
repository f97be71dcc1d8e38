"""Agents that are put together from parts of your own: their meta-gradients, against finite differences in float64."""

import dataclasses
from functools import partial

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import own_environments
import pytest
import tables

from agents import training
from agents.agent import inner_problem, learning
from agents.networks import actor_critic_network, value_network
from agents.outer_critic import OuterCritic
from examples import own_agent, own_hyperparameter
from metagrad import POSITIVE, REAL, UNIT, Hyperparameter, horizon_gradients, hyperparameters, meta_gradient, mixing
from metagrad.windows import advance, combine

HORIZON = 3
KEY = jax.random.key(5)


pytestmark = pytest.mark.usefixtures("float64")


def _tuning(agent, *names):
    return dataclasses.replace(agent, tuning=hyperparameters.tune(agent.tuning.hyperparameters, names))


def _injected():
    """Clips to a norm that the gradients exceed, and has two constants of its optimizer for hyperparameters."""
    clip = optax.inject_hyperparams(optax.clip_by_global_norm)(max_norm=0.01)
    agent = own_hyperparameter.momentum(tables.agent())
    agent = dataclasses.replace(agent, optimizer=optax.chain(clip, agent.optimizer))
    return agent.with_hyperparameters({"max_norm": Hyperparameter(0.01, POSITIVE)})


def _weighing():
    """Discounts by a network, and weighs rewards by a vector for the steps, and by a matrix."""
    agent = own_hyperparameter.discount_of_state(tables.agent())
    discounting = agent.update

    def update(learner, hyper, rollout):
        rollout = rollout._replace(reward=rollout.reward * hyper["steps"][:, None] + hyper["bonus"])
        return discounting(learner, hyper, rollout)

    weights = {
        "steps": Hyperparameter(np.linspace(0.5, 1.5, tables.LENGTH), POSITIVE),
        "bonus": Hyperparameter(np.zeros((tables.LENGTH, tables.NUM_ENVS)), REAL),
    }
    return dataclasses.replace(agent, update=update).with_hyperparameters(weights)


def _gaussian():
    env = own_environments.Point()
    return tables.agent(
        env=env,
        network=actor_critic_network(2, 4, 8, 8, num_axes=1, continuous=True),
        outer_critic=OuterCritic(value_network(4, 8, num_axes=1), optax.adam(1e-2)),
        optimizer=optax.scale_by_adam(eps_root=1e-8),
        rollout_length=9,
    )


AGENTS = {
    "ppo": lambda: _tuning(
        own_agent.ppo(tables.agent(), minibatches=2), "discount", "lambda", "value_cost", "learning_rate"
    ),
    "injected": lambda: _tuning(_injected(), "b1", "max_norm", "entropy_cost"),
    "arrays": lambda: _tuning(_weighing(), "discount_of_state", "steps", "bonus"),
    "gaussian": lambda: _tuning(_gaussian(), "discount", "entropy_cost"),
}


@pytest.mark.parametrize("name", sorted(AGENTS))
def test_meta_gradients_agree_with_finite_differences(name):
    """Of horizons with different weights, along two directions of eta; the batches are frozen."""
    agent = AGENTS[name]()
    problem = inner_problem(agent)
    state = jax.jit(partial(training.init, learning(agent)))(jax.random.key(3))
    eta = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), state.eta)
    step = jax.jit(partial(advance, problem))
    positions = [step(eta, state.position, jax.random.key(4))[0]]
    for k in range(HORIZON):
        positions.append(step(eta, positions[-1], jax.random.fold_in(KEY, k))[0])
    flat, unravel = jax.flatten_util.ravel_pytree(eta)

    weights = mixing(HORIZON, decay=0.7)

    @jax.jit
    def loss(flat):
        learner, total = positions[0].learner_state, 0.0
        for k, weight in enumerate(weights):
            learner, _ = problem.update(learner, unravel(flat), positions[k].batch)
            total += weight * problem.outer_loss(learner, positions[k + 1].batch)
        return total

    gradient, _, _ = jax.jit(partial(meta_gradient, problem, weights))(eta, positions[0], KEY)
    assert all(any(np.any(leaf) for leaf in jax.tree.leaves(gradient[name])) for name in eta)  # each has a part in it
    exact = jax.flatten_util.ravel_pytree(gradient)[0]
    every, _, _ = jax.jit(partial(horizon_gradients, problem, HORIZON))(eta, positions[0], KEY)
    forward, _ = jax.flatten_util.ravel_pytree(combine(weights, every))
    np.testing.assert_allclose(forward, exact, rtol=1e-8, atol=1e-14)
    for direction in np.random.default_rng(0).normal(size=(2, flat.size)):

        def difference(step, direction=direction):
            return (loss(flat + step * direction) - loss(flat - step * direction)) / (2 * step)

        expected = (4 * difference(5e-5) - difference(1e-4)) / 3
        assert expected != 0.0
        np.testing.assert_allclose(exact @ direction, expected, rtol=1e-5)


def test_the_score_of_the_data_is_the_policys():
    """Uncut: sampling-corrected estimators differentiate it, each action's logarithm once."""
    agent = _gaussian()
    state = jax.jit(partial(training.init, learning(agent)))(jax.random.key(3))
    learner, _, batch = state.position
    policy = agent.network.apply(learner.params, batch.rollout.observation).policy
    away = (batch.rollout.action - policy.mean) / jnp.exp(policy.log_std)
    expected = -0.5 * away**2 - policy.log_std - 0.5 * jnp.log(2.0 * jnp.pi)
    np.testing.assert_allclose(inner_problem(agent).log_prob(learner, batch), jnp.sum(expected), rtol=1e-6)


def test_b1_is_the_optimizers():
    """A step with the hyperparameter's first value is that of plain Adam with it, and another value's is another's."""
    agent = _tuning(tables.agent(optimizer=optax.scale_by_adam(b1=0.7, eps_root=1e-10)))
    own = _tuning(own_hyperparameter.momentum(tables.agent()))
    state = jax.jit(partial(training.init, learning(agent)))(jax.random.key(3))
    started = jax.jit(partial(training.init, learning(own)))(jax.random.key(3))
    own = dataclasses.replace(own, tuning=own.tuning.starting_from({"b1": 0.7}))
    positions = [state.position, started.position]
    steps = [jax.jit(partial(advance, inner_problem(one), {})) for one in (agent, own)]
    for key in jax.random.split(KEY, 3):
        positions = [step(position, key) for step, position in zip(steps, positions, strict=True)]
        positions = [position for position, _ in positions]
    plain, injected = (position.learner_state.params for position in positions)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), plain, injected)
    assert UNIT.inverse(0.9, 0.7) == pytest.approx(np.log(0.7 / 0.3) - np.log(0.9 / 0.1))
