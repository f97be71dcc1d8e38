"""Several processes that train one run: on loopback, and as threads where no signals are needed."""

import contextlib
import dataclasses
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import test_divergence
import test_resume
import train_on_tables

from experiments import building, hosts, run_folder, train
from experiments.config import Config, Execution, UsageError
from experiments.hosts import ALONE, Hosts, LostError, Place
from experiments.packing import pack, unpack

WINDOW = 2 * tables.NUM_ENVS * tables.LENGTH
CONFIG = Config(num_env_steps=64 * WINDOW, **train_on_tables.FLAGS | {"num_seeds": 5})
"""Shares of two and three seeds."""

PATIENCE = 300
"""Seconds, for a busy machine."""

SLOWLY = """
import time
import train_on_tables
from experiments import config, run_folder, train

write = run_folder.RunWriter.write_metrics

def write_slowly(*arguments):
    time.sleep(0.05)
    write(*arguments)

run_folder.RunWriter.write_metrics = write_slowly
train.make_agent = train_on_tables.make_agent
config.run(train.main, train.define_flags(), "the same command goes on from here")
"""
"""Training that leaves the time to be stopped."""


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _start(folder, placed, environment):
    """Starts the processes of a run, each with flags or variables of its own."""
    paths = os.pathsep.join([*sys.path, os.path.dirname(__file__)])
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
        return max(run_folder.checkpoint_steps(folder), default=0)

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
        train.train(CONFIG, folder, quiet=True)
    return folder


def test_two_processes_leave_what_one_leaves_though_each_was_killed(alone, tmp_path):
    folder, environment = tmp_path / "run", {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for victim in (0, 1):
        processes = _start(folder, _by_flags(), environment)
        _until_a_later_checkpoint(folder, processes)
        processes[victim].kill()
        killed = time.monotonic()
        _, error = processes[1 - victim].communicate(timeout=PATIENCE)
        assert time.monotonic() - killed < hosts.LOST_SECONDS
        assert processes[1 - victim].returncode == 1
        assert error.splitlines()[-1].startswith(f"stopped: process {victim} has ended, for which its own output has")
        assert "Traceback" not in error
        processes[victim].communicate()
    assert 0 < max(run_folder.checkpoint_steps(folder)) < CONFIG.num_env_steps
    processes = _start(folder, _on_slurm(), environment)
    for process in processes:
        _, error = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, error
    test_resume._assert_same(folder, alone, test_resume._like(CONFIG))
    assert (folder / "train.png").exists()


# As threads


def _linked(number):
    """Returns the processes of a run, connected."""
    pairs = [socket.socketpair() for _ in range(1, number)]
    first = Hosts(0, number, tuple(ours for ours, _ in pairs))
    return [first, *(Hosts(index, number, (theirs,)) for index, (_, theirs) in enumerate(pairs, 1))]


def _together(function, everybody):
    """Calls a function with each of the processes at once; returns what each returns or raises."""
    outcomes = [None] * len(everybody)

    def call(index):
        try:
            outcomes[index] = function(everybody[index])
        except (Exception, KeyboardInterrupt) as error:
            outcomes[index] = error
            for link in everybody[index].links:
                link.close()

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(everybody))]
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

    monkeypatch.setattr(train.interrupts, "held_back", held_back)
    monkeypatch.setattr(train, "make_agent", train_on_tables.make_agent)
    return noted


def test_what_is_sent_arrives_in_order():
    def exchange(everybody):
        (share, *_) = [everybody.shares(7)[everybody.index]]
        tree = {"a": np.arange(7)[share], "b": np.arange(14.0).reshape(7, 2)[share] + 0.5}
        whole = everybody.everywhere(tree)
        gathered = everybody.at_first(tree)
        told = everybody.from_first(np.array([everybody.index + 5]))
        part = everybody.from_first(np.arange(7) * 2, everybody.shares(7))
        return whole, gathered, told, part

    results = _together(exchange, _linked(3))
    for index, (whole, gathered, told, part) in enumerate(results):
        np.testing.assert_array_equal(whole["a"], np.arange(7))
        np.testing.assert_array_equal(whole["b"], np.arange(14.0).reshape(7, 2) + 0.5)
        np.testing.assert_array_equal(told, [5])
        np.testing.assert_array_equal(part, [[0, 2], [4, 6], [8, 10, 12]][index])
        assert (gathered is None) == (index > 0)
    np.testing.assert_array_equal(results[0][1]["a"], np.arange(7))


def test_the_end_of_another_is_seen_without_waiting_and_behind_what_it_sent():
    first, one, two = _linked(3)
    one._send(0, b"its last words")
    first.check()
    one.links[0].close()
    with pytest.raises(LostError, match="stopped: process 1 has ended"):
        first.check()
    # They are read, all the same: it may have ended well.
    two._send(0, b"words")
    assert first._collect() == [b"its last words", b"words"]
    two.links[0].close()
    with pytest.raises(LostError, match="process 1 has ended"):
        first._send(1, b"anything")
    for link in first.links:
        link.close()


def test_a_seed_that_diverges_is_dropped_or_stops_all(tmp_path, monkeypatch, capsys, as_threads):
    monkeypatch.setattr(train, "make_agent", test_divergence._agent)
    config = dataclasses.replace(test_divergence.CONFIG, num_seeds=5)
    poisoned = config.seed + 3  # of the second process

    def init_seed(agent, seed):
        at = jnp.where(seed == poisoned, test_divergence.UPDATE, -1)
        return test_divergence._poisoned(building.init_seed(agent, seed), at)

    monkeypatch.setattr(train, "init_seed", init_seed)
    train.train(config, tmp_path / "alone", test_divergence.DROP, quiet=True)
    told = capsys.readouterr().err

    def stop(everybody):
        return train.train(config, tmp_path / "run", quiet=True, hosts=everybody)

    stopped = _together(stop, _linked(2))
    assert all(isinstance(error, train.NonFiniteError) for error in stopped)
    assert str(stopped[0]) == str(stopped[1])

    def drop(everybody):
        return train.train(config, tmp_path / "run", test_divergence.DROP, quiet=True, hosts=everybody)

    first, second = _together(drop, _linked(2))
    assert capsys.readouterr().err == told
    assert first.metrics.keys()
    assert not second.metrics
    like = test_resume._like(config, test_divergence._agent(config))
    test_resume._assert_same(tmp_path / "run", tmp_path / "alone", like)


def test_a_signal_to_one_stops_all_at_the_same_point_and_one_alone_goes_on(alone, tmp_path, monkeypatch, as_threads):
    calls, wait = [], train.wait

    def signalled(summary, everybody):
        wait(summary, everybody)
        calls.append(everybody.index)
        if calls.count(1) == 21:
            as_threads[threading.get_ident()][:] = [signal.SIGTERM]

    monkeypatch.setattr(train, "wait", signalled)

    def in_batches(everybody):
        return train.train(CONFIG, tmp_path, Execution(seeds_per_batch=2), quiet=True, hosts=everybody)

    stops = _together(in_batches, _linked(2))
    assert [stop.args for stop in stops] == [(signal.SIGTERM,)] * 2
    assert 0 < max(run_folder.checkpoint_steps(tmp_path)) < CONFIG.num_env_steps
    monkeypatch.setattr(train, "wait", wait)
    train.train(CONFIG, tmp_path, quiet=True)
    test_resume._assert_same(tmp_path, alone, test_resume._like(CONFIG))


def test_processes_must_have_the_same_settings(tmp_path, as_threads):
    def differ(everybody):
        execution = Execution(keep=8 - everybody.index)
        return train.train(CONFIG, tmp_path, execution, quiet=True, hosts=everybody)

    first, second = _together(differ, _linked(2))
    assert isinstance(first, LostError)
    assert isinstance(second, UsageError)
    assert str(second) == "--keep=7: must be 8, as process 0 has it"
    few = dataclasses.replace(CONFIG, num_seeds=2)
    outcomes = _together(lambda everybody: train.train(few, tmp_path, quiet=True, hosts=everybody), _linked(3))
    assert {str(error) for error in outcomes} == {"--num_processes=3: must be at most --num_seeds (2)"}


# How they find each other


def test_processes_join_whoever_else_calls():
    port = _free_port()
    outcomes, opened = {}, contextlib.ExitStack()

    def note(name, index, number=3):
        try:
            outcomes[name] = opened.enter_context(hosts.joined(Place(index, number, "127.0.0.1", port)))
        except UsageError as error:
            outcomes[name] = str(error)

    first = threading.Thread(target=note, args=("first", 0))
    first.start()
    note("other number", 2, 4)
    second = threading.Thread(target=note, args=("second", 2))
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        second.start()
        second.join()
    note("taken", 2)
    note("last", 1)
    first.join()
    assert outcomes["other number"] == "--num_processes=4: must be 3, as process 0 has it"
    assert outcomes["taken"] == "--process_id=2: must be that of no process that is there already"
    everybody = [outcomes[name] for name in ("first", "last", "second")]
    assert [(one.index, one.number) for one in everybody] == [(0, 3), (1, 3), (2, 3)]
    with opened:
        whole = _together(lambda one: one.everywhere(np.array([one.index])), everybody)
        np.testing.assert_array_equal(whole, [[0, 1, 2]] * 3)
        for link in (link for one in everybody for link in one.links):
            assert link.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == hosts.LOST_SECONDS // 4


@pytest.mark.parametrize("index", [0, 1])
def test_one_that_does_not_come_is_told_in_time(index, monkeypatch):
    monkeypatch.setattr(hosts, "JOIN_SECONDS", 0.3)
    with pytest.raises(LostError) as error, hosts.joined(Place(index, 2, "127.0.0.1", _free_port())):
        pass
    what = ("process 1 did not come", r"process 0 was not to be found at 127.0.0.1:\d+")[index]
    assert re.fullmatch(f"stopped: {what} within 0.3 seconds", str(error.value))


def test_a_port_that_is_taken_is_one_line():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with (
            pytest.raises(UsageError, match=f"--coordinator=here:{port}: cannot be listened on"),
            hosts.joined(Place(0, 2, "here", port)),
        ):
            pass


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            "--num_processes=2",
            "--num_processes=2: must be left out, or given with --coordinator=HOST:PORT of process 0",
        ),
        ("--coordinator=auto --process_id=1", "--process_id=1: must be left out with --coordinator=auto"),
        ("--coordinator=auto", "--coordinator=auto: must be HOST:PORT of process 0, since JAX detects no cluster here"),
        ("--coordinator=a:1 --process_id=0", "--num_processes=: must be given with --coordinator=a:1, at least 2"),
        ("--coordinator=a:1 --num_processes=1 --process_id=0", "--num_processes=1: must be given with"),
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


def test_a_cluster_of_one_process_needs_no_other(monkeypatch):
    for name, value in {"JOB_ID": 1, "STEP_NODELIST": "node", "NTASKS": 1, "PROCID": 0, "LOCALID": 0}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    values = train.define_flags()
    values(["train", "--coordinator=auto"])
    with contextlib.ExitStack() as restored:
        for name in ("jax_cuda_visible_devices", "jax_rocm_visible_devices"):
            restored.callback(jax.config.update, name, getattr(jax.config, name, "all"))
        assert hosts.place_from_flags(values) is None
    with hosts.joined(None) as everybody:
        assert everybody is ALONE


def test_arrays_come_back_from_bytes():
    tree = {"a": jnp.arange(6, dtype=jnp.bfloat16).reshape(3, 2), "b": [np.array([True, False, True])]}
    back = unpack(pack(tree), jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[:1], tree)))
    jax.tree.map(np.testing.assert_array_equal, back, tree)
    assert back["a"].dtype == jnp.bfloat16
    assert back["b"][0].flags.writeable
    with pytest.raises(ValueError, match="more or fewer bytes"):
        unpack(pack(tree)[1:], tree)
