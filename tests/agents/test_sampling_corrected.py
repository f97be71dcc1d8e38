"""Sampling-corrected meta-gradients of the agent, held against complete enumeration of the data, in float64.

Every sequence of actions that the environments can take has its probability and its updates; the truth is the
derivative of the expected reward over all of them. Episodes are as long as rollouts and the outer discount and lambda
are one, so that the outer loss's expected gradient is that of the reward.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
from differences import central_difference

from agents import rollouts
from agents.agent import Actor, Agent, Batch, inner_problem, learning
from agents.hyperparameters import BIJECTIONS, actor_critic_hyperparameters
from agents.networks import tabular_network
from agents.training import init
from envs import environment
from envs.tabular import Tabular
from metagrad import Position, advance, from_weights, hyperparameters, mixing, multi_step, sampling_corrected

KEY = jax.random.key(0)
INITIAL = {"discount": 0.6, "lambda": 0.8, "policy_cost": 1.0, "value_cost": 0.25, "entropy_cost": 0.02}


pytestmark = pytest.mark.usefixtures("float64")


def _bandit():
    """Two arms: each step is an episode."""
    return Tabular(np.eye(2)[np.ones((2, 2), int)], np.array([[0.3, 1.0], [0.0, 0.0]]), np.arange(2) == 1, np.eye(2)[0])


def _chain():
    """The chain of three states with a distractor; one that has stopped waits for the end of three steps."""
    walk, wait = {0: 1, 1: 2, 2: 5}, {0: 3, 1: 4, 2: 5, 3: 4, 4: 5, 5: 5}
    following = np.array([[wait[state], walk.get(state, wait[state])] for state in range(6)])
    rewards = np.array([[0.4, 0.0], [0.4, 0.0], [0.4, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    return Tabular(np.eye(6)[following], rewards, np.arange(6) == 5, np.eye(6)[0])


def _agent(env, num_envs, length, learning_rate):
    return Agent(
        env=env,
        network=tabular_network(env.num_states, env.num_actions, scale=0.5),
        optimizer=optax.identity(),
        meta_optimizer=optax.adam(1e-2),
        tuning=hyperparameters.tune(
            actor_critic_hyperparameters(INITIAL | {"learning_rate": learning_rate}), list(BIJECTIONS)
        ),
        estimator=None,
        outer_hyperparameters={"discount": 1.0, "lambda": 1.0, "policy_cost": 1.0},
        outer_critic=None,
        num_envs=num_envs,
        rollout_length=length,
    )


def _rollout(agent, actions):
    """Returns what environments at the start of an episode see if they take these actions, [T, B]."""

    def body(states, action):
        keys = jax.random.split(KEY, len(action))
        following, step = jax.vmap(functools.partial(environment.step, agent.env))(states, action, keys)
        seen = jax.vmap(agent.env.observation)(states)
        return following, (seen, step.reward, step.terminated, step.last_observation)

    _, (seen, reward, terminated, last) = jax.lax.scan(body, jnp.zeros(actions.shape[1], jnp.int32), actions)
    none = jnp.zeros(actions.shape)
    bootstrap = jnp.stack([last[-1]] * 2)
    return rollouts.Rollout(seen, actions, reward, terminated, none > 0, bootstrap, none, none.astype(int))


def _all_actions(agent, num_envs):
    """Returns all that so many environments can do in a rollout, int32 [N, T, num_envs]."""
    length = agent.rollout_length
    every = np.array(list(itertools.product(range(2), repeat=length * num_envs)), np.int32)
    return jnp.asarray(every.reshape(-1, length, num_envs))


def _probability(agent, learner, actions):
    rollout = _rollout(agent, actions)
    policy = jax.nn.softmax(agent.network.apply(learner.params, rollout.observation).policy.logits)
    return jnp.prod(jnp.take_along_axis(policy, actions[..., None], -1))


def _truth_and_mean(agent, estimators, updates):
    """Returns the slope of the expected reward after so many updates from a fixed start, and the estimators' means."""
    problem = inner_problem(agent)
    state = init(learning(agent), jax.random.key(1))
    eta = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), state.eta)
    first = jax.random.randint(KEY, (agent.rollout_length, agent.num_envs), 0, 2)
    start = Position(state.position.learner_state, Actor(jnp.int32(0), None), Batch(_rollout(agent, first), None))
    # Environments do not depend on each other and outcomes are means over them: all may do the same in the last batch.
    last = jnp.repeat(_all_actions(agent, 1), agent.num_envs, 2)
    between = _all_actions(agent, agent.num_envs)
    paths = between[np.array(list(itertools.product(range(len(between)), repeat=updates - 1)), int)]

    def learn(eta, path):
        """Returns the learner after the updates, and the probability of the path there."""
        learner, likely = start.learner_state, jnp.ones(())
        for k in range(updates):
            batch = start.batch if k == 0 else Batch(_rollout(agent, path[k - 1]), None)
            if k:
                likely *= _probability(agent, learner, path[k - 1])
            learner, _ = problem.update(learner, eta, batch)
        return learner, likely

    def likelihoods(learner):
        return jax.vmap(lambda actions: _probability(agent, learner, actions[:, :1]))(last)

    def reward(eta, path):
        learner, likely = learn(eta, path)
        earned = jax.vmap(lambda actions: _rollout(agent, actions).reward.mean())(last)
        return likely * (likelihoods(learner) @ earned)

    def estimate(estimator, path, end):
        def collect(learner, eta, actor, key):
            actions = jnp.concatenate([path, end[None]])[actor.environments]
            return Actor(actor.environments + 1, None), Batch(_rollout(agent, actions), None)

        return estimator.estimate(problem._replace(collect=collect), eta, start, KEY)[0]

    @jax.jit
    @jax.vmap
    def of_path(path):
        learner, likely = learn(eta, path)
        weights = likely * likelihoods(learner)
        estimates = {name: jax.vmap(functools.partial(estimate, each, path))(last) for name, each in estimators.items()}
        return jax.grad(reward)(eta, path), jax.tree.map(lambda leaf: -jnp.tensordot(weights, leaf, 1), estimates)

    return jax.tree.map(lambda leaf: leaf.sum(0), of_path(paths))


def test_the_correction_takes_all_bias_away_and_half_of_it_half():
    agent = _agent(_bandit(), num_envs=2, length=1, learning_rate=2.0)
    made = {"half": sampling_corrected(multi_step(3), 0.5), "plain": from_weights(multi_step(3))}
    truth, means = _truth_and_mean(agent, made, 3)
    for name in BIJECTIONS:
        np.testing.assert_allclose(means["half"][name], (truth[name] + means["plain"][name]) / 2, atol=1e-12)
    assert abs(means["plain"]["learning_rate"] / truth["learning_rate"] - 1.0) > 0.01


def test_four_environments_on_a_chain_where_the_plain_estimator_is_biased():
    agent = _agent(_chain(), num_envs=4, length=3, learning_rate=8.0)
    made = {
        "mixing": sampling_corrected(mixing(2)),
        "plain": from_weights(multi_step(2)),
        "single_step": from_weights(multi_step(1)),  # which holds no data constant that moves with eta
    }
    truth, means = _truth_and_mean(agent, made, 2)
    for name in BIJECTIONS:
        np.testing.assert_allclose(means["mixing"][name], (means["single_step"][name] + truth[name]) / 2, atol=1e-12)
    assert abs(means["plain"]["lambda"] / truth["lambda"] - 1.0) > 0.1


@pytest.mark.parametrize("critic", [tables.critic(), None])
def test_the_outcome_is_what_episodes_return_beyond_what_the_critic_of_the_windows_start_expected(critic):
    agent = tables.agent(outer_critic=critic)
    problem = inner_problem(agent)
    start = tables.start(agent).position
    eta = hyperparameters.initial_meta_parameters(agent.tuning)

    @jax.jit
    def advance(position, key):
        learner, _ = problem.update(position.learner_state, eta, position.batch)
        return Position(learner, *problem.collect(learner, eta, position.actor_state, key))

    end = advance(advance(start, jax.random.key(1)), jax.random.key(2))
    params = start.learner_state.params if critic is None else start.actor_state.outer_critic.params
    value = (params["value"]["table"] if critic is None else params["table"]["v"]).squeeze()

    def surprise(rollout):
        """Adds up what follows an episode's, or the rollout's, beginning, step by step."""
        states = rollout.observation.argmax(-1)
        following = np.append(states[1:], rollout.bootstrap_observation[:1].argmax(-1), 0)
        total, number = 0.0, 0
        for t, b in np.ndindex(rollout.reward.shape):
            then = 0.0 if rollout.terminated[t, b] else value[following[t, b]]
            total += rollout.reward[t, b] + tables.OUTER["discount"] * then - value[states[t, b]]
            number += t == 0 or rollout.terminated[t - 1, b]
        return total, number

    (before, num_before), (total, number) = surprise(start.batch.rollout), surprise(end.batch.rollout)
    assert number != num_before
    assert min(number, num_before) > tables.NUM_ENVS
    expected = (total - number * before / num_before) / end.batch.rollout.reward.size
    np.testing.assert_allclose(
        jax.jit(lambda start, batch: problem.outcome(start)(batch))(start, end.batch), expected, rtol=1e-5
    )


def test_gradients_agree_with_finite_differences_where_batches_and_outcome_are_frozen():
    agent = tables.agent()
    problem = inner_problem(agent)
    state = tables.start(agent)
    eta = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), state.eta)
    positions = [state.position]
    step = jax.jit(functools.partial(advance, problem))
    for k in range(3):
        positions.append(step(eta, positions[-1], jax.random.fold_in(KEY, k))[0])

    @jax.jit
    def loss(eta):
        learner, log_prob = state.position.learner_state, 0.0
        for k in range(3):
            rollout = positions[k].batch.rollout
            policy = jax.nn.log_softmax(agent.network.apply(learner.params, rollout.observation).policy.logits)
            log_prob += jnp.sum(jnp.take_along_axis(policy, rollout.action[..., None], -1))
            learner, _ = problem.update(learner, eta, positions[k].batch)
        last = positions[3].batch
        return problem.outer_loss(learner, last) - 0.7 * problem.outcome(state.position)(last) * log_prob

    estimator = sampling_corrected(multi_step(3), 0.7)
    gradient, end, _ = jax.jit(functools.partial(estimator.estimate, problem))(eta, state.position, KEY)
    for name in eta:
        np.testing.assert_allclose(gradient[name], central_difference(loss, eta, name), rtol=1e-6)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-9), end.learner_state, positions[3].learner_state
    )
