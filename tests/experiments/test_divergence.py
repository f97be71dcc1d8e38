"""Seeds that diverge: what is kept of them, what marks them, and that the others do not notice."""

import dataclasses
import math
import signal
from functools import partial
from typing import NamedTuple

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables
import train_on_tables

from agents import rollouts, training
from experiments import curves, train
from experiments.config.ranges import UsageError
from experiments.config.settings import EXECUTION, Config, Execution
from experiments.figures import outcome, plots
from experiments.runs import building, divergence
from experiments.runs import training as loop
from experiments.runs.building import init_seeds, make_agent, make_weights
from experiments.storage import checkpoints
from experiments.storage import metrics as metrics_csv
from experiments.storage.run_folder import RunFolder
from experiments.studies import comparison as comparing
from metagrad import estimators, meta_parameters

WINDOW = 2 * tables.NUM_ENVS * tables.LENGTH
CONFIG = Config(num_env_steps=12 * WINDOW, **train_on_tables.FLAGS | {"num_seeds": 3})
DROP = Execution(on_divergence="drop")
POISONED, UPDATE = 6, 9
"""The seed that diverges, and by which of its updates: the first of the fifth window."""


def _poison(step, state, _=None):
    count = state["count"] + 1
    return jax.tree.map(lambda leaf: jnp.where(count == state["at"], jnp.nan, leaf), step), state | {"count": count}


POISON = optax.GradientTransformation(lambda _: {"count": jnp.int32(0), "at": jnp.int32(-1)}, _poison)


def _agent(config):
    return tables.agent(
        weights=make_weights(config),
        meta_optimizer=optax.adam(0.05),
        optimizer=optax.chain(optax.scale_by_adam(eps_root=1e-8), POISON),
    )


def _poisoned(state, at):
    learner = state.position.learner_state
    adam, poison = learner.optimizer_state
    learner = learner._replace(optimizer_state=(adam, poison | {"at": jnp.asarray(at, jnp.int32)}))
    return state._replace(position=state.position._replace(learner_state=learner))


@pytest.fixture
def on_poisoned_tables(monkeypatch):
    monkeypatch.setattr(train, "make_agent", _agent)

    def init_seed(agent, seed):
        return _poisoned(building.init_seed(agent, seed), jnp.where(seed == POISONED, UPDATE, -1))

    monkeypatch.setattr(train, "init_seed", init_seed)


def _states(folder):
    like = jax.eval_shape(partial(init_seeds, _agent(CONFIG), CONFIG))
    steps = checkpoints.checkpoint_steps(folder)
    return {step: checkpoints.without_keys(checkpoints.read_checkpoint(folder, step, like)) for step in steps}


def _assert_same_states(ours, theirs, seeds=slice(None)):
    assert ours.keys() == theirs.keys()
    for step, state in ours.items():
        jax.tree.map(lambda one, other: np.testing.assert_array_equal(one[seeds], other[seeds]), state, theirs[step])


def _lines(folder, seed):
    return [line for line in (folder / metrics_csv.METRICS).read_text().splitlines() if line.split(",")[1] == str(seed)]


def test_a_seed_that_diverges_is_dropped_and_the_others_are_the_same_to_the_bit(
    tmp_path, monkeypatch, capsys, on_poisoned_tables
):
    dropped, stopped, healthy = (tmp_path / name for name in ("dropped", "stopped", "healthy"))
    # Stopped by a signal once the seed is dropped, it goes on without it.
    write, points = RunFolder.write_metrics, []

    def write_metrics(writer, *arguments):
        write(writer, *arguments)
        points.append(None)
        if len(points) == 7:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(RunFolder, "write_metrics", write_metrics)
    with pytest.raises(KeyboardInterrupt), jax.debug_nans(True):
        loop.train(CONFIG, dropped, DROP)
    told = f"parameters of seed {POISONED} was not finite at environment step {UPDATE * WINDOW // 2} (update {UPDATE})"
    assert told in capsys.readouterr().err
    with pytest.raises(UsageError, match="--on_divergence=stop: must be drop, to go on with the run in"):
        loop.train(CONFIG, dropped)
    loop.train(CONFIG, dropped, DROP)
    # Stopped by the divergence, it goes on by the flag.
    with (
        pytest.raises(divergence.NonFiniteError, match=f"of seed {POISONED} was not finite .* on_divergence=drop"),
        jax.debug_nans(True),
    ):
        loop.train(CONFIG, stopped)
    assert len(_lines(stopped, POISONED)) == 4
    loop.train(CONFIG, stopped, DROP)
    assert (stopped / metrics_csv.METRICS).read_bytes() == (dropped / metrics_csv.METRICS).read_bytes()
    _assert_same_states(_states(stopped), _states(dropped))
    # Without the poison, in the same program.
    monkeypatch.setattr(train, "init_seed", building.init_seed)
    loop.train(CONFIG, healthy)
    for seed in (5, 7):
        assert _lines(dropped, seed) == _lines(healthy, seed)
    rows = _lines(dropped, POISONED)
    assert rows[:4] == _lines(healthy, POISONED)[:4]
    assert len(rows) == 12
    assert all(not "".join(row.split(",")[2:]) for row in rows[4:])
    ours = _states(dropped)
    _assert_same_states(ours, _states(healthy), seeds=np.array([0, 2]))
    np.testing.assert_array_equal(ours[CONFIG.num_env_steps].num_updates, [24, 8, 24])
    np.testing.assert_array_equal(metrics_csv.dropped_seeds(metrics_csv.read_metrics(dropped)), [False, True, False])


def test_the_state_before_the_window_that_broke_is_kept_to_the_bit():
    agent = _agent(CONFIG)
    advance = jax.jit(partial(training.train, agent))
    start = _poisoned(jax.jit(partial(training.init, agent))(jax.random.key(0)), 6)
    before, _ = advance(start, 2)
    after, summary = advance(start, 5)
    jax.tree.map(np.testing.assert_array_equal, *map(checkpoints.without_keys, (before, after)))
    assert {int(update) for update in summary.first_nonfinite.values()} == {-1, 6}
    assert summary.num_updates == 6


def _spoil(step, state, _=None):
    """Leaves the step as it is, and makes what is remembered infinite at the fourth."""
    count = state["count"] + 1
    return step, {"count": count, "moment": jnp.where(count == 4, jnp.inf, 0.0)}


SPOIL = optax.GradientTransformation(lambda _: {"count": jnp.int32(0), "moment": jnp.float32(0.0)}, _spoil)


@pytest.mark.parametrize(
    ("of", "quantity", "update"), [("optimizer", "optimizer", 4), ("meta_optimizer", "meta_parameters", 8)]
)
def test_what_an_optimizer_remembers_is_looked_at_too(of, quantity, update):
    """An infinite second moment makes no parameter infinite: it stops them all."""
    optimizers = {"meta_optimizer": optax.sgd(0.05)}
    optimizers[of] = optax.chain(optax.sgd(0.05), SPOIL)
    agent = tables.agent(weights=make_weights(CONFIG), **optimizers)
    _, summary = jax.jit(partial(training.train, agent, num_windows=5))(tables.start(agent))
    told = {name: int(first) for name, first in summary.first_nonfinite.items() if first >= 0}
    assert told == {quantity: update}


@pytest.mark.parametrize("end", [-1e30, 1e30])
def test_nothing_finite_becomes_nan_at_the_ends_of_the_meta_parameters(end):
    tuned = tuple(meta_parameters.INTERVALS)
    agent = tables.agent(
        tuning=meta_parameters.tune(tables.INNER, tuned),
        weights=estimators.mixing(2),
        meta_optimizer=make_agent(Config(meta_params=tuned)).meta_optimizer,
    )
    state = tables.start(agent)
    advance = jax.jit(jax.vmap(partial(training.train, agent, num_windows=3)))
    # One at its end at a time, and all of them.
    etas = {name: jnp.array([end * (one in (name, "all")) for one in (*tuned, "all")]) for name in tuned}
    states = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (7, *leaf.shape)), state)._replace(eta=etas)
    states, _ = advance(states)
    for leaf in jax.tree.leaves(checkpoints.without_keys(states)):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("size", [1e15, 1e25, 3e38])
def test_an_enormous_meta_gradient_moves_no_further_than_any_other(size):
    optimizer = make_agent(CONFIG).meta_optimizer
    eta = {name: jnp.float32(0.0) for name in ("discount", "lambda")}
    state = optimizer.init(eta)
    for factor in (1.0, -1.0, 1e-38):
        gradient = {"discount": jnp.float32(size * factor), "lambda": jnp.float32(-size)}
        step, state = optimizer.update(gradient, state)
        eta = optax.apply_updates(eta, step)
        assert all(abs(float(value)) <= 4 * CONFIG.meta_learning_rate for value in step.values())
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((eta, state)))


# What an environment does that it may not


class Seen(NamedTuple):
    grid: jax.Array
    action_mask: jax.Array


WRONGS = ("nothing", "observation", "last_observation", "reward", "truncated", "action_mask", "dead_end")


class Wrong:
    """Goes on for a thousand steps, but for one of `WRONGS` that its state says it does `at` a step."""

    num_actions, time_limit = tables.NUM_ACTIONS, 1_000

    def initial(self, key):
        return {"step": jnp.int32(0), "at": jnp.int32(0), "wrong": jnp.int32(0)}

    def transition(self, state, action, key):
        return state | {"step": state["step"] + 1}

    def _does(self, state, *wrongs):
        now = state["step"] == state["at"]
        return now & jnp.any(jnp.array([state["wrong"] == WRONGS.index(wrong) for wrong in wrongs]))

    def observation(self, state):
        grid = jax.nn.one_hot(state["step"] % tables.NUM_STATES, tables.NUM_STATES)
        unseen = self._does(state, "observation", "last_observation")
        return Seen(jnp.where(unseen, jnp.nan, grid), jnp.full(3, ~self._does(state, "action_mask", "dead_end")))

    def reward(self, state, action, next_state):
        return jnp.where(self._does(next_state, "reward"), jnp.inf, 1.0 * action)

    def terminal(self, state):
        return self._does(state, "last_observation")

    def truncated(self, state):
        return self._does(state, "truncated") | (state["step"] == self.time_limit)


def _on_grid(function):
    return lambda params, observation: function(params, observation.grid)


@pytest.fixture(scope="module", params=[(), estimators.mixing(3)], ids=["none", "mixing"])
def on_wrong(request):
    """An agent's first state in the environment, and its training."""
    network, critic = tables.agent().network, tables.critic()
    agent = tables.agent(
        env=Wrong(),
        network=network._replace(apply=_on_grid(network.apply)),
        outer_critic=critic._replace(network=critic.network._replace(apply=_on_grid(critic.network.apply))),
        weights=request.param,
    )
    return tables.start(agent), jax.jit(partial(training.train, agent))


@pytest.mark.parametrize(
    ("wrong", "at", "told"),
    [
        ("nothing", 21, None),
        ("dead_end", 21, None),
        ("observation", 21, "the environment's observation of seed 5 was not finite"),
        ("last_observation", 24, "the environment's observation of seed 5 was not finite"),
        ("reward", 21, "the environment's reward of seed 5 was not finite"),
        ("truncated", 21, "the environment's truncated of seed 5 cut an episode before its time_limit"),
        ("action_mask", 6, "the environment's action_mask of seed 5 forbade every action of an episode's first state"),
    ],
)
def test_what_an_environment_does_wrong_is_told_at_the_first_update(wrong, at, told, on_wrong):
    """Whatever the estimator's horizon; all that is computed from it, which is NaN as well, is not to blame."""
    state, advance = on_wrong
    states = state.position.actor_state.environments.environment_state
    changed = {"at": jnp.full_like(states["at"], at), "wrong": jnp.full_like(states["wrong"], WRONGS.index(wrong))}
    actor = state.position.actor_state._replace(environments=rollouts.start_from(Wrong(), states | changed))
    _, summary = advance(state._replace(position=state.position._replace(actor_state=actor)), 3)
    # The first update learns from what was before this start, the second from the steps 6 to 12.
    update = 2 if wrong == "action_mask" else -(-at // tables.LENGTH)
    place = f"at environment step {update * tables.NUM_ENVS * tables.LENGTH} (update {update})"
    expected = {} if told is None else {0: f"{told} {place}"}
    first_nonfinite = {name: [int(first)] for name, first in summary.first_nonfinite.items()}
    assert divergence.divergences(CONFIG, first_nonfinite) == expected


# What marks it


@pytest.fixture
def marked(tmp_path):
    """A run of three seeds whose second was dropped after the first point, with a return that would stand out."""
    config = dataclasses.replace(CONFIG, meta_params=("discount",))
    with RunFolder(tmp_path / "mixing", config, EXECUTION) as writer:
        for point, lost in enumerate((False, True, True)):
            column = np.where([False, lost, False], np.nan, [1.0, 100.0, 3.0])
            names = ("episode_return", "hyper/discount", "meta_grad/discount", "loss/value")
            writer.write_metrics((point + 1) * 4 * WINDOW, dict.fromkeys(names, column))
    return config, tmp_path / "mixing"


@pytest.mark.parametrize("points", [[0, 1, 2], [0] * 19 + [2]], ids=["early", "in_the_last_tenth"])
def test_a_comparison_leaves_a_dropped_seed_out_and_names_it(points, marked):
    config, folder = marked
    metrics = {name: column[points] for name, column in metrics_csv.read_metrics(folder).items()}
    metrics["env_steps"] = np.tile(np.arange(1.0, len(points) + 1)[:, None], 3)
    fixed = metrics | {"episode_return": np.zeros((len(points), 3))}
    result = comparing._summarise(config, metrics, fixed)
    assert (result["dropped_seeds"], result["endless_seeds"]) == ([POISONED], [])
    assert result["final_return"]["estimate"] == result["gain"]["estimate"] == 2.0
    assert result["mean_return"]["estimate"] == 2.0
    assert result["meta_grad_std"]["discount"]["estimate"] == pytest.approx(math.sqrt(2.0), rel=1e-5)
    comparison = {"num_seeds": 3, "estimators": {"mixing": result | {"wall_seconds": 1.0, "grid": []}}}
    assert "mixing (1 of 3 seeds dropped)" in outcome.tables(comparison)


def test_a_trial_with_a_dropped_seed_has_no_return(marked):
    """Its survivors may be better for it."""
    metrics = metrics_csv.read_metrics(marked[1])
    assert math.isnan(comparing._trial_return(metrics).estimate)
    healthy = {name: column[:, [0, 2]] for name, column in metrics.items()}
    assert comparing._trial_return(healthy).estimate == 2.0


def test_a_seed_whose_episodes_do_not_end_any_more_is_named_and_its_trial_has_no_return(marked):
    """It learned to play in circles; what the seeds that are left return does not speak for its rate."""
    config, folder = marked
    metrics = {name: column[:, [0, 2]] for name, column in metrics_csv.read_metrics(folder).items()}
    endless = metrics | {"episode_return": np.array([[1.0, 3.0], [1.0, 3.0], [np.nan, 3.0]])}
    assert math.isnan(comparing._trial_return(endless).estimate)
    result = comparing._summarise(config, endless, None)
    assert (result["dropped_seeds"], result["endless_seeds"]) == ([], [int(metrics["seed"][0, 0])])
    assert result["final_return"]["estimate"] == 3.0
    comparison = {"num_seeds": 2, "estimators": {"mixing": result | {"wall_seconds": 1.0, "grid": []}}}
    assert "mixing (1 of 2 seeds without a last return)" in outcome.tables(comparison)


def test_pictures_say_how_many_seeds_were_dropped(marked, figures):
    plots.draw_training(marked[1])
    (label,) = figures[0].legends[0].get_texts()
    assert label.get_text() == f"mixing({marked[0].horizon}), 1 of 3 seeds dropped"
    np.testing.assert_array_equal(figures[0].axes[0].lines[0].get_ydata(), [2.0] * 3)


def test_meta_gradients_that_are_zero_where_they_are_known_are_drawn_without_a_word(tmp_path):
    config = Config(num_seeds=2, num_env_steps=2 * 3_200, meta_params=("discount",))
    with RunFolder(tmp_path, config, EXECUTION) as writer:
        for point, gradient in enumerate((np.nan, 0.0), 1):
            columns = {"episode_return": 1.0, "hyper/discount": 0.9, "meta_grad/discount": gradient}
            writer.write_metrics(point * 3_200, {name: np.full(2, value) for name, value in columns.items()})
    plots.draw_training(tmp_path)


def test_curves_leave_a_dropped_seed_out_and_say_so(marked, capsys):
    assert not command_line.run(curves, f"--runs={marked[1]}")
    printed = capsys.readouterr().out
    assert "3, 1 of them dropped" in printed
    assert " 2 [" in printed


def test_a_run_without_survivors_is_drawn_and_compared(marked):
    config, folder = marked
    with RunFolder(folder, dataclasses.replace(config, num_env_steps=16 * WINDOW), EXECUTION) as writer:
        names = ("episode_return", "hyper/discount", "meta_grad/discount", "loss/value")
        writer.write_metrics(4 * WINDOW, dict.fromkeys(names, np.full(3, np.nan)))
    plots.draw_training(folder)
    metrics = metrics_csv.read_metrics(folder)
    assert "3 of 3 seeds dropped" in outcome.describe(config, metrics, 1.0)
    result = comparing._summarise(config, metrics, None)
    assert result["final_return"]["estimate"] is None
    assert result["dropped_seeds"] == [5, 6, 7]
