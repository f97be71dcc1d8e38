"""The critic of the outer loss, held against the exact values of a process."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables

from agents import networks, tabular, training
from agents.agent import inner_problem, learning
from agents.networks import actor_critic_network, value_network
from agents.outer_critic import OuterCritic
from envs.tabular import state_values
from metagrad import estimators, windows

OUTER_DISCOUNT = 0.99


@pytest.fixture(scope="module")
def agent():
    """The agent of the tabular study, whose inner discount is 0.6, with an outer critic; its policy never changes."""
    agent = tabular.study_agent(64)
    return dataclasses.replace(
        agent,
        outer_critic=OuterCritic(networks.tabular_critic(agent.env.num_states), optax.sgd(1.0)),
        tuning=agent.tuning.starting_from({"policy_cost": 0.0, "entropy_cost": 0.0}),
    )


@pytest.fixture(scope="module")
def trained(agent):
    """The agent before and after 600 updates with single-step windows."""
    agent = dataclasses.replace(agent, estimator=estimators.from_weights((1.0,)), meta_optimizer=optax.sgd(0.0))
    before = jax.jit(partial(training.init, learning(agent)))(jax.random.key(0))
    return agent, before, jax.jit(partial(training.train, learning(agent)))(before, 600)[0]


def test_it_learns_the_values_under_the_outer_discount(trained):
    agent, _, after = trained
    policy = jnp.full((agent.env.num_states, agent.env.num_actions), 0.5)
    going_on = ~agent.env.is_terminal
    exact, inner = (np.asarray(state_values(agent.env, policy, discount)) for discount in (OUTER_DISCOUNT, 0.6))
    learned = np.asarray(after.position.actor_state.outer_critic.params["value"]["table"])
    assert np.abs(exact - inner)[going_on].max() > 0.1
    np.testing.assert_allclose(learned[going_on], exact[going_on], atol=0.04)
    # The agent's own critic has learned those of the inner discount meanwhile.
    own = np.asarray(after.position.learner_state.params["value"]["table"])
    np.testing.assert_allclose(own[going_on], inner[going_on], atol=0.04)


def test_no_derivative_passes_through_it():
    """A meta-gradient's program multiplies no more with it than without, but for one evaluation and one gradient."""
    network = actor_critic_network(tables.NUM_ACTIONS, 4, 8, 8, num_axes=1)
    base = tables.agent(network=network, outer_critic=None, rollout_length=20)
    critic = OuterCritic(value_network(4, 8, num_axes=1), optax.adam(1e-3))
    operations = {}
    for name, one in (("without", base), ("with", dataclasses.replace(base, outer_critic=critic))):
        state = jax.eval_shape(partial(training.init, learning(one)), jax.random.key(0))
        gradient = jax.jit(
            lambda eta, start, key, one=one: windows.meta_gradient(inner_problem(one), (0.5, 0.5), eta, start, key)
        )
        cost = gradient.lower(state.eta, state.position, state.key).compile().cost_analysis()
        operations[name] = cost["flops"]
    observation = jax.eval_shape(
        partial(training.init, learning(base)), jax.random.key(0)
    ).position.batch.rollout.observation

    def value_and_gradient(params, observation):
        return jax.value_and_grad(lambda params: jnp.sum(critic.network.apply(params, observation)))(params)

    params = state.position.actor_state.outer_critic.params
    once = jax.jit(value_and_gradient).lower(params, observation).compile().cost_analysis()["flops"]
    # Two batches, each evaluated and differentiated once, some bootstrap values, the optimizer; but no outer loss any
    # more that needs the values of the agent's critic.
    assert operations["with"] - operations["without"] < 2.0 * 1.5 * once
