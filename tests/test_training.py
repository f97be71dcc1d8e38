import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import training
from experiments.building import init_seeds, make_agent, over_leading_axis
from experiments.config import Config
from metagrad import windows

CONFIG = Config(
    num_seeds=2,
    estimator="none",
    board_size="3",
    num_envs=4,
    rollout_length=5,
    num_channels=4,
    policy_width=8,
    value_width=8,
)


@pytest.fixture(scope="module")
def trained():
    """A window of single-step training: the state before and after, and the summary."""
    agent = make_agent(dataclasses.replace(CONFIG, estimator="single_step", meta_learning_rate=0.1))
    before = jax.jit(partial(training.init, agent))(jax.random.key(0))
    after, summary = jax.jit(partial(training.train, agent))(before, 6)
    return agent, before, after, summary


def test_every_window_moves_parameters_and_meta_parameters(trained):
    _, before, after, summary = trained
    assert after.num_updates == summary.num_updates == 6
    for name, eta in after.eta.items():
        assert eta != before.eta[name], name
    moved = jax.tree.map(
        lambda old, new: bool(np.any(old != new)),
        before.position.learner_state.params,
        after.position.learner_state.params,
    )
    assert all(jax.tree.leaves(moved))


def test_num_windows_does_not_recompile():
    agent = make_agent(CONFIG)
    train = jax.jit(partial(training.train, agent))
    state = jax.jit(partial(training.init, agent))(jax.random.key(0))
    train(state, 1)
    train(state, 3)
    assert train._cache_size() == 1


def test_summary_counts_the_episodes_that_the_updates_saw():
    agent = make_agent(CONFIG)
    state = jax.jit(partial(training.init, agent))(jax.random.key(1))
    after, summary = jax.jit(partial(training.train, agent))(state, 20)
    problem = training.inner_problem(agent)
    advance = jax.jit(partial(windows.advance, problem))
    position, key, returns, lengths = state.position, state.key, [], []
    for _ in range(20):
        ended = np.asarray(position.batch.rollout.terminated | position.batch.rollout.truncated)
        returns.extend(np.asarray(position.batch.rollout.episode_return)[ended])
        lengths.extend(np.asarray(position.batch.rollout.episode_length)[ended])
        key, window_key = jax.random.split(key)
        position, _ = advance(state.eta, position, window_key)
    assert len(returns) > 0
    assert summary.num_episodes == len(returns)
    np.testing.assert_allclose(summary.return_sum, np.sum(returns))
    np.testing.assert_allclose(summary.length_sum, np.sum(lengths))
    assert jnp.array_equal(jax.random.key_data(after.key), jax.random.key_data(key))


def test_without_an_estimator_hyperparameters_stay():
    agent = make_agent(CONFIG)
    state = jax.jit(partial(training.init, agent))(jax.random.key(0))
    after, summary = jax.jit(partial(training.train, agent))(state, 2)
    assert after.eta == summary.meta_gradient == {}


def test_the_first_update_that_is_not_finite_is_told(trained):
    agent, before, _, summary = trained
    assert all(update == -1 for update in summary.first_nonfinite.values())
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, before.position.learner_state.params)
    position = before.position._replace(learner_state=before.position.learner_state._replace(params=broken))
    _, summary = jax.jit(partial(training.train, agent))(
        before._replace(position=position, num_updates=jnp.int32(7)), 3
    )
    assert summary.first_nonfinite["loss/value"] == 8
    assert summary.first_nonfinite["meta_grad/discount"] == 8


def test_a_seed_does_not_depend_on_how_many_there_are():
    agent = make_agent(CONFIG)
    two, three = (init_seeds(agent, dataclasses.replace(CONFIG, seed=4, num_seeds=n)) for n in (2, 3))
    other = init_seeds(agent, dataclasses.replace(CONFIG, seed=5, num_seeds=1))
    params = [state.position.learner_state.params for state in (two, three, other)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b[1], rtol=1e-6), params[0], params[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b[0], rtol=1e-6), params[0], params[2])


def test_seeds_are_the_same_all_at_once_and_one_after_another(monkeypatch):
    agent = make_agent(CONFIG)
    states = init_seeds(agent, CONFIG)
    after = {}
    for backend in ("cpu", "gpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        after[backend], summary = jax.jit(over_leading_axis(lambda state: training.train(agent, state, 4)))(states)
        assert np.all(summary.num_updates == 4)
    jax.tree.map(
        lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6),
        *(state.position.learner_state.params for state in after.values()),
    )


def test_updates_per_window():
    for estimator, updates in [("none", 1), ("single_step", 1), ("multi_step", 5), ("mixing", 5)]:
        agent = make_agent(dataclasses.replace(CONFIG, estimator=estimator))
        assert agent.updates_per_window == updates
        assert agent.steps_per_window == updates * 4 * 5
