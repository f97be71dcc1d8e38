"""Draws independent samples, chunk by chunk; what is drawn is on disk and is not drawn again.

A sample is a window's horizon gradients: one forward pass gives that of every horizon, by every critic, so every
estimator is a weighted sum of the same samples, on common random numbers. Or it is a pair of lifetimes, whose mean is
the gradient of the true return.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents import fitting, training
from agents.agent import Agent, learning
from experiments.config.ranges import UsageError
from experiments.runs import compilation
from experiments.runs.divergence import SLOPES, NonFiniteError
from experiments.storage import checkpoints, files
from metagrad import evolution, windows
from metagrad.estimators import Estimator
from metagrad.hyperparameters import MetaParameters
from metagrad.windows import InnerProblem, Position

OUTER_CRITIC, OWN_CRITIC = "outer_critic", "own_critic"
"""The critics whose advantages an outer loss may take: the one that is for it, and the agent's."""

Start = Callable[[Any, MetaParameters, chex.PRNGKey], Position]
"""From whatever is held fixed, eta and a key to the beginning of a window, drawn independently for each key."""

Program = Callable[[Any, MetaParameters, chex.PRNGKey], chex.Array]
"""From what is held fixed, eta and keys [N] to as many samples, float [N, ..., M]; jitted."""

Mapped = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
"""Makes of a function one over a leading axis."""


class Point(NamedTuple):
    """Something to study: a learner and its hyperparameters, held fixed.

    Attributes:
      name: fit for a file's name, and for a legend.
      about: what `variance.json` says of it.
      critics: C names of critics, by each of which the windows' outer losses are evaluated.
      windows: from `make_windows`.
      lifetimes: from `make_lifetimes`, where the gradient of the true return is sampled.
      fixed: the programs' first argument.
      eta: the programs' second argument.
      exact: what the estimators' expectations are compared with, if it is known: float [n, M] by name.
      components: names of the M numbers.
      own: from `make_estimates`, by the names of estimators.
    """

    name: str
    about: dict[str, Any]
    critics: tuple[str, ...]
    windows: Program
    lifetimes: Program | None
    fixed: Any
    eta: MetaParameters
    exact: dict[str, np.ndarray]
    components: Sequence[str]
    own: Mapping[str, Program] = {}


def make_windows(
    problem: InnerProblem, start: Start, horizon: int, names: Sequence[str], critics: Sequence[str], mapped: Mapped
) -> Program:
    """Makes the program that draws windows, float [C, n, M]: gradients by each critic, at every horizon.

    Args:
      problem: whose outer loss is a dictionary of losses: one by each critic.
      start: of a window.
      horizon: n.
      names: meta-parameters to differentiate, M numbers together; the others stay as they are.
      critics: C names.
      mapped: over windows.
    """

    def sample(selecting: InnerProblem, eta: MetaParameters, position: Position, key: chex.PRNGKey) -> chex.Array:
        gradients, _, _ = windows.horizon_gradients(selecting, horizon, eta, position, key)
        return jnp.stack([_flatten(gradients[critic], names, leading=1) for critic in critics])

    return _over_keys(sample, problem, start, names, mapped)


def make_estimates(
    problem: InnerProblem,
    start: Start,
    estimator: Estimator,
    names: Sequence[str],
    critics: Sequence[str],
    mapped: Mapped,
) -> Program:
    """Makes the program that draws an estimator's gradients, float [C, M]; all else is as in `make_windows`."""

    def sample(selecting: InnerProblem, eta: MetaParameters, position: Position, key: chex.PRNGKey) -> chex.Array:
        def by(critic: str) -> chex.Array:
            def outer_loss(learner: Any, batch: Any) -> chex.Array:
                return selecting.outer_loss(learner, batch)[critic]

            own = estimator.estimate(selecting._replace(outer_loss=outer_loss), eta, position, key)[0]
            return _flatten(own, names)

        return jnp.stack([by(critic) for critic in critics])

    return _over_keys(sample, problem, start, names, mapped)


def check_estimator(agent: Agent, estimator: Estimator, name: str) -> None:
    """Checks that an estimator fits an agent.

    Raises:
      UsageError: says in one sentence what does not fit, and which of `--estimators` it is.
    """
    try:
        fitting.check_estimator(learning(dataclasses.replace(agent, estimator=estimator)))
    except ValueError as error:
        raise UsageError(f"`estimators`={name}: {error}") from error


def make_lifetimes(
    problem: InnerProblem,
    start: Start,
    evaluate: Callable[[Position, chex.PRNGKey], chex.Array],
    horizons: Sequence[int],
    scale: float,
    names: Sequence[str],
    mapped: Mapped,
) -> Program:
    """Makes the program that draws pairs of lifetimes, float [H, M], by `evolution.lifetime_gradients`.

    The samples point downhill, as those of an outer loss do. `evaluate` is the return of a learner, to be raised, after
    each of H `horizons`; `scale` is of eta's perturbation; all else is as in `make_windows`.
    """

    def sample(selecting: InnerProblem, eta: MetaParameters, position: Position, key: chex.PRNGKey) -> chex.Array:
        gradients = evolution.lifetime_gradients(selecting, evaluate, horizons, scale, eta, position, key)
        return -_flatten(gradients, names, leading=1)

    return _over_keys(sample, problem, start, names, mapped)


def components(eta: MetaParameters, names: Sequence[str]) -> list[str]:
    """Names every number of the named meta-parameters, in the order of `_flatten`: `name`, or `name/path[3]`."""
    sizes = {path: (leaf.ndim, leaf.size) for name in names for path, leaf in training.by_path(name, eta[name]).items()}
    return [path if not ndim else f"{path}[{number}]" for path, (ndim, size) in sizes.items() for number in range(size)]


def _flatten(gradients: MetaParameters, names: Sequence[str], leading: int = 0) -> chex.Array:
    """Joins the named gradients, behind some leading axes, into one vector of M components."""
    leaves = [leaf for name in names for leaf in jax.tree.leaves(gradients[name])]
    return jnp.concatenate([leaf.reshape(*leaf.shape[:leading], -1) for leaf in leaves], -1)


def _over_keys(
    sample: Callable[[InnerProblem, MetaParameters, Position, chex.PRNGKey], chex.Array],
    problem: InnerProblem,
    start: Start,
    names: Sequence[str],
    mapped: Mapped,
) -> Program:
    """Draws a sample for each key, from a start of its own, with the named meta-parameters alone as eta."""

    @jax.jit
    def program(fixed: Any, eta: MetaParameters, keys: chex.PRNGKey) -> chex.Array:
        def update(learner: Any, selected: MetaParameters, batch: Any) -> tuple[Any, Any]:
            return problem.update(learner, eta | selected, batch)

        def collect(learner: Any, selected: MetaParameters, actor: Any, key: chex.PRNGKey) -> tuple[Any, Any]:
            return problem.collect(learner, eta | selected, actor, key)

        selecting = problem._replace(update=update, collect=collect)

        def draw(key: chex.PRNGKey) -> chex.Array:
            start_key, sample_key = jax.random.split(key)
            selected = {name: eta[name] for name in names}
            return sample(selecting, selected, start(fixed, eta, start_key), sample_key)

        return mapped(draw)(keys)

    return program


def draw(
    point: Point,
    program: Program,
    key: chex.PRNGKey,
    num_samples: int,
    chunk_size: int,
    folder: pathlib.Path,
    progress: Callable[[int], Any],
) -> np.ndarray:
    """Draws samples at a point, and goes on from those that are on disk already.

    Args:
      point: where.
      program: one of the point's.
      key: the samples' randomness; sample i depends on it and on i alone, not on the chunks.
      num_samples: N.
      chunk_size: samples of one call of the program, as many as fit the memory; on a CPU they take turns.
      folder: for the samples; a file a chunk, named by its first sample.
      progress: told how many samples have come.

    Returns:
      The samples, float64 [N, ..., M].

    Raises:
      UsageError: if the samples on disk were drawn from another agent, or with another key, or cannot be read.
      WriteError: if the folder cannot be written to any more.
      NonFiniteError: if a sample is not finite; leaving it out would bend every statistic.
    """
    leaves = jax.tree.leaves(checkpoints.without_keys((point.fixed, point.eta, key)))
    mark = hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in leaves)).hexdigest() + "\n"
    owner = folder / "drawn_from"
    if not owner.exists():
        with files.told(folder):
            folder.mkdir(parents=True, exist_ok=True)
            files.write_whole(owner, mark)
    if owner.read_bytes() != mark.encode():
        raise UsageError(
            f"{folder}: holds samples of another agent than this, or in another precision; choose another `logdir`"
        )
    chunks: list[np.ndarray] = []
    drawn = 0
    while drawn < num_samples:
        file = folder / f"{drawn:08d}.npy"
        if file.exists():
            chunk = _read(file, chunks)
        else:
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, drawn + jnp.arange(chunk_size))
            with compilation.checking_themselves():
                chunk = np.asarray(program(point.fixed, point.eta, keys))
            finite = np.isfinite(chunk).reshape(len(chunk), -1).all(1)
            if not finite.all():
                what = f"the gradients of sample {drawn + int(np.argmin(finite))} at {point.name}"
                raise NonFiniteError(f"stopped: {what} are not finite{SLOPES}")
            with files.told(folder), files.written_whole(file) as stream:
                np.save(stream, chunk)
        progress(min(len(chunk), num_samples - drawn))
        chunks.append(chunk)
        drawn += len(chunk)
    return np.concatenate(chunks)[:num_samples].astype(np.float64)


def _read(file: pathlib.Path, before: Sequence[np.ndarray]) -> np.ndarray:
    """Reads a chunk of samples, which must be like those before it."""
    try:
        chunk = np.load(file)
        if not (chunk.size and np.issubdtype(chunk.dtype, np.floating) and np.isfinite(chunk).all()):
            raise ValueError("it holds something other than finite numbers")
        np.concatenate([*before[:1], chunk])  # which needs the same shapes
    except Exception as error:  # whatever a damaged file leads to
        raise UsageError(f"{file}: is not a file of samples; without it they are drawn again ({error})") from error
    return chunk
