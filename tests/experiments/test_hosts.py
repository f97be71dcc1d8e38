"""Several processes that train one run: on loopback, and as threads where no signals are needed."""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from functools import partial

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import test_divergence
import test_resume
import train_on_tables
from experiments.storage.packing import pack, unpack

from experiments import train
from experiments.config.ranges import UsageError
from experiments.config.settings import Config, Execution
from experiments.runs import building, divergence, hosts
from experiments.runs import training as loop
from experiments.runs.hosts import ALONE, Hosts, LostError
from experiments.storage import checkpoints

WINDOW = 2 * tables.NUM_ENVS * tables.LENGTH
CONFIG = Config(num_env_steps=64 * WINDOW, **train_on_tables.FLAGS | {"num_seeds": 5})
"""Shares of two and three seeds."""

PATIENCE = 300
"""Seconds, for a busy machine."""

SLOWLY = """
import time
import train_on_tables
from experiments.config import flags as commands
from experiments.storage import run_folder
from experiments import train
from experiments.runs import training as loop

write = run_folder.RunFolder.write_metrics

def write_slowly(*arguments):
    time.sleep(0.05)
    write(*arguments)

run_folder.RunFolder.write_metrics = write_slowly
loop.make_agent = train_on_tables.make_agent
command_line.run(train.main, train.define_flags(), "the same command goes on from here")
"""
"""Training that leaves the time to be stopped."""


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _start(folder, placed, environment):
    """Starts the processes of a run, each with flags or variables of its own."""
    paths = os.pathsep.join([*sys.path, os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))])
    command = [sys.executable, "-c", SLOWLY, *test_resume._command_line(CONFIG), "--checkpoint_every=2"]
    return [
        subprocess.Popen(
            [*command, *flags, *([f"--logdir={folder}"] if index == 0 else [])],
            env=os.environ | {"PYTHONPATH": paths} | environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, (flags, variables) in enumerate(placed)
    ]


def _by_flags():
    address = f"--coordinator=127.0.0.1:{_free_port()}"
    return [([address, "--num_processes=2", f"--process_id={index}"], {}) for index in range(2)]


def _on_slurm():
    node = {"SLURM_JOB_ID": str(_free_port()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    node["JAX_COORDINATOR_PORT"] = str(_free_port())
    return [
        (["--coordinator=auto"], node | {"SLURM_PROCID": str(index), "SLURM_LOCALID": str(index)}) for index in range(2)
    ]


def _until_a_later_checkpoint(folder, processes):
    def last():
        return max(checkpoints.checkpoint_steps(folder), default=0)

    before = last()
    while last() == before:
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        time.sleep(0.005)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The run of a single process."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "make_agent", train_on_tables.make_agent)
        loop.train(CONFIG, folder, quiet=True)
    return folder


def test_two_processes_leave_what_one_leaves_though_each_was_killed(alone, tmp_path):
    folder, environment = tmp_path / "run", {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for victim in (0, 1):
        processes = _start(folder, _by_flags(), environment)
        _until_a_later_checkpoint(folder, processes)
        processes[victim].kill()
        killed = time.monotonic()
        _, error = processes[1 - victim].communicate(timeout=PATIENCE)
        assert time.monotonic() - killed < 60
        assert processes[1 - victim].returncode != 0
        # Ours, or JAX's own, which ends what has lost process 0.
        assert "stopped: another process has ended" in error or "another task died" in error, error
        processes[victim].communicate()
    assert 0 < max(checkpoints.checkpoint_steps(folder)) < CONFIG.num_env_steps
    processes = _start(folder, _on_slurm(), environment)
    for process in processes:
        _, error = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, error
    test_resume._assert_same(folder, alone, test_resume._like(CONFIG))
    assert (folder / "train.png").exists()


# As threads


def _linked(number):
    """Returns the processes of a run, as threads; who ends breaks the barrier that the others wait at."""
    barrier, told = threading.Barrier(number), [b""] * number

    def gather(index, data):
        try:
            told[index] = data
            barrier.wait(PATIENCE)
            everything = list(told)
            barrier.wait(PATIENCE)
        except threading.BrokenBarrierError as error:
            raise LostError("stopped: another process has ended") from error
        return everything

    return barrier, [Hosts(index, number, partial(gather, index)) for index in range(number)]


def _together(function, number):
    """Calls a function with each of some processes at once; returns what each returns or raises."""
    barrier, everybody = _linked(number)
    outcomes = [None] * number

    def call(index):
        try:
            outcomes[index] = function(everybody[index])
        except (Exception, KeyboardInterrupt) as error:
            outcomes[index] = error
            if not isinstance(error, KeyboardInterrupt | divergence.NonFiniteError):
                barrier.abort()

    threads = [threading.Thread(target=call, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=PATIENCE)
        assert not thread.is_alive()
    return outcomes


@pytest.fixture
def as_threads(monkeypatch):
    """Has threads train, to which no signals come; returns what each would have noted of them, by its identity."""
    noted = {}

    @contextlib.contextmanager
    def held_back(_):
        signals = noted[threading.get_ident()] = []
        yield signals
        if signals:
            raise KeyboardInterrupt(*signals)

    monkeypatch.setattr(loop.interrupts, "held_back", held_back)
    monkeypatch.setattr(loop.interrupts, "at_once", contextlib.nullcontext)
    monkeypatch.setattr(train, "make_agent", train_on_tables.make_agent)
    return noted


def test_what_is_sent_arrives_in_order():
    def exchange(everybody):
        share = everybody.shares(7)[everybody.index]
        tree = {"a": np.arange(7)[share], "b": np.arange(14.0).reshape(7, 2)[share] + 0.5}
        return everybody.everywhere(tree), everybody.from_first(np.arange(everybody.index + 5))

    for whole, told in _together(exchange, 3):
        np.testing.assert_array_equal(whole["a"], np.arange(7))
        np.testing.assert_array_equal(whole["b"], np.arange(14.0).reshape(7, 2) + 0.5)
        np.testing.assert_array_equal(told, np.arange(5))
    assert [(share.start, share.stop) for share in Hosts(0, 3, lambda data: [data]).shares(7)] == [
        (0, 2),
        (2, 4),
        (4, 7),
    ]


def test_a_seed_that_diverges_is_dropped_or_stops_all(tmp_path, monkeypatch, capsys, as_threads):
    monkeypatch.setattr(train, "make_agent", test_divergence._agent)
    config = dataclasses.replace(test_divergence.CONFIG, num_seeds=5)
    poisoned = config.seed + 3  # of the second process

    def init_seed(agent, seed):
        at = jnp.where(seed == poisoned, test_divergence.UPDATE, -1)
        return test_divergence._poisoned(building.init_seed(agent, seed), at)

    monkeypatch.setattr(train, "init_seed", init_seed)
    loop.train(config, tmp_path / "alone", test_divergence.DROP, quiet=True)
    told = capsys.readouterr().err

    def stop(everybody):
        return loop.train(config, tmp_path / "run", quiet=True, hosts=everybody)

    stopped = _together(stop, 2)
    assert all(isinstance(error, divergence.NonFiniteError) for error in stopped)
    assert str(stopped[0]) == str(stopped[1])

    def drop(everybody):
        return loop.train(config, tmp_path / "run", test_divergence.DROP, quiet=True, hosts=everybody)

    first, second = _together(drop, 2)
    assert capsys.readouterr().err == told
    assert first.metrics.keys()
    assert not second.metrics
    like = test_resume._like(config, test_divergence._agent(config))
    test_resume._assert_same(tmp_path / "run", tmp_path / "alone", like)


def test_a_signal_to_one_stops_all_at_the_same_point_and_one_alone_goes_on(alone, tmp_path, monkeypatch, as_threads):
    calls, wait = [], loop.wait

    def signalled(summary):
        wait(summary)
        calls.append(threading.get_ident())
        if calls[-1] != calls[0] and calls.count(calls[-1]) == 21:  # to one of them
            as_threads[calls[-1]][:] = [signal.SIGTERM]

    monkeypatch.setattr(train, "wait", signalled)

    def in_batches(everybody):
        return loop.train(CONFIG, tmp_path, Execution(seeds_per_batch=2), quiet=True, hosts=everybody)

    stops = _together(in_batches, 2)
    assert [stop.args for stop in stops] == [(signal.SIGTERM,)] * 2
    assert 0 < max(checkpoints.checkpoint_steps(tmp_path)) < CONFIG.num_env_steps
    monkeypatch.setattr(train, "wait", wait)
    loop.train(CONFIG, tmp_path, quiet=True)
    test_resume._assert_same(tmp_path, alone, test_resume._like(CONFIG))


def test_processes_must_have_the_same_settings(tmp_path, as_threads):
    def differ(everybody):
        execution = Execution(keep=8 - everybody.index)
        return loop.train(CONFIG, tmp_path, execution, quiet=True, hosts=everybody)

    first, second = _together(differ, 2)
    assert isinstance(first, LostError)
    assert isinstance(second, UsageError)
    assert str(second) == "--keep=7: must be 8, as process 0 has it"
    few = dataclasses.replace(CONFIG, num_seeds=2)
    outcomes = _together(lambda everybody: loop.train(few, tmp_path, quiet=True, hosts=everybody), 3)
    refused = {str(error) for error in outcomes if not isinstance(error, LostError)}
    assert refused == {"--num_processes=3: must be at most --num_seeds (2)"}


# How they find each other


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            "--num_processes=2",
            "--num_processes=2: must be left out, or given with --coordinator=HOST:PORT of process 0",
        ),
        ("--coordinator=auto --process_id=1", "--process_id=1: must be left out with --coordinator=auto"),
        ("--coordinator=a:1 --process_id=0", "--num_processes=: must be given with --coordinator=a:1, at least 2"),
        ("--coordinator=a:1 --num_processes=1 --process_id=0", "--num_processes=1: must be given with"),
        (
            "--coordinator=a:1 --num_processes=2147483648 --process_id=0",
            "--num_processes=2147483648: must be given with",
        ),
        ("--coordinator=a:1 --num_processes=2", "--process_id=: must be in [0, 1], with --num_processes=2"),
        ("--coordinator=a:1 --num_processes=2 --process_id=2", "--process_id=2: must be in [0, 1], with"),
        (
            "--coordinator=a --num_processes=2 --process_id=0",
            "--coordinator=a: must be HOST:PORT of process 0, or auto",
        ),
        ("--coordinator=a:65536 --num_processes=2 --process_id=0", "--coordinator=a:65536: must be HOST:PORT of"),
    ],
)
def test_impossible_places_are_one_line(arguments, complaint, tmp_path, capsys):
    assert command_line.run(train, *arguments.split(), f"--logdir={tmp_path / 'run'}") == 2
    error = capsys.readouterr().err
    assert error.startswith(complaint)
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_cluster_is_one_line(monkeypatch, tmp_path, capsys):
    def initialize(*_, **__):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    assert command_line.run(train, "--coordinator=auto", f"--logdir={tmp_path / 'run'}") == 2
    complaint = "--coordinator=auto: must be HOST:PORT of process 0, since JAX detects no cluster here"
    assert capsys.readouterr().err.startswith(complaint)
    assert not (tmp_path / "run").exists()


def test_the_cluster_is_left_to_jax_and_one_process_needs_none():
    values = train.define_flags()
    values(["train", "--coordinator=auto"])
    assert hosts.place_from_flags(values) == hosts.Place(None, None, None)
    with hosts.joined(None, ()) as everybody:
        assert everybody is ALONE


def test_arrays_come_back_from_bytes():
    tree = {"a": jnp.arange(6, dtype=jnp.bfloat16).reshape(3, 2), "b": [np.array([True, False, True])]}
    back = unpack(pack(tree), jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[:1], tree)))
    jax.tree.map(np.testing.assert_array_equal, back, tree)
    assert back["a"].dtype == jnp.bfloat16
    assert back["b"][0].flags.writeable
    with pytest.raises(ValueError, match="more or fewer bytes"):
        unpack(pack(tree)[1:], tree)
