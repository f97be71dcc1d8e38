"""The training loop of one seed, inside one compiled program, of whatever can be stated as a `Learning`.

Inner updates and meta-updates alternate as `metagrad.windows` says. Everything that repeats, sums over an interval and
checks for numbers that are not finite included, happens inside one program; the host sees one summary an interval. The
loop over seeds is `experiments.runs.training`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from metagrad import windows
from metagrad.estimators import Estimator
from metagrad.windows import ActorState, Batch, InnerProblem, LearnerState, MetaParameters, Metrics, Position


def no_rules(batch: Batch, actor_state: ActorState | None) -> dict[str, chex.Array]:
    """Asks nothing of a batch but that its numbers are finite."""
    del batch, actor_state
    return {}


RULE = "rule/"
"""What the names of rules begin with in `checked`."""


class Learning(NamedTuple):
    """All that training has to know of whatever learns. `agents.agent.learning` makes one of an actor-critic agent.

    Attributes:
      problem: the inner problem. Its `update` reports a tree of numbers, [] each, which are added up.
      start: from a seed's key to where learning starts, and the key of all training that follows.
      eta: the first meta-parameters, any tree of floats.
      estimator: of the meta-gradient, or None to leave eta as it is.
      meta_optimizer: a complete optimizer of eta.
      report: from (eta, summary), NumPy arrays with a leading axis of seeds, to the columns of `metrics.csv`, float
        [seeds] each; `columns` makes those of a tree. A seed whose last row is empty is taken for one that was
        dropped, so one column must be finite even where no episode ended.
      rules: from a batch, and the actor's state or None within a window, to what must hold of them, bool [] by name in
        the order of telling, the same names with and without the actor's state. What breaks one is told before anything
        is that was not finite.
    """

    problem: InnerProblem
    start: Callable[[chex.PRNGKey], tuple[Position, chex.PRNGKey]]
    eta: MetaParameters
    estimator: Estimator | None
    meta_optimizer: optax.GradientTransformation
    report: Callable[[MetaParameters, "Summary"], Mapping[str, Any]]
    rules: Callable[[Batch, ActorState | None], Mapping[str, chex.Array]] = no_rules

    @property
    def updates_per_window(self) -> int:
        """Inner updates from one meta-update to the next; one where nothing is tuned."""
        return self.estimator.updates if self.estimator else 1


class TrainingState(NamedTuple):
    """All that training changes; enough to go on from.

    Attributes:
      position: learner, actor and the batch that the next update uses.
      eta: meta-parameters.
      meta_optimizer_state: of the meta-parameters.
      key: for everything random that is still to come.
      num_updates: int32 [], inner updates so far.
    """

    position: Position
    eta: MetaParameters
    meta_optimizer_state: optax.OptState
    key: chex.PRNGKey
    num_updates: chex.Array


class Breach(NamedTuple):
    """What was first not as it may be: broke a rule, or was NaN or infinite.

    Attributes:
      update: int32 [], the number of the update, counted from the start of training; -1 if there is none. A batch
        counts to the update that learns from it, a meta-update to the last update before it.
      what: int32 [], its place in `checked`.
    """

    update: chex.Array
    what: chex.Array


class Summary(NamedTuple):
    """What happened in an interval of training, of one seed.

    Attributes:
      num_updates: int32 [], inner updates.
      metrics: what each update reported, added up.
      meta_gradient: of the interval's last window, before clipping; empty where nothing is tuned.
      breach: the first.
    """

    num_updates: chex.Array
    metrics: Metrics
    meta_gradient: MetaParameters
    breach: Breach


def init(learning: Learning, key: chex.PRNGKey) -> TrainingState:
    """Initialises one seed and collects its first batch.

    Args:
      learning: what learns.
      key: the seed's key; everything random in its training derives from it.

    Returns:
      The state before the first update.
    """
    position, training_key = learning.start(key)
    meta_optimizer_state = learning.meta_optimizer.init(learning.eta)
    return TrainingState(position, learning.eta, meta_optimizer_state, training_key, jnp.int32(0))


def train(learning: Learning, state: TrainingState, num_windows: chex.Numeric) -> tuple[TrainingState, Summary]:
    """Trains one seed for some windows, or up to the first in which something is not as it may be.

    Args:
      learning: what learns.
      state: where to go on from.
      num_windows: int32 []; not static, so intervals of any length share one compiled program.

    Returns:
      The next state and the interval's summary. If a seed diverged, its state is that before the window in which it
      did, to the bit, with fewer updates; the summary includes that window and says by `breach` what broke.
    """

    def body(carry: tuple[chex.Array, TrainingState, Summary]) -> tuple[chex.Array, TrainingState, Summary]:
        windows_left, state, so_far = carry
        before = state._replace(key=jax.random.clone(state.key))
        following, window = train_window(state)
        healthy = window.breach.update < 0
        state = jax.tree.map(partial(jnp.where, healthy), following, before)
        state = state._replace(key=jax.random.clone(state.key))  # one of two, of which only one goes on
        added = jax.tree.map(jnp.add, so_far, window)
        # Nothing follows a breach, so the last window's is the first.
        joined = added._replace(meta_gradient=window.meta_gradient, breach=window.breach)
        return jnp.where(healthy, windows_left - 1, 0), state, joined

    train_window = jax.jit(partial(_train_window, learning))  # so that it is traced once, not for its shapes and again
    _, shape = jax.eval_shape(train_window, state)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape)
    nothing = nothing._replace(breach=Breach(jnp.int32(-1), jnp.int32(0)))
    start = (jnp.asarray(num_windows, jnp.int32), state, nothing)
    _, state, summary = jax.lax.while_loop(lambda carry: carry[0] > 0, body, start)
    return state, summary


def _train_window(learning: Learning, state: TrainingState) -> tuple[TrainingState, Summary]:
    """Goes through one window and, where there is an estimator, moves the meta-parameters at its end."""
    problem, num_updates = _checking(learning), learning.updates_per_window
    key, window_key = jax.random.split(state.key)
    if learning.estimator:
        gradient, position, (metrics, right) = learning.estimator.estimate(
            problem, state.eta, state.position, window_key
        )
        step, meta_optimizer_state = learning.meta_optimizer.update(gradient, state.meta_optimizer_state, state.eta)
        eta = optax.apply_updates(state.eta, step)
        metrics = jax.tree.map(lambda updates: jnp.sum(updates, 0, updates.dtype), metrics)
    else:
        gradient, eta, meta_optimizer_state = {}, state.eta, state.meta_optimizer_state
        position, (metrics, right) = windows.advance(problem, eta, state.position, window_key)
        right = right[None]
    of_batch = _of_batch(learning, position.batch, position.actor_state)
    of_meta_update = _of_meta_update(gradient, eta, meta_optimizer_state) if learning.estimator else {}
    breach = _first_breach(right, list(of_batch.values()), list(of_meta_update.values()), state.num_updates)
    state = TrainingState(position, eta, meta_optimizer_state, key, state.num_updates + num_updates)
    return state, Summary(jnp.int32(num_updates), metrics, gradient, breach)


def _first_breach(
    of_updates: chex.Array, of_batch: list[chex.Array], of_meta_update: list[chex.Array], num_updates: chex.Array
) -> Breach:
    """Finds what is first not as it may be in a window: in its updates, bool [n, checks], or after them, bool [] each.

    The next window's first batch comes before the meta-update: what it spoils would be blamed for it.
    """
    length, checks = of_updates.shape
    right = jnp.concatenate([of_updates.ravel(), jnp.stack([*of_batch, *of_meta_update, jnp.bool_(True)])])
    # All that training changes depends on these: under `jax.vmap`, XLA would compute them anew for each array of it.
    right = jax.lax.optimization_barrier(right)
    told = [(update, what) for update in range(1, length + 1) for what in range(checks)]
    told += [(length + 1, what) for what in range(len(of_batch))]
    told += [(length, checks + what) for what in range(len(of_meta_update))]
    update, what = jnp.array([*told, (0, 0)], jnp.int32)[jnp.argmin(right)]
    return Breach(jnp.where(jnp.all(right), -1, num_updates + update), what)


def _checking(learning: Learning) -> InnerProblem:
    """Returns the problem, whose `update` also reports what is as it may be, bool [checks]."""

    def update(
        learner: LearnerState, eta: MetaParameters, batch: Batch
    ) -> tuple[LearnerState, tuple[Metrics, chex.Array]]:
        learner, metrics = learning.problem.update(learner, eta, batch)
        return learner, (metrics, jnp.stack(list(_of_update(learning, batch, metrics, learner).values())))

    return learning.problem._replace(update=update)


def checked(learning: Learning) -> list[str]:
    """Names what is looked at in training, in the order of computing: a batch, the update that learns from it, ...

    ... what it reports and the learner after it, and a meta-update.
    """
    names: list[str] = []

    def look(key: chex.PRNGKey) -> None:
        state = init(learning, key)
        learner, metrics = learning.problem.update(state.position.learner_state, state.eta, state.position.batch)
        names.extend(_of_update(learning, state.position.batch, metrics, learner))
        names.extend(_of_meta_update(state.eta, state.eta, state.meta_optimizer_state))

    jax.eval_shape(look, jax.eval_shape(lambda: jax.random.key(0)))
    return names


def _of_update(learning: Learning, batch: Batch, metrics: Metrics, learner: LearnerState) -> dict[str, chex.Array]:
    """Tells what is as it may be after an update, bool [] by name, in the order of telling."""
    return _of_batch(learning, batch) | _finite("metrics", metrics) | _finite("learner", learner)


def _of_batch(learning: Learning, batch: Batch, actor_state: ActorState | None = None) -> dict[str, chex.Array]:
    rules = {f"{RULE}{name}": kept for name, kept in learning.rules(batch, actor_state).items()}
    return rules | _finite("batch", batch)


def _of_meta_update(
    gradient: MetaParameters, eta: MetaParameters, meta_optimizer_state: optax.OptState
) -> dict[str, chex.Array]:
    return (
        _finite("meta_grad", gradient)
        | _finite("meta_parameters", eta)
        | _finite("meta_optimizer", meta_optimizer_state)
    )


def _finite(prefix: str, tree: Any) -> dict[str, chex.Array]:
    """Tells of each array of floats in a tree, by its path, whether all its numbers are finite, bool []."""
    leaves = {name: leaf for name, leaf in by_path(prefix, tree).items() if jnp.issubdtype(leaf.dtype, jnp.inexact)}
    return {name: jnp.all(jnp.isfinite(leaf)) for name, leaf in leaves.items()}


def by_path(prefix: str, tree: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths behind a prefix, such as `prefix/linear/w`."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    paths = [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
    return {"/".join(part for part in (prefix, path) if part): leaf for path, leaf in paths}


def columns(prefix: str, tree: Any) -> dict[str, Any]:
    """Makes columns of a tree, for `Learning.report`.

    Args:
      prefix: of their names.
      tree: NumPy arrays with a leading axis of seeds.

    Returns:
      Float [seeds] by name: one for each single number; of each array of numbers its mean, least and greatest.
    """
    made: dict[str, Any] = {}
    for name, leaf in by_path(prefix, tree).items():
        numbers = leaf.reshape(len(leaf), -1)
        made |= (
            {name: leaf}
            if leaf.ndim == 1
            else {
                f"{name}/mean": numbers.mean(1),
                f"{name}/least": numbers.min(1),
                f"{name}/greatest": numbers.max(1),
            }
        )
    return made
