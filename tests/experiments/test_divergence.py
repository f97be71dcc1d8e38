"""Seeds that diverge: what is kept of them, what marks them, and that the others do not notice."""

import dataclasses
import re
from functools import partial
from operator import itemgetter

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
import train_on_tables
from miniature import train
from stairs import Seen

from agents import rollouts, training
from agents.agent import learning
from agents.hyperparameters import BIJECTIONS, actor_critic_hyperparameters
from experiments import curves
from experiments.config.ranges import UsageError
from experiments.config.settings import EXECUTION, Config, Execution
from experiments.figures import outcome, plots
from experiments.runs import building
from experiments.runs.divergence import NonFiniteError, divergences
from experiments.storage import checkpoints
from experiments.storage.metrics import METRICS, read_metrics
from experiments.storage.run_folder import RunFolder
from metagrad import estimators, hyperparameters

WINDOW = 2 * tables.NUM_ENVS * tables.LENGTH
CONFIG = Config(num_env_steps=12 * WINDOW, **train_on_tables.FLAGS | {"num_seeds": 3})
POISONED, UPDATE = 6, 9
"""The seed that diverges, and by which of its updates: the first of the fifth window."""


def _poison(step, state, _=None):
    count = state["count"] + 1
    return jax.tree.map(lambda leaf: jnp.where(count == state["at"], jnp.nan, leaf), step), state | {"count": count}


POISON = optax.GradientTransformation(lambda _: {"count": jnp.int32(0), "at": jnp.int32(-1)}, _poison)
AGENT = tables.agent(
    weights=estimators.mixing(2),
    meta_optimizer=optax.adam(0.05),
    optimizer=optax.chain(optax.scale_by_adam(eps_root=1e-8), POISON),
)


def _with_optimizer_state(state, optimizer_state):
    learner = state.position.learner_state._replace(optimizer_state=optimizer_state)
    return state._replace(position=state.position._replace(learner_state=learner))


def _init_poisoned(agent, number):
    state = building.init_seed(agent, number)
    adam, poison = state.position.learner_state.optimizer_state
    return _with_optimizer_state(state, (adam, poison | {"at": jnp.where(number == POISONED, UPDATE, -1)}))


def _states(folder):
    """Returns the states of a run's checkpoints, but for the poison, by the windows that they are after."""
    like = jax.eval_shape(partial(building.init_seeds, learning(AGENT), CONFIG))
    states = {}
    for step in checkpoints.checkpoint_steps(folder):
        state = checkpoints.without_keys(checkpoints.read_checkpoint(folder, step, like))
        states[step // WINDOW] = _with_optimizer_state(state, state.position.learner_state.optimizer_state[0])
    return states


def _lines(folder, seed):
    return [line for line in (folder / METRICS).read_text().splitlines() if line.split(",")[1] == str(seed)]


def test_a_seed_that_diverges_is_dropped_and_the_others_are_the_same_to_the_bit(tmp_path, monkeypatch, capsys):
    dropped, healthy = tmp_path / "dropped", tmp_path / "healthy"
    eight, stop = dataclasses.replace(CONFIG, num_env_steps=8 * WINDOW), Execution(checkpoint_every=3, keep=1)
    drop = dataclasses.replace(stop, on_divergence="drop")
    with monkeypatch.context() as patch, jax.debug_nans(True):
        patch.setattr("experiments.runs.seeds.init_seed", _init_poisoned)
        with pytest.raises(NonFiniteError, match=f"of seed {POISONED} was not finite .* on_divergence=drop"):
            train(AGENT, eight, dropped, execution=stop)
        assert (list(_states(dropped)), len(_lines(dropped, POISONED))) == ([3], 4)
        # It goes on by the setting, and where the seed is dropped only so.
        train(AGENT, eight, dropped, execution=drop)
        place = f"at environment step {UPDATE * WINDOW // 2} (update {UPDATE})"
        told = rf"dropped: learner/params/\S+ of seed {POISONED} was not finite {re.escape(place)}"
        assert re.search(told, capsys.readouterr().err)
        with pytest.raises(UsageError, match="on_divergence=stop: must be drop, to go on with a run"):
            train(AGENT, CONFIG, dropped, execution=stop)
        train(AGENT, CONFIG, dropped, execution=drop)
    train(AGENT, CONFIG, healthy)  # the same program
    for seed in (5, 7):
        assert _lines(dropped, seed) == _lines(healthy, seed)
    rows = _lines(dropped, POISONED)
    assert rows[:4] == _lines(healthy, POISONED)[:4]
    assert [row.strip(",") for row in rows[4:]] == [f"{windows * WINDOW},{POISONED}" for windows in range(5, 13)]
    (state,), others = _states(dropped).values(), _states(healthy)
    for index, windows in enumerate((12, 4, 12)):  # the poisoned seed is as before the window that broke, to the bit
        ours, healthys = (jax.tree.map(itemgetter(index), seeds) for seeds in (state, others[windows]))
        jax.tree.map(np.testing.assert_array_equal, ours, healthys)


@pytest.mark.parametrize(
    ("inner", "outer", "what"), [(4, 2, "learner/optimizer_state/1/moment"), (9, 2, "meta_optimizer/1/moment")]
)
def test_what_an_optimizer_remembers_is_looked_at_too(inner, outer, what):
    """An infinite second moment makes no parameter infinite: it stops them all."""

    def spoilt(at):
        def update(step, state, _=None):
            return step, {"count": state["count"] + 1, "moment": jnp.where(state["count"] + 1 == at, jnp.inf, 0.0)}

        spoil = optax.GradientTransformation(lambda _: {"count": jnp.int32(0), "moment": jnp.float32(0.0)}, update)
        return optax.chain(optax.sgd(0.05), spoil)

    agent = tables.agent(weights=estimators.mixing(2), optimizer=spoilt(inner), meta_optimizer=spoilt(outer))
    _, summary = jax.jit(partial(training.train, learning(agent), num_windows=5))(tables.start(agent))
    told = training.checked(learning(agent))[summary.breach.what], summary.breach.update
    assert told == (what, 4)


def test_nothing_finite_becomes_nan_at_the_ends_of_the_meta_parameters():
    tuned = tuple(BIJECTIONS)
    agent = tables.agent(
        tuning=hyperparameters.tune(actor_critic_hyperparameters(tables.INNER), tuned),
        weights=estimators.mixing(2),
        meta_optimizer=building.make_agent(Config(meta_params=tuned)).meta_optimizer,
    )
    ends = [(end, at) for end in (-1e30, 1e30) for at in tuned]  # one at its end at a time
    etas = {name: jnp.array([end * (at == name) for end, at in ends]) for name in tuned}
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(ends), *leaf.shape)), tables.start(agent))
    states, _ = jax.jit(jax.vmap(partial(training.train, learning(agent), num_windows=3)))(states._replace(eta=etas))
    assert np.all(states.num_updates == 6)
    for leaf in jax.tree.leaves(checkpoints.without_keys(states)):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("size", [1e15, 3e38])
def test_an_enormous_meta_gradient_moves_no_further_than_any_other(size):
    optimizer, eta = building.make_agent(CONFIG).meta_optimizer, jnp.zeros(2)
    state = optimizer.init(eta)
    for factor in (1.0, -1.0, 1e-38):
        step, state = optimizer.update(jnp.float32([size * factor, -size]), state)
        eta = optax.apply_updates(eta, step)
        assert np.all(np.abs(step) <= 4 * CONFIG.meta_learning_rate)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((eta, state)))


WRONGS = ("observation", "action_mask", "reward", "terminal", "truncated")


class Wrong:
    """Does what an environment may not at the steps that its state says; otherwise, episodes have a thousand."""

    num_actions, time_limit = tables.NUM_ACTIONS, 1_000

    def initial(self, key):
        return {"step": jnp.int32(0)} | dict.fromkeys(WRONGS, jnp.int32(-1))

    def transition(self, state, action, key):
        return state | {"step": state["step"] + 1}

    def observation(self, state):
        grid = jax.nn.one_hot(state["step"] % tables.NUM_STATES, tables.NUM_STATES)
        unseen, forbidden = (state["step"] == state[name] for name in ("observation", "action_mask"))
        return Seen(jnp.where(unseen, jnp.nan, grid), jnp.full(tables.NUM_ACTIONS, ~forbidden))

    def reward(self, state, action, next_state):
        return jnp.where(next_state["step"] == next_state["reward"], jnp.inf, 1.0 * action)

    def terminal(self, state):
        return state["step"] == state["terminal"]

    def truncated(self, state):
        return (state["step"] == state["truncated"]) | (state["step"] == self.time_limit)


@pytest.fixture(scope="module")
def on_wrong():
    """An agent's first state in the environment, and its training."""
    sizes = {"num_envs": tables.NUM_ENVS, "rollout_length": tables.LENGTH, "policy_width": 4, "value_width": 4}
    agent = building.make_agent(Config(environment="test_divergence:Wrong", horizon=3, **sizes))
    return agent, tables.start(agent), jax.jit(partial(training.train, learning(agent)))


@pytest.mark.parametrize(
    ("at", "told", "update"),
    [
        ({}, None, 0),
        ({"action_mask": 21}, None, 0),  # a dead end
        ({"observation": 21}, "the environment's observation of seed 5 was not finite", 4),
        ({"observation": 24, "terminal": 24}, "the environment's observation of seed 5 was not finite", 4),
        ({"reward": 21}, "the environment's reward of seed 5 was not finite", 4),
        ({"truncated": 21}, "the environment's truncated of seed 5 cut an episode before its time_limit", 4),
        ({"action_mask": 6}, "the environment's action_mask of seed 5 forbade every action of an episode's first", 2),
    ],
)
def test_what_an_environment_does_wrong_is_told_at_the_first_update(at, told, update, on_wrong):
    """Whatever the estimator's horizon; all that is computed from it, which is NaN as well, is not to blame."""
    agent, state, advance = on_wrong
    states = state.position.actor_state.environments.environment_state
    states = states | {name: jnp.full_like(states["step"], step) for name, step in at.items()}
    # The first update learns from what was before this start, the second from the steps 6 to 12.
    actor = state.position.actor_state._replace(environments=rollouts.start_from(Wrong(), states))
    _, summary = advance(state._replace(position=state.position._replace(actor_state=actor)), 3)
    breach = jax.tree.map(np.atleast_1d, summary.breach)
    found = divergences(CONFIG, [CONFIG.seed], breach, partial(training.checked, learning(agent)))
    assert [(seed, by_environment) for seed, by_environment, _ in found] == ([(0, True)] if told else [])
    for _, _, text in found:
        assert text.startswith(told)
        assert text.endswith(f"at environment step {update * tables.NUM_ENVS * tables.LENGTH} (update {update})")


def test_pictures_curves_and_words_leave_a_dropped_seed_out_and_say_so(tmp_path, figures, capsys):
    """Three seeds, the second dropped after the first point, with a return that would stand out; then all of them."""
    config, told = dataclasses.replace(CONFIG, meta_params=("discount",)), []
    names = ("episode_return", "hyper/discount", "meta_grad/discount", "loss/value")
    for folder, lost in ((tmp_path / "one", [False, True, False]), (tmp_path / "all", [True] * 3)):
        with RunFolder(folder, config, EXECUTION) as run:
            for point in (1, 2, 3):
                column = np.where(np.array(lost) & (point > 1), np.nan, [1.0, 100.0, 3.0])
                run.write_metrics(point * 4 * WINDOW, dict.fromkeys(names, column))
        plots.draw_training(folder)
        told.append(outcome.describe(config, read_metrics(folder), 1.0))
    assert "2 [-10.7, 14.7], mean of 2 seeds (1 of 3 seeds dropped)" in told[0]
    assert "3 of 3 seeds dropped" in told[1]
    assert figures[0].legends[0].get_texts()[0].get_text() == f"mixing({config.horizon}), 1 of 3 seeds dropped"
    np.testing.assert_array_equal(figures[0].axes[0].lines[0].get_ydata(), [2.0] * 3)
    assert not command_line.run(curves, f"--runs={tmp_path / 'one'}")
    assert re.search(r"3 \(1 of 3 seeds dropped\).* 2 \[", capsys.readouterr().out, re.DOTALL)
