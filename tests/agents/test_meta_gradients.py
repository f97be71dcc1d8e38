"""Meta-gradients of the real agent on Snake against finite differences, in float64.

A finite difference moves `eta`, repeats the updates on the frozen batches of the nominal run, and evaluates the outer
loss with the advantages frozen at the nominal run's.
"""

import dataclasses
import functools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import actor_critic, training
from agents.agent import Agent, inner_problem, learning
from agents.hyperparameters import BIJECTIONS, actor_critic_hyperparameters
from agents.networks import actor_critic_network, value_network
from agents.outer_critic import OuterCritic
from envs.snake import Snake
from metagrad import hyperparameters, windows

HORIZON = 4
TOLERANCE = 1e-5
STEPS = dict.fromkeys(BIJECTIONS, 3e-4) | {"learning_rate": 1e-5, "policy_cost": 1e-5, "value_cost": 6e-4}
"""Of the finite differences. What moves the parameters far has small ones, which cross no rectifier's kink; what hardly
moves the policy has a large one, which is not lost in rounding."""

KEY = jax.random.key(11)
INITIAL = {
    "discount": 0.95,
    "lambda": 0.8,
    "policy_cost": 1.1,
    "value_cost": 0.6,
    "entropy_cost": 0.02,
    "learning_rate": 1e-2,
}
OUTER = {"discount": 0.98, "lambda": 0.9, "policy_cost": 1.0}
OPTIMIZERS = {
    "adam": optax.scale_by_adam(eps_root=1e-8),
    "rmsprop": optax.scale_by_rms(),  # as in experiments/runs/building.py
}


pytestmark = pytest.mark.usefixtures("float64")


TERMS = {"policy_only": OUTER, "all_terms": OUTER | {"value_cost": 0.4, "entropy_cost": 0.03}}


def _agent(optimizer="adam", outer="policy_only", shared_torso=False, critic=False):
    env = Snake(3, 3, time_limit=25)  # short episodes: terminations and truncations fall into the rollouts
    return Agent(
        env=env,
        network=actor_critic_network(4, 4, 8, 8, shared_torso, dtype=jnp.float64),
        optimizer=OPTIMIZERS[optimizer],
        meta_optimizer=optax.adam(1e-2),
        tuning=hyperparameters.tune(actor_critic_hyperparameters(INITIAL), list(BIJECTIONS)),
        estimator=None,
        outer_hyperparameters=TERMS[outer],
        outer_critic=OuterCritic(value_network(4, 8, dtype=jnp.float64), optax.adam(1e-2)) if critic else None,
        num_envs=8,
        rollout_length=10,
    )


@functools.cache
def _start(*description):
    """Returns a start after some training, when the optimizer's state and the values are no longer zero."""
    agent = _agent(*description)
    state = jax.jit(partial(training.init, learning(agent)))(jax.random.key(7))
    advance = jax.jit(partial(windows.advance, inner_problem(agent)))
    position = state.position
    for key in jax.random.split(state.key, 12):
        position, _ = advance(state.eta, position, key)
    return position, jax.tree.map(lambda leaf: leaf.astype(jnp.float64), state.eta)


def _gradients(agent, start, eta):
    """Returns g_1, ..., g_n of the library's forward mode."""
    problem = inner_problem(agent)
    return jax.jit(lambda eta: windows.horizon_gradients(problem, HORIZON, eta, start, KEY)[0])(eta)


@functools.cache
def _exact_gradients(*description):
    return _gradients(_agent(*description), *_start(*description))


def _finite_differences(*description):
    """Returns g_1, ..., g_n by central differences with one Richardson extrapolation."""
    agent = _agent(*description)
    start, eta = _start(*description)
    problem = inner_problem(agent)
    advance = jax.jit(partial(windows.advance, problem))
    positions = [start]
    for k in range(HORIZON):
        positions.append(advance(eta, positions[-1], jax.random.fold_in(KEY, k))[0])

    @jax.jit
    def frozen_targets(position):
        if agent.outer_critic is not None:
            return position.batch.outer_targets
        rollout, params = position.batch.rollout, position.learner_state.params
        values = agent.network.apply(params, rollout.observation).value
        bootstrap_values = agent.network.apply(params, rollout.bootstrap_observation).value
        return actor_critic.targets(values, bootstrap_values, rollout, agent.outer_hyperparameters)

    frozen = [frozen_targets(position) for position in positions]

    update = jax.jit(problem.update)

    @jax.jit
    def outer_loss(params, rollout, targets):
        predictions = agent.network.apply(params, rollout.observation)
        return actor_critic.loss(predictions, rollout.action, targets, agent.outer_hyperparameters)[0]

    def outer_losses(eta):
        learner, losses = start.learner_state, []
        for k in range(HORIZON):
            learner, _ = update(learner, eta, positions[k].batch)
            losses.append(outer_loss(learner.params, positions[k + 1].batch.rollout, frozen[k + 1]))
        return np.array(losses)

    def difference(name, step):
        up, down = ({**eta, name: eta[name] + sign * step} for sign in (1, -1))
        return (outer_losses(up) - outer_losses(down)) / (2 * step)

    return {name: (4 * difference(name, step / 2) - difference(name, step)) / 3 for name, step in STEPS.items()}


@pytest.mark.parametrize(
    "description",
    [
        ("adam",),
        ("rmsprop", "all_terms", True, True),  # a shared torso and an outer critic
    ],
)
def test_every_component_agrees_with_finite_differences(description):
    exact, differences = _exact_gradients(*description), _finite_differences(*description)
    for name in BIJECTIONS:
        # A component that is exactly zero (the value cost's at horizon 1) must come out as exactly zero.
        np.testing.assert_allclose(exact[name], differences[name], rtol=TOLERANCE, atol=0.0, err_msg=name)
        assert np.all(differences[name][1:] != 0.0), name  # as those of a path that is cut


def test_the_rollouts_of_these_tests_hold_terminations_and_truncations():
    start, _ = _start("adam")
    assert start.batch.rollout.terminated.any()
    assert start.batch.rollout.truncated.any()


def test_without_exact_targets_the_values_in_them_are_constants():
    cut = _gradients(dataclasses.replace(_agent("adam"), exact_targets=False), *_start("adam"))
    # The value cost reaches the policy through the values alone, and those of the first update do not depend on eta.
    assert np.all(cut["value_cost"] == 0.0)
    exact = _exact_gradients("adam")["discount"]
    np.testing.assert_allclose(cut["discount"][0], exact[0], rtol=1e-9)
    assert np.all(np.abs(cut["discount"][1:] / exact[1:] - 1.0) > 1e-4)
