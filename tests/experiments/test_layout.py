"""Seeds in batches and on many devices, of which a CPU stands in for three."""

import dataclasses
import os
import subprocess
import sys

import command_line
import jax
import jax.numpy as jnp
import miniature
import numpy as np
import pytest
import tables
import train_on_tables

from agents.agent import learning
from experiments import train
from experiments.config.settings import Config, Execution
from experiments.runs import compilation
from experiments.runs.building import init_seeds
from experiments.runs.layout import lay_out, over_batch, over_devices
from experiments.storage import checkpoints
from experiments.storage.metrics import METRICS

CONFIG = Config(num_env_steps=16 * tables.NUM_ENVS * tables.LENGTH, **train_on_tables.FLAGS | {"num_seeds": 7})
AGENT = train_on_tables.make_agent(CONFIG)

ON_THREE_DEVICES = """
import pathlib, sys
import jax, miniature, numpy as np
import test_layout as it

assert len(jax.devices()) == 3
folder = pathlib.Path(sys.argv[1])
miniature.train(it.AGENT, it.CONFIG, folder / "run")
np.save(folder / "mapped.npy", it.mapped())
"""


def mapped():
    """Returns samples for seven keys, drawn on all devices by a program with an argument that all of them share."""
    program = jax.jit(lambda scale, keys: over_devices(lambda key: scale * jax.random.normal(key, (3,)))(keys))
    return np.asarray(program(2.0, jax.random.split(jax.random.key(0), 7)))


def _left(folder):
    """Returns what a run left behind, metrics and the last checkpoint, as bytes."""
    like = jax.eval_shape(lambda: init_seeds(learning(AGENT), CONFIG))
    state = checkpoints.without_keys(checkpoints.read_checkpoint(folder, CONFIG.num_env_steps, like))
    return (folder / METRICS).read_bytes(), [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state)]


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layout") / "run"
    miniature.train(AGENT, CONFIG, folder)
    return _left(folder)


def test_batches_of_seeds_give_what_all_at_once_give(at_once, tmp_path):
    """Two batches of three seeds, and one of one, the rest of which is padding."""
    miniature.train(AGENT, CONFIG, tmp_path, execution=Execution(seeds_per_batch=3))
    assert _left(tmp_path) == at_once


def test_three_devices_give_what_one_gives_and_go_on_from_its_checkpoint(at_once, tmp_path):
    half = dataclasses.replace(CONFIG, num_env_steps=CONFIG.num_env_steps // 2)
    miniature.train(AGENT, half, tmp_path / "run")
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=3"
    paths = os.pathsep.join([*sys.path, os.path.dirname(__file__)])
    command = [sys.executable, "-c", ON_THREE_DEVICES, str(tmp_path)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": paths, "XLA_FLAGS": flags}, check=True)
    assert _left(tmp_path / "run") == at_once
    np.testing.assert_array_equal(np.load(tmp_path / "mapped.npy"), mapped())


@pytest.mark.parametrize(
    ("number", "at_once", "devices", "size", "used"),
    [(4, 0, 1, 4, 1), (11, 0, 8, 12, 6), (3, 0, 8, 3, 3), (10, 8, 1, 5, 1), (10, 3, 2, 4, 2)],
)
def test_shares_are_equal_and_no_device_is_idle(number, at_once, devices, size, used, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: list(range(devices)))
    monkeypatch.setattr("experiments.runs.layout.Mesh", lambda devices, _: devices)
    layout = lay_out(number, at_once)
    assert (layout.number, layout.size, len(layout.mesh)) == (number, size, used)


def test_without_jit_a_program_is_called_as_it_is():
    """As JAX_DISABLE_JIT has it: nothing is traced, neither by a compiler nor for the devices."""
    seen, batch = [], jnp.arange(2.0)
    with jax.disable_jit():
        program = jax.jit(over_batch(lambda item: (seen.append(item), 2 * item)[1], lay_out(2)))
        np.testing.assert_array_equal(compilation.compiled(program, batch)(batch), [0.0, 2.0])
    assert not any(isinstance(item, jax.core.Tracer) for item in seen)


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        (
            "--seeds_per_batch=5",
            "--seeds_per_batch=4: must be below 4, since the memory is too small for so many seeds",
        ),
        ("--seeds_per_batch=1", "--num_envs=32: must be below 32, since the memory is too small for a seed"),
    ],
)
def test_too_small_a_memory_is_one_line_that_names_the_flag(argument, complaint, tmp_path, monkeypatch, capsys):
    def exhausted(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes")

    monkeypatch.setattr(compilation, "compiled", exhausted)
    assert command_line.run(train, argument, f"--logdir={tmp_path}") == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]
