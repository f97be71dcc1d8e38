"""What a meta-gradient costs: an update of each estimator against one that tunes nothing, and against the obvious way.

Every side goes through as many windows in one program, and seconds are those of an update. `none`, whose windows are
single updates, has no outer critic to train; the estimators have. The obvious way is `jax.grad` over a Python loop,
with the same update, data and outer loss: what one would write first, and what the library's windows compute as well.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp

from agents import training
from agents.training import Agent
from experiments.runs.building import init_seed, make_agent
from experiments.studies.benchmark import figures, timing, work
from experiments.studies.benchmark.figures import SECONDS, Figure, Figures, Side
from experiments.studies.benchmark.settings import Scale
from experiments.studies.benchmark.work import Work
from metagrad import estimators, windows
from metagrad.estimators import Weights
from metagrad.meta_parameters import MetaParameters
from metagrad.windows import InnerProblem, Position

PEERS = ()

Window = Callable[[MetaParameters, Position, chex.PRNGKey], Any]
"""From eta, a position and a key to the meta-gradient, () if there is none, the window's end, and perhaps metrics."""


def obvious_meta_gradient(
    problem: InnerProblem, weights: Weights, eta: MetaParameters, start: Position, key: chex.PRNGKey
) -> tuple[MetaParameters, Position]:
    """Computes what `metagrad.windows.meta_gradient` does, as one would write it first.

    Args:
      problem: the inner problem.
      weights: of the horizons 1, ..., n.
      eta: meta-parameters, a tree of floats.
      start: `x_0`, the actor's state and `tau_0`.
      key: the window's randomness, used as there.

    Returns:
      The meta-gradient, like `eta`, and the window's end.
    """

    def window_loss(eta: MetaParameters) -> tuple[chex.Array, Position]:
        learner_state, actor_state, batch = start
        loss = jnp.zeros(())
        for number, weight in enumerate(weights):
            learner_state, _ = problem.update(learner_state, eta, batch)
            collected = problem.collect(learner_state, actor_state, jax.random.fold_in(key, number))
            actor_state, batch = jax.lax.stop_gradient(collected)
            if weight:
                loss += weight * problem.outer_loss(learner_state, batch)
        return loss, Position(learner_state, actor_state, batch)

    return jax.grad(window_loss, has_aux=True)(eta)


def untuned(agent: Agent) -> Window:
    """Makes the window without a meta-gradient: one update."""
    return lambda *inputs: ((), windows.advance(training.inner_problem(agent), *inputs)[0])


def reverse(agent: Agent, weights: Weights) -> Window:
    """Makes the window of an estimator in reverse mode."""
    return lambda *inputs: windows.meta_gradient(training.inner_problem(agent), weights, *inputs)


def forward(agent: Agent, horizon: int) -> Window:
    """Makes the window of all estimators up to a horizon in forward mode."""
    return lambda *inputs: windows.horizon_gradients(training.inner_problem(agent), horizon, *inputs)


def obvious(agent: Agent, weights: Weights) -> Window:
    """Makes the window of an estimator the obvious way."""
    return lambda *inputs: obvious_meta_gradient(training.inner_problem(agent), weights, *inputs)


def compile_windows(agent: Agent, window: Window, number: int) -> jax.stages.Compiled:
    """Compiles so many windows, one after another, and only from the shapes of what they take."""

    def advance(eta: MetaParameters, start: Position, key: chex.PRNGKey) -> tuple[Position, Any]:
        def body(position: Position, key: chex.PRNGKey) -> tuple[Position, Any]:
            gradient, position, *_ = window(eta, position, key)
            return position, gradient

        return jax.lax.scan(body, start, jax.random.split(key, number))

    state = jax.eval_shape(partial(init_seed, agent), 0)
    return jax.jit(advance).lower(state.eta, state.position, state.key).compile()


def suite(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    horizon, mixing = scale.tuned.horizon, estimators.mixing(scale.tuned.horizon)
    against_none = {
        "single_step": (1, partial(reverse, weights=estimators.single_step()), None),
        f"multi_step_{horizon}": (horizon, partial(reverse, weights=estimators.multi_step(horizon)), None),
        f"mixing_{horizon}": (horizon, partial(reverse, weights=mixing), None),
        f"forward_{horizon}": (horizon, partial(forward, horizon=horizon), len(scale.tuned.meta_params)),
    }
    against_obvious = {"time": _obvious_time, "memory": _obvious_memory, "compile": _obvious_compile}
    return {name: partial(_against_none, scale, *window) for name, window in against_none.items()} | {
        f"obvious_{what}_{horizon}": partial(measure, scale, mixing) for what, measure in against_obvious.items()
    }


def _side(scale: Scale, agent: Agent, window: Window, num_updates: int) -> Side:
    """Makes the side that goes through windows of so many updates each, and says how long an update takes."""
    compiled = compile_windows(agent, window, scale.windows)
    state = jax.jit(partial(init_seed, agent))(0)
    return Side(
        lambda: jax.block_until_ready(compiled(state.eta, state.position, state.key)), num_updates * scale.windows
    )


def _work(scale: Scale, horizon: int, num_directions: int | None = None) -> Work:
    return Work(scale.windows * work.window_flops(scale.tuned, horizon, num_directions))


def _against_none(
    scale: Scale, horizon: int, make_window: Callable[[Agent], Window], num_directions: int | None
) -> Figure:
    """Measures an update, which is a share of a window."""
    agent, plain = make_agent(scale.tuned), make_agent(scale.tuned.with_estimator("none"))
    return figures.race(
        SECONDS,
        "an update that tunes nothing",
        _side(scale, agent, make_window(agent), horizon),
        _side(scale, plain, untuned(plain), 1),
        scale,
        _work(scale, horizon, num_directions),
    )


AGAINST_OBVIOUS = "jax.grad over a Python loop"


def _obvious_time(scale: Scale, weights: Weights) -> Figure:
    agent = make_agent(scale.tuned)
    ours, peer = (_side(scale, agent, way(agent, weights), len(weights)) for way in (reverse, obvious))
    return figures.race(SECONDS, AGAINST_OBVIOUS, ours, peer, scale, _work(scale, len(weights)))


def _both_ways(scale: Scale, weights: Weights) -> list[Callable[[], jax.stages.Compiled]]:
    agent = make_agent(scale.tuned)
    return [partial(compile_windows, agent, way(agent, weights), scale.windows) for way in (reverse, obvious)]


def _obvious_memory(scale: Scale, weights: Weights) -> Figure:
    ours, peer = (work.peak_bytes(compile_way()) for compile_way in _both_ways(scale, weights))
    return figures.sizes(AGAINST_OBVIOUS, ours, peer)


def _obvious_compile(scale: Scale, weights: Weights) -> Figure:
    ours, peer = (Side(compile_way) for compile_way in _both_ways(scale, weights))
    with timing.without_cache():
        return figures.race(SECONDS, AGAINST_OBVIOUS, ours, peer, scale._replace(seconds=0.0, repeats=1))
