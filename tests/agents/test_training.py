import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables

from agents import actor_critic, training
from agents.agent import inner_problem, learning
from agents.networks import actor_critic_network, value_network
from agents.outer_critic import OuterCritic
from experiments.config.settings import Config
from experiments.runs.building import make_agent
from experiments.runs.layout import over_leading_axis
from metagrad import estimators, windows

CONFIG = Config(
    num_seeds=2,
    estimator="none",
    environment="tables:process",
    num_envs=4,
    rollout_length=5,
    num_channels=4,
    policy_width=8,
    value_width=8,
)
SNAKE = dataclasses.replace(CONFIG, environment="snake", board_size="3")


def test_summary_counts_the_episodes_that_the_updates_saw():
    """Those that the time limit cut as well as those that ended by themselves."""
    agent = make_agent(dataclasses.replace(SNAKE, time_limit=40))  # whose returns are whole numbers
    state = jax.jit(partial(training.init, learning(agent)))(jax.random.key(1))
    after, summary = jax.jit(partial(training.train, learning(agent)))(state, 20)
    problem = inner_problem(agent)
    advance = jax.jit(partial(windows.advance, problem))
    position, key, returns, lengths, kinds = state.position, state.key, [], [], []
    for _ in range(20):
        ends = position.batch.rollout.terminated, position.batch.rollout.truncated
        kinds.append([np.any(end) for end in ends])
        ended = np.asarray(ends[0] | ends[1])
        returns.extend(np.asarray(position.batch.rollout.episode_return)[ended])
        lengths.extend(np.asarray(position.batch.rollout.episode_length)[ended])
        key, window_key = jax.random.split(key)
        position, _ = advance(state.eta, position, window_key)
    assert np.all(np.any(kinds, 0))
    assert summary.metrics.num_episodes == len(returns)
    np.testing.assert_allclose(summary.metrics.return_sum, np.sum(returns))
    np.testing.assert_allclose(summary.metrics.length_sum, np.sum(lengths))
    assert jnp.array_equal(jax.random.key_data(after.key), jax.random.key_data(key))


def _told(agent, summary):
    """Names what was first not as it may be, and the update."""
    return training.checked(learning(agent))[summary.breach.what], summary.breach.update


@pytest.fixture(scope="module")
def tabular():
    """An agent on tables, its program, its state before the first and after each of three windows, and summaries."""
    agent = tables.agent(weights=estimators.mixing(2, 0.5))
    train = jax.jit(partial(training.train, learning(agent)))
    states, summaries = [jax.jit(partial(training.init, learning(agent)))(jax.random.key(0))], []
    for _ in range(3):
        state, summary = train(states[-1], 1)
        states.append(state)
        summaries.append(summary)
    return agent, train, states, summaries


def test_meta_parameters_go_down_the_meta_gradient_with_the_meta_optimizers_memory(tabular):
    _, _, states, summaries = tabular
    for name in ("discount", "entropy_cost"):
        eta = velocity = 0.0
        for state, summary in zip(states[1:], summaries, strict=True):
            assert summary.meta_gradient[name] != 0.0
            velocity = 0.9 * velocity + float(summary.meta_gradient[name])
            eta -= 0.5 * velocity
            np.testing.assert_allclose(state.eta[name], eta, rtol=1e-5)


def test_a_windows_meta_gradient_is_the_estimators_where_the_window_started(tabular):
    agent, _, states, summaries = tabular
    problem = inner_problem(agent)
    before = states[2]  # both eta and the optimizers' states have moved
    gradients, end, _ = jax.jit(partial(windows.horizon_gradients, problem, 2))(
        before.eta, before.position, jax.random.split(before.key)[1]
    )
    for name, leaf in gradients.items():
        np.testing.assert_allclose(summaries[2].meta_gradient[name], (2 * leaf[0] + leaf[1]) / 3, rtol=1e-4)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), end, states[3].position)


def test_an_interval_is_its_windows_one_after_another(tabular):
    _, train, states, summaries = tabular
    end, summary = train(states[0], 3)
    assert train._cache_size() == 1  # the number of windows is data
    for one, other in ((end.position.learner_state, states[-1].position.learner_state), (end.eta, states[-1].eta)):
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5), one, other)
    assert end.num_updates == states[-1].num_updates == 6
    assert summary.num_updates == 6
    assert summary.metrics.num_episodes == sum(int(part.metrics.num_episodes) for part in summaries) > 0
    for name, total in summary.metrics.loss.items():
        np.testing.assert_allclose(total, sum(part.metrics.loss[name] for part in summaries), rtol=1e-5)
    for name, gradient in summary.meta_gradient.items():
        np.testing.assert_allclose(gradient, summaries[-1].meta_gradient[name], rtol=1e-5)


def test_the_outer_critic_learns_from_every_rollout_once(tabular):
    _, _, states, _ = tabular
    steps = [int(optax.tree.get(state.position.actor_state.outer_critic.optimizer_state, "count")) for state in states]
    assert steps == [1, 3, 5, 7]


def test_an_outer_critic_that_breaks_as_a_window_ends_is_not_kept():
    """After the third rollout that it learns from, the last of the first window."""

    def update(step, count, _=None):
        return jax.tree.map(lambda leaf: jnp.where(count == 2, jnp.nan, leaf), step), count + 1

    breaking = optax.chain(optax.sgd(0.1), optax.GradientTransformation(lambda _: jnp.int32(0), update))
    agent = tables.agent(weights=estimators.mixing(2), outer_critic=tables.critic(breaking))
    before = tables.start(agent)
    after, summary = jax.jit(partial(training.train, learning(agent)))(before, 2)
    assert _told(agent, summary) == ("rule/outer_critic", 3)
    jax.tree.map(np.testing.assert_array_equal, after.position, before.position)


def test_the_first_update_that_is_not_finite_is_told(tabular):
    agent, train, states, summaries = tabular
    assert summaries[0].breach.update == -1
    learner = states[0].position.learner_state
    broken = learner._replace(params=jax.tree.map(lambda leaf: leaf * jnp.nan, learner.params))
    position = states[0].position._replace(learner_state=broken)
    _, summary = train(states[0]._replace(position=position, num_updates=jnp.int32(7)), 3)
    assert _told(agent, summary) == ("metrics/loss/entropy", 8)


def test_an_outer_critic_that_is_not_finite_is_told(tabular):
    agent, train, states, _ = tabular
    actor = states[0].position.actor_state
    broken = actor.outer_critic._replace(params=jax.tree.map(lambda leaf: jnp.nan * leaf, actor.outer_critic.params))
    position = states[0].position._replace(actor_state=actor._replace(outer_critic=broken))
    _, summary = train(states[0]._replace(position=position), 1)
    assert _told(agent, summary) == ("rule/outer_critic", 2)


def test_the_outer_critic_judges_by_outer_returns_and_then_learns_them():
    agent = tables.agent(outer_critic=tables.critic(optax.sgd(0.3)))
    state = tables.start(agent)
    collect = jax.jit(inner_problem(agent).collect)
    actor = state.position.actor_state
    for key in jax.random.split(jax.random.key(1), 2):
        table = np.asarray(actor.outer_critic.params["table"]["v"])
        actor, batch = collect(state.position.learner_state, state.eta, actor, key)
        values = batch.rollout.observation @ table
        bootstrap_values = batch.rollout.bootstrap_observation @ table
        expected = actor_critic.targets(values, bootstrap_values, batch.rollout, tables.OUTER)
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), batch.outer_targets, expected)
        # Down the gradient of mean (G - v)^2 / 2 with G held constant; the values are linear in the table.
        slope = -np.einsum("tbs,tb->s", batch.rollout.observation, expected.advantages) / values.size
        np.testing.assert_allclose(actor.outer_critic.params["table"]["v"], table - 0.3 * slope, rtol=1e-5)
        assert np.all(slope[:-1] != 0.0)


def test_no_derivative_passes_through_the_outer_critic():
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


def test_an_agent_that_tunes_nothing_is_the_same_with_an_outer_critic_to_the_bit():
    results = []
    for critic in (tables.critic(), None):
        agent = tables.agent(outer_critic=critic)
        state = jax.jit(partial(training.init, learning(agent)))(jax.random.key(0))
        state, summary = jax.jit(partial(training.train, learning(agent)))(state, 4)
        environments = state.position.actor_state.environments
        assert not any(jax.tree.leaves(state.eta))  # all at zero, where they start
        results.append((state.position.learner_state, environments, state.position.batch.rollout, summary.metrics.loss))
    jax.tree.map(np.testing.assert_array_equal, *results)


def test_seeds_are_the_same_all_at_once_and_one_after_another(monkeypatch):
    agent = learning(tables.agent(weights=estimators.single_step()))
    states = jax.jit(jax.vmap(partial(training.init, agent)))(jax.random.split(jax.random.key(2), 3))
    after = {}
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        state, summary = jax.jit(over_leading_axis(lambda state: training.train(agent, state, 3)))(states)
        assert np.all(summary.num_updates == 3)
        after[backend] = state._replace(key=jax.random.key_data(state.key)), summary
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), after["cpu"], after["gpu"])


def test_no_key_is_used_twice():
    critic = tables.critic()
    drawn = critic.network._replace(init=lambda key, _: {"table": {"v": jax.random.normal(key, (tables.NUM_STATES,))}})
    agent = tables.agent(weights=estimators.single_step(), outer_critic=critic._replace(network=drawn))
    with jax.debug_key_reuse(True):
        state = jax.jit(partial(training.init, learning(agent)))(jax.random.key(0))
        jax.jit(partial(training.train, learning(agent)))(state, 2)
