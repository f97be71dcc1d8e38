"""Seeds in batches and on many devices, of which a CPU stands in for eight."""

import dataclasses
import os
import subprocess
import sys

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import train_on_tables

from experiments import train
from experiments.config.settings import Config, Execution
from experiments.runs import compilation
from experiments.runs import training as loop
from experiments.runs.building import init_seeds
from experiments.runs.layout import Layout, lay_out, over_batch, over_devices
from experiments.storage import checkpoints
from experiments.storage import metrics as metrics_csv

WINDOW = 2 * tables.NUM_ENVS * tables.LENGTH
CONFIG = Config(num_env_steps=8 * WINDOW, **train_on_tables.FLAGS | {"num_seeds": 11})
HALF = dataclasses.replace(CONFIG, num_env_steps=4 * WINDOW)

ON_EIGHT_DEVICES = """
import pathlib, sys
import jax, numpy as np
import test_layout, train_on_tables
from experiments import train
from experiments.runs import training as loop

assert len(jax.devices()) == 8
loop.make_agent = train_on_tables.make_agent
folder = pathlib.Path(sys.argv[1])
loop.train(test_layout.CONFIG, folder / "moved")
loop.train(test_layout.HALF, folder / "back")
np.save(folder / "mapped.npy", test_layout.mapped())
"""


def mapped():
    """Returns samples for eleven keys, drawn on all devices by a program with an argument that all of them share."""
    program = jax.jit(lambda scale, keys: over_devices(lambda key: scale * jax.random.normal(key, (3,)))(keys))
    return np.asarray(program(2.0, jax.random.split(jax.random.key(0), 11)))


@pytest.fixture(scope="module", autouse=True)
def on_tables():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "make_agent", train_on_tables.make_agent)
        yield


@pytest.fixture(scope="module")
def at_once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layout") / "run"
    loop.train(CONFIG, folder)
    return folder


def _assert_same(folder, expected):
    """Checks metrics and checkpoints to the bit."""
    assert (folder / metrics_csv.METRICS).read_bytes() == (expected / metrics_csv.METRICS).read_bytes()
    like = jax.eval_shape(lambda: init_seeds(train_on_tables.make_agent(CONFIG), CONFIG))
    ours, theirs = (
        checkpoints.without_keys(checkpoints.read_checkpoint(place, CONFIG.num_env_steps, like))
        for place in (folder, expected)
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("seeds_per_batch", [3, 4])
def test_batches_of_seeds_give_what_all_at_once_give(seeds_per_batch, at_once, tmp_path):
    loop.train(HALF, tmp_path, Execution(seeds_per_batch=seeds_per_batch))
    loop.train(CONFIG, tmp_path, Execution(seeds_per_batch=seeds_per_batch))
    _assert_same(tmp_path, at_once)


def test_eight_devices_give_what_one_gives_and_take_each_others_checkpoints(at_once, tmp_path):
    loop.train(HALF, tmp_path / "moved")
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=8"
    paths = os.pathsep.join([*sys.path, os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))])
    command = [sys.executable, "-c", ON_EIGHT_DEVICES, str(tmp_path)]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": paths, "XLA_FLAGS": flags}, check=True)
    loop.train(CONFIG, tmp_path / "back")
    for name in ("moved", "back"):
        _assert_same(tmp_path / name, at_once)
    np.testing.assert_array_equal(np.load(tmp_path / "mapped.npy"), mapped())


@pytest.mark.parametrize(
    ("number", "at_once", "devices", "size", "used"),
    [
        (4, 0, 1, 4, 1),
        (8, 0, 8, 8, 8),
        (11, 0, 8, 12, 6),
        (3, 0, 8, 3, 3),
        (10, 8, 1, 5, 1),
        (10, 3, 2, 4, 2),
        (5, 9, 1, 5, 1),
    ],
)
def test_shares_are_equal_and_no_device_is_idle(number, at_once, devices, size, used, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: list(range(devices)))
    monkeypatch.setattr("experiments.runs.layout.Mesh", lambda devices, _: devices)
    layout = lay_out(number, at_once)
    assert (layout.number, layout.size, len(layout.mesh)) == (number, size, used)


def test_padding_is_zero_and_goes_away_again():
    layout = Layout(5, 3, lay_out(3).mesh)
    tree = {"a": np.arange(1, 11.0).reshape(5, 2), "b": jnp.arange(1, 6)}
    batches = layout.split(tree)
    assert [len(batch["a"]) for batch in batches] == [3, 3]
    np.testing.assert_array_equal(batches[1]["b"], [4, 5, 0])
    jax.tree.map(np.testing.assert_array_equal, layout.join(batches), tree)


def test_without_jit_a_program_is_called_as_it_is():
    """As JAX_DISABLE_JIT has it: nothing is traced, neither by a compiler nor for the devices."""
    seen, batch = [], jnp.arange(2.0)
    with jax.disable_jit():
        program = jax.jit(over_batch(lambda item: (seen.append(item), 2 * item)[1], lay_out(2)))
        np.testing.assert_array_equal(compilation.compiled(program, batch)(batch), [0.0, 2.0])
    assert not any(isinstance(item, jax.core.Tracer) for item in seen)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            ("--seeds_per_batch=5",),
            "--seeds_per_batch=4: must be below 4, since the memory does not hold so many seeds",
        ),
        (("--seeds_per_batch=1",), "--num_envs=32: must be below 32, since the memory does not hold a seed"),
        (("--seeds_per_batch=-1",), "--seeds_per_batch=-1: must be at least 0"),
    ],
)
def test_too_small_a_memory_is_one_line_that_names_the_flag(arguments, complaint, tmp_path, monkeypatch, capsys):
    def exhausted(*_):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."
        )

    monkeypatch.setattr(train, "training_program", exhausted)
    assert command_line.run(train, *arguments, f"--logdir={tmp_path}") == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]
