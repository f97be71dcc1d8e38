"""What a meta-gradient costs: an update of each estimator against one that tunes nothing, and against the obvious way.

Every side does the same number of updates on as many environment steps. `none` has no outer critic to train; the
estimators have. The obvious way is `jax.grad` over a Python loop, with the same update, data and outer loss: what one
would write first, and what the library's windows compute as well.
A study draws several windows in one program.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp

from agents import training
from agents.training import Agent
from experiments.benchmark import figures, timing, work
from experiments.benchmark.figures import SECONDS, Figure, Figures, Side
from experiments.benchmark.settings import Scale
from experiments.benchmark.work import Work
from experiments.building import init_seed, make_agent
from experiments.config import Config
from experiments.layout import over_devices
from metagrad import estimators, windows
from metagrad.estimators import Weights
from metagrad.meta_parameters import MetaParameters
from metagrad.windows import InnerProblem, Position

PEERS = ()

Window = Callable[[MetaParameters, Position, chex.PRNGKey], Any]
"""From eta, a position and a key to the meta-gradient, if there is one, and the position at the window's end."""

ESTIMATORS: dict[str, Callable[[int], Weights]] = {
    "multi_step": estimators.multi_step,
    "mixing": estimators.mixing,
}


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


def untuned(agent: Agent, num_updates: int) -> Window:
    """Makes the window without a meta-gradient: so many updates."""

    def window(eta: MetaParameters, start: Position, key: chex.PRNGKey) -> Position:
        problem = training.inner_problem(agent)
        keys = jax.random.split(key, num_updates)
        return jax.lax.scan(lambda position, key: windows.advance(problem, eta, position, key), start, keys)[0]

    return window


def reverse(agent: Agent, weights: Weights) -> Window:
    """Makes the window of an estimator in reverse mode."""
    return lambda *inputs: windows.meta_gradient(training.inner_problem(agent), weights, *inputs)


def forward(agent: Agent, horizon: int) -> Window:
    """Makes the window of all estimators up to a horizon in forward mode."""
    return lambda *inputs: windows.horizon_gradients(training.inner_problem(agent), horizon, *inputs)


def obvious(agent: Agent, weights: Weights) -> Window:
    """Makes the window of an estimator the obvious way."""
    return lambda *inputs: obvious_meta_gradient(training.inner_problem(agent), weights, *inputs)


def compile_window(agent: Agent, window: Window) -> jax.stages.Compiled:
    """Compiles a window, and only from the shapes of what it takes."""
    state = jax.eval_shape(partial(init_seed, agent), 0)
    return jax.jit(lambda *inputs: window(*inputs)).lower(state.eta, state.position, state.key).compile()


def program(agent: Agent, window: Window) -> timing.Program:
    """Makes the program that goes through the same window again and again, compiled."""
    compiled = compile_window(agent, window)
    state = jax.jit(partial(init_seed, agent))(0)
    return lambda: jax.block_until_ready(compiled(state.eta, state.position, state.key))


def suite(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    tuned = scale.config.with_estimator("mixing")
    suite: dict[str, Callable[[], Figure]] = {
        "single_step": partial(_against_none, scale, 1, partial(reverse, weights=estimators.single_step()), None)
    }
    for horizon in scale.horizons:
        for name, make_weights in ESTIMATORS.items():
            if horizon > 1:  # at which they are single-step
                window = partial(reverse, weights=make_weights(horizon))
                suite[f"{name}_{horizon}"] = partial(_against_none, scale, horizon, window, None)
        window = partial(forward, horizon=horizon)
        suite[f"forward_{horizon}"] = partial(_against_none, scale, horizon, window, len(tuned.meta_params))
    for horizon in scale.obvious_horizons:
        for what, measure in (("time", _obvious_time), ("memory", _obvious_memory), ("compile", _obvious_compile)):
            suite[f"obvious_{what}_{horizon}"] = partial(measure, scale, estimators.mixing(horizon))
        suite[f"study_{horizon}"] = partial(_study, scale, horizon)
    return suite


def _against_none(
    scale: Scale, horizon: int, make_window: Callable[[Agent], Window], num_directions: int | None
) -> Figure:
    """Measures an update, which is a share of a window."""
    agent, plain = (make_agent(scale.config.with_estimator(name)) for name in ("mixing", "none"))
    flops = work.window_flops(_tuned(scale), horizon, num_directions)
    return figures.race(
        SECONDS,
        "an update that tunes nothing",
        Side(program(agent, make_window(agent)), horizon),
        Side(program(plain, untuned(plain, horizon)), horizon),
        scale,
        Work(flops),
    )


def _study(scale: Scale, horizon: int) -> Figure:
    """Measures a window of all estimators as a study draws them: two for each device, all at once."""
    config = _tuned(scale)
    agent = make_agent(config)
    number = 2 * jax.local_device_count()
    state = jax.jit(partial(init_seed, agent))(0)
    keys = jax.random.split(state.key, number)
    together = over_devices(lambda key: forward(agent, horizon)(state.eta, state.position, key)[0])
    compiled = jax.jit(together).lower(keys).compile()
    flops = number * work.window_flops(config, horizon, len(config.meta_params))
    return figures.race(
        SECONDS,
        "one window at a time",
        Side(lambda: jax.block_until_ready(compiled(keys)), number),
        Side(program(agent, forward(agent, horizon))),
        scale,
        Work(flops),
    )


AGAINST_OBVIOUS = "jax.grad over a Python loop"


def _obvious_time(scale: Scale, weights: Weights) -> Figure:
    agent = make_agent(_tuned(scale))
    ours, peer = (Side(program(agent, way(agent, weights)), len(weights)) for way in (reverse, obvious))
    flops = work.window_flops(_tuned(scale), len(weights))
    return figures.race(SECONDS, AGAINST_OBVIOUS, ours, peer, scale, Work(flops))


def _obvious_memory(scale: Scale, weights: Weights) -> Figure:
    agent = make_agent(_tuned(scale))
    ours, peer = (work.peak_bytes(compile_window(agent, way(agent, weights))) for way in (reverse, obvious))
    return figures.sizes(AGAINST_OBVIOUS, ours, peer)


def _obvious_compile(scale: Scale, weights: Weights) -> Figure:
    agent = make_agent(_tuned(scale))

    def compiling(way: Callable[[Agent, Weights], Window]) -> Side:
        return Side(lambda: compile_window(agent, way(agent, weights)))

    with timing.without_cache():
        return figures.race(
            SECONDS, AGAINST_OBVIOUS, compiling(reverse), compiling(obvious), scale._replace(seconds=0.0, repeats=1)
        )


def _tuned(scale: Scale) -> Config:
    return scale.config.with_estimator("mixing")
