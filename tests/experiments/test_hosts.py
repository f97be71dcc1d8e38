"""Several processes that train one run, on loopback."""

import os
import signal
import socket
import subprocess
import sys
import time

import command_line
import jax
import pytest
import train_on_tables
from train_on_tables import WINDOW, assert_same, flags_of

from experiments import train
from experiments.config.settings import Config, Execution
from experiments.runs import training as loop
from experiments.storage import checkpoints, metrics

CONFIG = Config(num_env_steps=32 * WINDOW, **train_on_tables.FLAGS | {"num_seeds": 4})
"""Shares of two seeds; the last one diverges at once."""

DROP = Execution(checkpoint_every=4, on_divergence="drop")

PATIENCE = 300
"""Seconds, for a busy machine."""


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _by_flags(*more):
    """Returns the flags and variables by which two processes find each other; the second may have more flags."""
    address = [f"--coordinator=127.0.0.1:{_free_port()}", "--num_processes=2"]
    return [([*address, "--process_id=0"], {}), ([*address, "--process_id=1", *more], {})]


def _on_slurm():
    node = {"SLURM_JOB_ID": str(_free_port()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    node["JAX_COORDINATOR_PORT"] = str(_free_port())
    places = [{"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)} for index in range(2)]
    return [(["--coordinator=auto"], node | place) for place in places]


def _start(folder, placed):
    """Starts the processes of a run."""
    command = [sys.executable, train_on_tables.__file__, *flags_of(CONFIG), *flags_of(DROP)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [
        subprocess.Popen([*command, *flags, *logdir], env=environment | variables, **streams)
        for (flags, variables), logdir in zip(placed, ([f"--logdir={folder}"], []), strict=True)
    ]


def _ended(processes):
    """Waits for processes; returns what each has said on standard error."""
    return [process.communicate(timeout=PATIENCE)[1] for process in processes]


def _until_a_later_checkpoint(folder, processes):
    def last():
        return max(checkpoints.checkpoint_steps(folder), default=0)

    before = last()
    while last() == before:
        assert all(process.poll() is None for process in processes), _ended(processes)
        time.sleep(0.005)


def test_two_processes_leave_what_one_leaves_though_they_were_killed_and_stopped(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    first, second = _start(folder, _by_flags())
    _until_a_later_checkpoint(folder, [first, second])
    second.kill()
    told, _ = _ended([first, second])
    assert first.returncode == 1
    assert "dropped: " in told
    assert told.splitlines()[-1].startswith("stopped: another process has ended"), told

    processes = _start(folder, _by_flags())
    _until_a_later_checkpoint(folder, processes)
    processes[1].terminate()
    for process, told in zip(processes, _ended(processes), strict=True):
        assert process.returncode == 128 + signal.SIGTERM, told
        assert told.endswith("\nstopped; the same command goes on from here\n")
        assert "dropped: " not in told  # that is known
    last = checkpoints.checkpoint_steps(folder)[-1]
    assert last == metrics.read_metrics(folder)["env_steps"][-1, 0] < CONFIG.num_env_steps

    processes = _start(folder, _on_slurm())
    told = _ended(processes)
    assert [process.returncode for process in processes] == [0, 0], told
    assert (folder / "train.png").exists()
    train_on_tables.stand_in(monkeypatch)
    loop.train(CONFIG, tmp_path / "alone", DROP)
    assert_same(folder, tmp_path / "alone")
    assert metrics.dropped_seeds(metrics.read_metrics(folder)).tolist() == [False, False, False, True]


def test_processes_must_have_the_same_settings(tmp_path):
    processes = _start(tmp_path, _by_flags("--keep=7"))
    lines = [told.splitlines()[-1] for told in _ended(processes)]
    assert [process.returncode for process in processes] == [1, 2]
    assert lines[0].startswith("stopped: another process has ended")
    assert lines[1] == "--keep=7: must be 8, as process 0 has it"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--num_processes=2", "--num_processes=2: must be left out, or given with --coordinator=HOST:PORT"),
        ("--coordinator=auto --process_id=1", "--process_id=1: must be left out, or given with"),
        ("--coordinator=a:1 --num_processes=1 --process_id=0", "--num_processes=1: must be given with"),
        ("--coordinator=a:1 --num_processes=2 --process_id=2", "--process_id=2: must be in [0, 1], with"),
        ("--coordinator=a:65536 --num_processes=2 --process_id=0", "--coordinator=a:65536: must be HOST:PORT of"),
        ("--coordinator=auto", "--coordinator=auto: must be HOST:PORT of process 0, since JAX detects no cluster here"),
    ],
)
def test_impossible_places_are_one_line(arguments, complaint, tmp_path, capsys, monkeypatch):
    def initialize(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    assert command_line.run(train, *arguments.split(), f"--logdir={tmp_path / 'run'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(complaint)
    assert not (tmp_path / "run").exists()
