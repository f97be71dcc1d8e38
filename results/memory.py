"""Estimates the memory that training and the study need on an accelerator at the `paper` preset, without one.

    JAX_PLATFORMS=cpu python -m results.memory

The programs are mapped over seeds and windows all at once, as an accelerator takes them, but compiled for the CPU,
whose compiler says how much memory its own plan needs. A GPU's compiler fuses other operations: these are estimates, no
measurements of a GPU.
"""

import os
from functools import partial
from unittest import mock

import jax

from agents import training
from experiments.config.settings import PRESETS, Config
from experiments.runs.building import init_seed, make_agent
from experiments.runs.layout import lay_out, over_devices
from experiments.runs.training import training_program
from experiments.studies.variance import sampling, snake_points
from experiments.studies.variance.sampling import OUTER_CRITIC, OWN_CRITIC
from experiments.studies.variance.settings import CHUNK_SIZES, STUDY_PRESETS

GIB = 2**30
LARGEST = 16.0
"""GiB that everything is to fit."""


def gibibytes(compiled: jax.stages.Compiled) -> tuple[float, float]:
    """Returns a program's temporary memory, and all of it with what goes in and comes out, in GiB."""
    plan = compiled.memory_analysis()
    total = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return plan.temp_size_in_bytes / GIB, total / GIB


def training_memory() -> tuple[int, tuple[float, float]]:
    """Returns the preset's number of seeds, and the memory of its training with mixing."""
    config = Config(**PRESETS["paper"])
    program, inputs = training_program(make_agent(config), lay_out(config.num_seeds))
    return config.num_seeds, gibibytes(program.lower(*inputs).compile())


def study_memory() -> tuple[int, tuple[float, float]]:
    """Returns the preset's windows of one call, and their memory."""
    config = Config(**STUDY_PRESETS["paper"])
    agent = make_agent(config)
    problem = training.inner_problem(agent)._replace(outer_loss=partial(snake_points._outer_losses, agent))
    start = snake_points.make_start(agent, problem, burn_in=10)
    critics = (OUTER_CRITIC, OWN_CRITIC)
    windows = sampling.make_windows(problem, start, config.horizon, config.meta_params, critics, over_devices)
    state = jax.eval_shape(partial(init_seed, agent), 0)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), CHUNK_SIZES["paper"]))
    fixed = (state.position.learner_state, state.position.actor_state)
    return CHUNK_SIZES["paper"], gibibytes(windows.lower(fixed, state.eta, keys).compile())


def main() -> None:
    """Prints both."""
    # Memory is planned before machine code is made, which need not be good here.
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    with mock.patch.object(jax, "default_backend", return_value="gpu"):
        for what, flag, memory in (
            ("train", "seeds_per_batch", training_memory),
            ("variance", "chunk_size", study_memory),
        ):
            number, (temporary, total) = memory()
            print(
                f"{what}: {temporary:.2f} GiB temporary, {total:.2f} GiB in all for {number} at once; "
                f"{int(number * LARGEST / total)} would fit {LARGEST:.0f} GiB (--{flag})",
                flush=True,
            )


if __name__ == "__main__":
    main()
