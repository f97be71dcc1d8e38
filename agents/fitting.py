"""Whether an environment and a network fit what the agents ask of them, told in a sentence.

Nothing is computed: functions are traced for the shapes and dtypes of what they return. Otherwise a mistake would show
as a page of tracing, or not at all.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from agents import training
from agents.networks import Network, describe
from agents.training import Breach, Learning, Summary, TrainingState
from envs import environment
from envs.environment import Environment
from metagrad.windows import Position

METHODS = ("initial", "transition", "observation", "reward", "terminal", "truncated")
KINDS: Mapping[Any, str] = {jnp.bool_: "bool", jnp.floating: "float", jnp.integer: "int32"}
"""What dtypes are called."""

LEADING = (3, 2)
"""Axes [T, B] before those of one observation, with which networks are tried."""


def check_environment(env: Environment) -> None:
    """Checks that an environment is what `envs.environment.Environment` says.

    Args:
      env: the environment.

    Raises:
      ValueError: says in one sentence what is missing, or of another type, shape or dtype.
    """
    for name in METHODS:
        if not callable(getattr(env, name, None)):
            raise ValueError(f"the environment {_name(env)} needs a method {name}, and has none")
    size = ("action_size", 1, "") if hasattr(env, "action_size") else ("num_actions", 2, "")
    for name, least, hint in (size, ("time_limit", 1, ", 2^31 - 1 where there is none")):
        value = getattr(env, name, None)
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value < 2**31:
            raise ValueError(
                f"{name} of {_name(env)} must be a whole number in [{least}, 2^31){hint}, and is {value!r}"
            )
    try:
        hash(env)
    except TypeError as error:
        message = f"the environment {_name(env)} must be hashable, as a frozen dataclass of numbers is ({error})"
        raise ValueError(message) from error
    key = jax.eval_shape(lambda: jax.random.key(0))
    action = jax.eval_shape(lambda: environment.some_action(env))
    state = _traced(env, "initial", key)
    if not jax.tree.leaves(state):
        raise ValueError(f"initial of {_name(env)} must return a tree of arrays, and returned none")
    following = _traced(env, "transition", state, action, key)
    _compare(env, following, state)
    observation = _traced(env, "observation", state)
    if not jax.tree.leaves(observation):
        raise ValueError(f"observation of {_name(env)} must return a tree of arrays, and returned none")
    _is(_traced(env, "reward", state, action, following), jnp.floating, (), f"reward of {_name(env)}")
    for name in ("terminal", "truncated"):
        _is(_traced(env, name, following), jnp.bool_, (), f"{name} of {_name(env)}")


def observation_shape(env: Environment) -> Any:
    """Returns the shapes and dtypes of one observation of an environment that fits."""
    return jax.eval_shape(lambda: env.observation(env.initial(jax.random.key(0))))


def check_action_mask(env: Environment) -> None:
    """Checks that the action mask, if observations of an environment that fits have one, has a place for each action.

    Raises:
      ValueError: says in one sentence what it is instead; broadcasting would hide it, or fail much later.
    """
    observation = observation_shape(env)
    if hasattr(observation, "action_mask") and hasattr(env, "num_actions"):
        what = f"action_mask of the observation of {_name(env)}"
        _is(observation.action_mask, jnp.bool_, (env.num_actions,), what)


def check_network(network: Network, env: Environment) -> None:
    """Checks that a network fits an environment.

    Args:
      network: the network.
      env: an environment that fits.

    Raises:
      ValueError: says in one sentence what is of another shape or dtype.
    """
    one = observation_shape(env)
    batch, batches = (
        jax.tree.map(lambda leaf, axes=axes: jax.ShapeDtypeStruct((*axes, *leaf.shape), leaf.dtype), one)
        for axes in (LEADING[1:], LEADING)
    )
    params = _told(network.init, "init of the network", jax.eval_shape(lambda: jax.random.key(0)), batch)
    predictions = _told(network.apply, "apply of the network", params, batches)
    for name in ("policy", "value"):
        if not hasattr(predictions, name):
            raise ValueError(f"the network must return Predictions, with {name}, and returned {describe(predictions)}")
    of_network = "of the network, for observations [3, 2, ...],"
    _is(predictions.value, jnp.floating, LEADING, f"value {of_network}")
    policy = predictions.policy
    if hasattr(policy, "logits") and hasattr(env, "num_actions"):
        _is(policy.logits, jnp.floating, (*LEADING, env.num_actions), f"logits {of_network}")
    key = jax.eval_shape(lambda: jax.random.key(0))
    action = _told(lambda policy, key: policy.sample(key), f"sample of the policy {of_network}", policy, key)
    wanted = jax.eval_shape(lambda: environment.some_action(env))
    kind = jnp.floating if jnp.issubdtype(wanted.dtype, jnp.floating) else jnp.integer
    _is(action, kind, (*LEADING, *wanted.shape), f"an action {of_network}")
    log_prob = _told(lambda policy, action: policy.log_prob(action), "log_prob of the policy", policy, action)
    _is(log_prob, jnp.floating, LEADING, "log_prob of the policy")


def _traced(env: Environment, name: str, *arguments: Any) -> Any:
    """Returns the shapes of what a method of an environment returns."""
    return _told(getattr(env, name), f"{name} of {_name(env)}", *arguments)


def _told(function: Callable, what: str, *arguments: Any) -> Any:
    """Traces a function; whatever goes wrong in it becomes one sentence, with the error as its cause."""
    try:
        return jax.eval_shape(function, *arguments)
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        raise ValueError(f"{what} cannot be traced by JAX: {type(error).__name__}: {reason}") from error


def _is(found: Any, kind: Any, shape: tuple[int, ...], what: str) -> None:
    """Checks the dtype and shape of one array."""
    fits = hasattr(found, "dtype") and jnp.issubdtype(found.dtype, kind) and found.shape == shape
    if not fits:
        wanted = f"{KINDS[kind]}{list(shape)}"
        raise ValueError(f"{what} must be {wanted}, and is {describe(found)}")


def _compare(env: Environment, found: Any, expected: Any) -> None:
    """Checks that the state after a transition has the arrays of a first state."""
    later, first = _leaves(found), _leaves(expected)
    for path in sorted(first.keys() | later.keys()):
        if first.get(path) != later.get(path):
            what = f"{path.strip('.')} of the state" if path else "the state"
            needs, has = first.get(path, "nothing"), later.get(path, "nothing")
            raise ValueError(
                f"transition of {_name(env)} must return {what} as initial does, {needs}, and returns {has}"
            )


def _leaves(tree: Any) -> dict[str, str]:
    """Returns the dtype and shape of each array in a tree of shapes, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): describe(leaf) for path, leaf in leaves}


def _name(env: Environment) -> str:
    return type(env).__name__


def check_learning(learning: Learning) -> None:
    """Checks that what learns is what `agents.training.Learning` says, but for its estimator.

    Args:
      learning: what learns.

    Raises:
      ValueError: says in one sentence what is returned instead, or what a function raised.
    """
    problem, key = learning.problem, jax.eval_shape(lambda: jax.random.key(0))
    state = _told(partial(training.init, learning), "start of the agent", key)
    position = state.position
    if not isinstance(position, Position):
        raise ValueError(f"start of the agent must return a Position and a key, and returned {describe(position)}")
    for path, leaf in _leaves_of(state.eta):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(f"eta must be a tree of floats, and {path} of it is {describe(leaf)}")
    learner, metrics = _told(problem.update, "update of the agent", position.learner_state, state.eta, position.batch)
    _is_like(learner, position.learner_state, "the learner that update returns must be like the one that it is given")
    for path, leaf in _leaves_of(metrics):
        if leaf.shape or leaf.dtype == jnp.bool_:
            raise ValueError(f"update must report single numbers, and {path} of them is {describe(leaf)}")
    loss = _told(problem.outer_loss, "outer_loss of the agent", learner, position.batch)
    _is(loss, jnp.floating, (), "the outer loss")
    data = _told(problem.collect, "collect of the agent", learner, state.eta, position.actor_state, key)
    _is_like(data, position[1:], "the actor's state and batch that collect returns must be like those at the start")
    _check_report(learning, state, metrics)


def check_estimator(learning: Learning) -> None:
    """Checks that the estimator of something that fits returns what `metagrad.estimators.Estimator` says.

    Args:
      learning: what learns, with an estimator.

    Raises:
      ValueError: says in one sentence what is returned instead, or what a function raised.
    """
    assert learning.estimator is not None
    problem, number, key = learning.problem, learning.estimator.updates, jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(partial(training.init, learning), key)
    position = state.position
    _, metrics = jax.eval_shape(problem.update, position.learner_state, state.eta, position.batch)
    expected = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((number, *leaf.shape), leaf.dtype), metrics)
    estimate = partial(learning.estimator.estimate, problem)
    gradient, end, reported = _told(estimate, "estimate of the estimator", state.eta, position, key)
    _is_like(gradient, state.eta, "the gradient that its estimate returns must be like the eta that it is given")
    _is_like(end, position, "the end that its estimate returns must be like the start that it is given")
    what = "the metrics that its estimate returns must be those of the inner problem's updates, with a leading axis of"
    _is_like(reported, expected, f"{what} its {number} updates")


def _check_report(learning: Learning, state: TrainingState, metrics: Any) -> None:
    """Checks the columns that are reported of two seeds."""
    gradient = state.eta if learning.estimator else {}
    shape = Summary(jnp.int32(1), metrics, gradient, Breach(jnp.int32(0), jnp.int32(0)))
    eta, summary = jax.tree.map(lambda leaf: np.ones((2, *leaf.shape), leaf.dtype), (state.eta, shape))
    try:
        columns = learning.report(eta, summary)
        found = {name: np.shape(column) for name, column in columns.items()}
    except Exception as error:
        raise ValueError(f"report of the agent cannot be called: {type(error).__name__}: {error}") from error
    if "episode_return" not in found or set(found.values()) != {(2,)}:
        raise ValueError(
            f"report must return columns with a number for each seed, episode_return among them, and returned {found}"
        )


def _leaves_of(tree: Any) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(jax.tree_util.keystr(path) or "all", leaf) for path, leaf in leaves]


def _is_like(found: Any, expected: Any, must: str) -> None:
    """Compares two trees, array by array."""
    has, needs = _leaves(found), _leaves(expected)
    for path in sorted(has.keys() | needs.keys()):
        if has.get(path) != needs.get(path):
            where = f", and of it {path.strip('.')}" if path else ", and it"
            what = f"is {has[path]}" if path in has else "is missing"
            wanted = f", not {needs[path]}" if path in needs else ", which is none of it"
            raise ValueError(f"{must}{where} {what}{wanted if path in has else ''}")
