"""The programs as an accelerator takes them, built for one that is not there: seeds and windows all at once."""

from functools import partial

import jax
import jax.export
import numpy as np
import pytest

from agents.agent import inner_problem, learning
from experiments.config.presets import PRESETS
from experiments.config.settings import Config
from experiments.runs import seeds
from experiments.runs.building import init_seed, make_agent
from experiments.runs.layout import lay_out, over_devices
from experiments.studies.variance import agent_points, sampling
from experiments.studies.variance.sampling import OUTER_CRITIC, OWN_CRITIC
from experiments.studies.variance.settings import STUDY_PRESETS, make_study

CONFIG = Config(
    num_seeds=3,
    horizon=2,
    board_size="3",
    num_envs=4,
    rollout_length=5,
    num_env_steps=400,
    num_channels=4,
    policy_width=8,
    value_width=8,
    meta_params=("discount",),
)


@pytest.fixture(autouse=True)
def accelerator(monkeypatch):
    """Has the programs built as for an accelerator."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def _training(config):
    return seeds.training_program(make_agent(config), [], lay_out(config.num_seeds))


def _study(config, num_windows):
    """Returns the program of a study's windows, from keys as data, and the shapes of what it takes."""
    agent = make_agent(config)
    problem = inner_problem(agent)._replace(outer_loss=partial(agent_points.outer_losses, agent))
    start = agent_points.make_start(agent, problem, burn_in=10)
    critics = (OUTER_CRITIC, OWN_CRITIC)
    program = sampling.make_windows(problem, start, config.horizon, config.meta_params, critics, over_devices)
    state = jax.eval_shape(partial(init_seed, learning(agent)), 0)

    def of_data(fixed, eta, data):
        return program(fixed, eta, jax.random.wrap_key_data(data))

    fixed = (state.position.learner_state, state.position.actor_state)
    return jax.jit(of_data), (fixed, state.eta, jax.ShapeDtypeStruct((num_windows, 2), np.uint32))


@pytest.mark.parametrize(
    ("program", "at_once"),
    [
        (partial(_training, CONFIG), "tensor<3x4x4xf32>"),  # what all policies say: [seeds, B, actions]
        (
            partial(_study, CONFIG, 7),
            "tensor<7x5x4x3x3x5xf32>",
        ),  # what all windows see: [windows, T, B, 3, 3, features]
    ],
)
def test_programs_are_lowered_for_cuda_with_everything_at_once(program, at_once):
    program, inputs = program()
    exported = jax.export.export(program, platforms=["cuda"])(*inputs)
    assert exported.platforms == ("cuda",)
    assert at_once in exported.mlir_module()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("what", "program", "number"),
    [
        ("train --seeds_per_batch", lambda config, number: _training(config), 8),
        ("variance --chunk_size", _study, make_study({"preset": "paper"}).chunk_size),
    ],
)
def test_the_paper_preset_fits_16_gib_by_the_cpus_plan(what, program, number):
    presets = PRESETS if what.startswith("train") else STUDY_PRESETS
    program, inputs = program(Config(**presets["paper"]), number)
    plan = program.lower(*inputs).compile().memory_analysis()
    total = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    print(f"{what}: {total / 2**30:.2f} GiB for {number} at once; {int(number * 2**34 / total)} would fit 16 GiB")
    assert total < 2**34
