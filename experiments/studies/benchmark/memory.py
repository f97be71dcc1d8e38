"""The memory of a window by the compiler's plan, against the horizon in both modes, and against the seeds.

The horizons' are compared with the first of them, and the seeds' with one seed, mapped as training maps them.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from agents.training import Agent
from experiments.runs.building import init_seed, make_agent, over_leading_axis
from experiments.studies.benchmark import estimators, figures, work
from experiments.studies.benchmark.estimators import Window
from experiments.studies.benchmark.figures import Figure, Figures
from experiments.studies.benchmark.settings import Scale
from metagrad.estimators import mixing

PEERS = ()

MODES: dict[str, Callable[[Agent, int], Window]] = {
    "reverse": lambda agent, horizon: estimators.reverse(agent, mixing(horizon)),
    "forward": estimators.forward,
}


def suite(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    horizons = {
        f"{mode}_{horizon}": partial(_by_horizon, scale, mode, horizon)
        for mode in MODES
        for horizon in scale.memory_horizons[1:]
    }
    seeds = {
        f"{mode}_seeds_{number}": partial(_by_seeds, scale, mode, number) for mode in MODES for number in scale.seeds
    }
    return horizons | seeds


def _by_horizon(scale: Scale, mode: str, horizon: int) -> Figure:
    agent = make_agent(scale.config.with_estimator("mixing"))
    first = scale.memory_horizons[0]
    ours, peer = (
        work.peak_bytes(estimators.compile_windows(agent, MODES[mode](agent, number), scale.windows))
        for number in (horizon, first)
    )
    return figures.sizes(f"horizon {first}", ours, peer)


def _by_seeds(scale: Scale, mode: str, num_seeds: int) -> Figure:
    config = scale.config.with_estimator("mixing")
    agent = make_agent(config)
    window = over_leading_axis(lambda inputs: MODES[mode](agent, config.horizon)(*inputs))

    def peak(number: int) -> float:
        states: Any = jax.eval_shape(jax.vmap(partial(init_seed, agent)), jnp.arange(number))
        return work.peak_bytes(jax.jit(window).lower((states.eta, states.position, states.key)).compile())

    return figures.sizes("one seed", peak(num_seeds), peak(1))
