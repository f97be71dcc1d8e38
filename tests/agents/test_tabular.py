"""The tabular testbed: its exact functions, the agent's expectations, and the true meta-gradients, in float64.

What has no randomness is held against finite differences and power series. The agent's update is held against its exact
expectation as the sum over all rollouts that a small process allows, and within standard errors as sampled.
"""

import dataclasses
import functools
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from differences import central_difference

from agents import actor_critic, networks, rollouts
from agents import tabular as agent_tabular
from agents.agent import Agent, Batch, inner_problem
from agents.hyperparameters import BIJECTIONS, actor_critic_hyperparameters
from envs import tabular
from envs.snake import Snake
from metagrad import hyperparameters, windows

HORIZON = 4
KEY = jax.random.key(3)
COSTS = {"policy_cost": 1.2, "value_cost": 0.6, "entropy_cost": 0.05}
INITIAL = {"discount": 0.8, "lambda": 0.7, "learning_rate": 0.4} | COSTS
OUTER = {"discount": 0.95, "lambda": 0.9, "policy_cost": 1.0, "value_cost": 0.3, "entropy_cost": 0.02}
OPTIMIZERS = {"sgd": optax.identity(), "adam": optax.scale_by_adam(eps_root=1e-6)}


pytestmark = pytest.mark.usefixtures("float64")


def _mdp():
    return tables.process()


def _policy(mdp, seed=0):
    return jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(mdp.num_actions), mdp.num_states))


def _agent(optimizer="sgd", num_envs=16):
    mdp = _mdp()
    return Agent(
        env=mdp,
        network=networks.tabular_network(mdp.num_states, mdp.num_actions, scale=0.7),
        optimizer=OPTIMIZERS[optimizer],
        meta_optimizer=optax.adam(1e-2),
        tuning=hyperparameters.tune(actor_critic_hyperparameters(INITIAL), list(BIJECTIONS)),
        estimator=None,
        outer_hyperparameters=OUTER,
        outer_critic=None,
        num_envs=num_envs,
        rollout_length=4,
    )


@functools.cache
def _start(optimizer):
    """Returns the exact problem's start after two updates, when the optimizer's state is no longer zero, and eta."""
    agent = _agent(optimizer)
    mdp = agent.env
    learner = actor_critic.init(agent.network, agent.optimizer, jnp.eye(mdp.num_states), jax.random.key(5))
    eta = hyperparameters.initial_meta_parameters(agent.tuning)
    position = agent_tabular.exact_start(agent, learner, jnp.asarray(mdp.start))
    advance = jax.jit(partial(windows.advance, agent_tabular.exact_problem(agent)))
    for _ in range(2):
        position, _ = advance(eta, position, KEY)
    return position, eta


def test_sampled_states_and_rewards_have_the_exact_distributions():
    agent = _agent(num_envs=20_000)
    mdp = agent.env
    params = agent.network.init(jax.random.key(0), None)
    policy = jax.nn.softmax(params["policy"]["table"])
    start = jnp.asarray(np.random.default_rng(2).dirichlet(np.ones(mdp.num_states - 1)))
    start = jnp.append(start, 0.0)
    learner = actor_critic.LearnerState(params, agent.optimizer.init(params))
    position = jax.jit(partial(agent_tabular.sampled_start, agent))(learner, start, KEY)
    rollout = position.batch.rollout
    exact = tabular.state_distributions(mdp, policy, start, agent.rollout_length)
    np.testing.assert_allclose(exact.sum(-1), 1.0, rtol=1e-12)
    frequencies = np.concatenate(
        [rollout.observation.mean(1), position.actor_state.environments.observation.mean(0)[None]]
    )
    errors = np.sqrt(exact * (1 - exact) / agent.num_envs)
    assert np.all(np.abs(frequencies - exact) <= 4 * errors)
    assert np.all(frequencies[:, -1] == 0.0)  # no action is ever taken in the terminal state
    states = rollout.observation.argmax(-1)
    np.testing.assert_array_equal(rollout.reward, mdp.rewards[states, rollout.action])
    assert abs(rollout.terminated.mean() - 0.15) < 4 * np.sqrt(0.15 * 0.85 / rollout.terminated.size)
    assert not rollout.truncated.any()


def _all_rollouts(mdp, policy, states, length):
    """Returns every possible rollout of one environment, with a leading axis, and their probabilities."""
    found = []

    def go_on(probability, state, steps):
        if len(steps) == length:
            found.append((probability, steps))
            return
        for action, following in itertools.product(range(mdp.num_actions), range(mdp.num_states)):
            reached = probability * policy[state, action] * mdp.transitions[state, action, following]
            step = (state, action, following)
            if mdp.is_terminal[following]:
                for first in np.flatnonzero(mdp.start):
                    go_on(reached * mdp.start[first], first, [*steps, step])
            else:
                go_on(reached, following, [*steps, step])

    for state in np.flatnonzero(states):
        go_on(states[state], state, [])
    probabilities = np.array([probability for probability, _ in found])
    state, action, following = np.moveaxis(np.array([steps for _, steps in found]), -1, 0)[..., None]
    last = following[:, -1:]
    batch = rollouts.Rollout(
        observation=jnp.eye(mdp.num_states)[state],
        action=jnp.asarray(action, jnp.int32),
        reward=jnp.asarray(mdp.rewards[state, action]),
        terminated=jnp.asarray(mdp.is_terminal[following]),
        truncated=jnp.zeros(action.shape, bool),
        bootstrap_observation=jnp.eye(mdp.num_states)[np.concatenate([last, last], 1)],
        episode_return=jnp.zeros(action.shape),
        episode_length=jnp.zeros(action.shape, jnp.int32),
    )
    return Batch(batch, None), probabilities


@pytest.mark.parametrize("exact_targets", [True, False])
def test_expectations_are_the_sums_over_all_rollouts(exact_targets):
    mdp = tables.process(termination=0.3, num_states=3, num_actions=2)
    network = networks.tabular_network(3, 2, scale=0.7)
    parts = {"env": mdp, "network": network, "rollout_length": 3, "exact_targets": exact_targets}
    agent = dataclasses.replace(_agent(num_envs=1), **parts)
    # A learner away from the one that collected, as everywhere in a derivative.
    collector, learner, direction = (
        actor_critic.init(network, agent.optimizer, jnp.eye(3), jax.random.key(seed)) for seed in range(3)
    )
    states = jnp.array([0.3, 0.7, 0.0])
    eta = hyperparameters.initial_meta_parameters(agent.tuning)

    def evaluate(problem, batch):
        def update(learner, eta):
            return problem.update(learner, eta, batch)[0].params

        return {
            "update": update(learner, eta),
            "by_learner": jax.jvp(lambda learner: update(learner, eta), (learner,), (direction,))[1],
            "by_eta": jax.jacfwd(update, argnums=1)(learner, eta),
            "outer_gradient": jax.grad(lambda learner: problem.outer_loss(learner, batch))(learner).params,
        }

    exact = agent_tabular.exact_start(agent, collector, states).batch
    batch, probabilities = _all_rollouts(mdp, np.asarray(exact.policy), np.asarray(states), agent.rollout_length)
    np.testing.assert_allclose(probabilities.sum(), 1.0, rtol=1e-12)
    outcomes = jax.jit(jax.vmap(partial(evaluate, inner_problem(agent))))(batch)
    sums = jax.tree.map(lambda leaf: np.tensordot(probabilities, leaf, 1), outcomes)
    expectations = jax.jit(partial(evaluate, agent_tabular.exact_problem(agent)))(exact)
    jax.tree.map(
        lambda total, expected: np.testing.assert_allclose(total, expected, rtol=1e-11, atol=1e-13),
        sums,
        expectations,
    )


@functools.cache
def _exact_gradients(optimizer):
    start, eta = _start(optimizer)
    problem = agent_tabular.exact_problem(_agent(optimizer))
    return jax.jit(lambda eta: windows.horizon_gradients(problem, HORIZON, eta, start, KEY)[0])(eta)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_exact_meta_gradients_agree_with_finite_differences_on_frozen_data(optimizer):
    agent = _agent(optimizer)
    start, eta = _start(optimizer)
    problem = agent_tabular.exact_problem(agent)
    advance = jax.jit(partial(windows.advance, problem))
    positions = [start]
    for _ in range(HORIZON):
        positions.append(advance(eta, positions[-1], KEY)[0])

    def all_predictions(learner):
        return agent.network.apply(learner.params, jnp.eye(agent.env.num_states))

    frozen = [
        agent_tabular.expected_targets(
            agent.env, all_predictions(position.learner_state).value, position.batch, agent.outer_hyperparameters
        )
        for position in positions
    ]

    @jax.jit
    def outer_losses(eta):
        learner, losses = start.learner_state, []
        for k in range(HORIZON):
            learner, _ = problem.update(learner, eta, positions[k].batch)
            batch, targets = positions[k + 1].batch, frozen[k + 1]
            losses.append(agent_tabular.expected_loss(all_predictions(learner), batch, targets, OUTER)[0])
        return jnp.stack(losses)

    for name in BIJECTIONS:
        difference = central_difference(outer_losses, eta, name)
        np.testing.assert_allclose(_exact_gradients(optimizer)[name], difference, rtol=1e-7, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_return_gradients_agree_with_finite_differences_on_data_that_move(optimizer):
    agent = _agent(optimizer)
    start, eta = _start(optimizer)
    problem = agent_tabular.exact_problem(agent)

    @jax.jit
    def returns(eta):
        position, values = start, []
        for _ in range(HORIZON):
            position, _ = windows.advance(problem, eta, position, KEY)
            values.append(tabular.discounted_return(agent.env, position.batch.policy, OUTER["discount"]))
        return jnp.stack(values)

    gradients = jax.jit(partial(agent_tabular.return_gradients, agent, HORIZON))(eta, start)
    for name in BIJECTIONS:
        difference = central_difference(returns, eta, name)
        np.testing.assert_allclose(gradients[name], difference, rtol=1e-7, atol=1e-11, err_msg=name)


def _study_inputs(num_envs=1):
    agent = agent_tabular.study_agent(num_envs)
    mdp = agent.env
    learner = actor_critic.init(agent.network, agent.optimizer, jnp.eye(mdp.num_states), KEY)
    return agent, learner, jnp.asarray(mdp.start), hyperparameters.initial_meta_parameters(agent.tuning)


def test_truth_is_computed_in_double_precision_in_a_process_of_single_precision():
    double = agent_tabular.truth(*_study_inputs(), HORIZON)
    with jax.enable_x64(False):
        inputs = _study_inputs()
        assert inputs[3]["discount"].dtype == jnp.float32
        single = agent_tabular.truth(*inputs, HORIZON)
        agent, learner, states, _ = inputs
        start = jax.jit(partial(agent_tabular.sampled_start, agent))(learner, states, KEY)
        assert start.batch.rollout.reward.dtype == start.batch.rollout.observation.dtype == jnp.float32
    jax.tree.map(np.testing.assert_array_equal, single, double)
    for gradients in double:
        for leaf in gradients.values():
            assert leaf.dtype == np.float64
            assert leaf.shape == (HORIZON,)


def test_other_environments_have_no_exact_problem():
    agent = Agent(Snake(), None, None, None, None, (), {}, None, 1, 1)
    with pytest.raises(TypeError, match="must be a Tabular, got Snake"):
        agent_tabular.exact_problem(agent)


def test_forward_modes_memory_does_not_grow_with_the_horizon():
    agent, learner, states, eta = _study_inputs(num_envs=64)
    start = agent_tabular.sampled_start(agent, learner, states, KEY)
    problem = inner_problem(agent)

    def memory(horizon):
        program = jax.jit(partial(windows.horizon_gradients, problem, horizon)).lower(eta, start, KEY).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert memory(32) <= 1.2 * memory(2)
