"""The programs as an accelerator takes them, lowered for one that is not there: seeds and windows all at once."""

import dataclasses
from functools import partial

import jax
import jax.export
import numpy as np
import pytest

from agents import training
from experiments.config.settings import Config
from experiments.runs import seeds
from experiments.runs.building import init_seeds, make_agent
from experiments.runs.layout import lay_out, over_devices
from experiments.storage.checkpoints import without_keys
from experiments.studies.variance import agent_points, sampling
from experiments.studies.variance.sampling import OUTER_CRITIC, OWN_CRITIC

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
)


@pytest.fixture(autouse=True)
def accelerator(monkeypatch):
    """Has the programs built as for an accelerator."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def _lowered(program, *inputs):
    """Lowers a program for CUDA; returns its text."""
    exported = jax.export.export(program, platforms=["cuda"])(*inputs)
    assert exported.platforms == ("cuda",)
    return exported.mlir_module()


def test_training_is_lowered_for_cuda_with_all_seeds_at_once():
    agent, layout = make_agent(CONFIG), lay_out(CONFIG.num_seeds)
    program, inputs = seeds.training_program(agent, [], layout)
    text = _lowered(program, *inputs)
    assert "tensor<3x4x4xf32>" in text  # what all policies say at once: [seeds, B, actions]


def test_the_study_is_lowered_for_cuda_with_all_windows_at_once():
    agent = make_agent(CONFIG)
    problem = training.inner_problem(agent)._replace(outer_loss=partial(agent_points.outer_losses, agent))
    program = sampling.make_windows(
        problem,
        agent_points.make_start(agent, problem, burn_in=1),
        CONFIG.horizon,
        ("discount",),
        (OUTER_CRITIC, OWN_CRITIC),
        over_devices,
    )
    one = dataclasses.replace(CONFIG, num_seeds=1)
    state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
        jax.eval_shape(lambda: without_keys(init_seeds(agent, one))),
    )
    fixed = (state.position.learner_state, state.position.actor_state)
    data = jax.ShapeDtypeStruct((7, 2), np.uint32)

    def of_data(fixed, eta, data):
        return program(fixed, eta, jax.random.wrap_key_data(data))

    assert "tensor<7x5x4x3x3x5xf32>" in _lowered(jax.jit(of_data), fixed, state.eta, data)
