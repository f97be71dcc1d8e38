"""Training as a program, for the suites that measure it."""

from typing import Any

import jax
import numpy as np

from experiments.config.settings import Config
from experiments.runs.building import init_seeds, make_agent
from experiments.runs.layout import lay_out
from experiments.runs.seeds import training_program
from experiments.storage import checkpoints
from experiments.studies.benchmark import timing
from experiments.studies.benchmark.timing import Program


def training(config: Config, num_windows: int) -> Program:
    """Makes the program by which `experiments.train` trains all seeds of a run at once.

    Args:
      config: the settings, `num_seeds` among them.
      num_windows: of a call; each is an update of every seed, or `horizon` of them.

    Returns:
      The program, compiled, which goes on from where its last call ended.
    """
    agent, layout = make_agent(config), lay_out(config.num_seeds)
    program, inputs = training_program(agent, [], layout)
    compiled = program.lower(*inputs).compile()
    (states,) = layout.split(checkpoints.without_keys(init_seeds(agent, config)))
    (counts,) = layout.split(np.full(config.num_seeds, num_windows, np.int32))

    def step(states: Any) -> Any:
        return compiled(*jax.device_put((states, {}, counts), layout.sharding))[0]

    return timing.stepping(step, states)
