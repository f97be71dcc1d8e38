"""Runs that are stopped, killed, hindered or made longer, and go on."""

import contextlib
import dataclasses
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time

import command_line
import jax
import numpy as np
import pytest
import train_on_tables
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event, SessionLog
from train_on_tables import WINDOW, assert_same, flags_of, states

from experiments import train
from experiments.config.ranges import UsageError
from experiments.config.settings import Config, Execution
from experiments.runs import seeds
from experiments.runs import training as loop
from experiments.storage import checkpoints, config_file
from experiments.storage import metrics as metrics_csv
from experiments.storage.events import scalars
from experiments.storage.run_folder import RunFolder

CONFIG = Config(num_env_steps=130 * WINDOW, **train_on_tables.FLAGS)
"""44 logging points, the last of one window, where all others have three."""

ALWAYS = Execution(checkpoint_every=1)


@pytest.fixture
def on_tables(monkeypatch):
    train_on_tables.stand_in(monkeypatch)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        train_on_tables.stand_in(patch)
        loop.train(CONFIG, folder)
    return folder


# Killed


def _kill_while(moment, process, folder, rng):
    """Kills a training process at a random moment while it starts, trains, or writes a checkpoint."""
    place, before = folder / checkpoints.CHECKPOINTS, checkpoints.checkpoint_steps(folder)

    def reached():
        begun = moment == "starting" or checkpoints.checkpoint_steps(folder) != before
        return begun and (moment != "writing" or any("tmp" in path.name for path in place.iterdir()))

    while not reached() and process.poll() is None:
        time.sleep(0.0005)
    time.sleep(rng.uniform(0.0, {"starting": 4.0, "training": 0.3, "writing": 0.03}[moment]))
    process.kill()
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 9))])
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(seed, undisturbed, tmp_path, on_tables):
    rng, folder, moments = random.Random(seed), tmp_path / "run", ["starting", "training", "writing"]
    rng.shuffle(moments)
    command = [sys.executable, train_on_tables.__file__, *flags_of(CONFIG), *flags_of(ALWAYS), f"--logdir={folder}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for moment in moments if seed else ["writing"]:
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            _kill_while(moment, process, folder, rng)
    loop.train(CONFIG, folder, ALWAYS)
    assert_same(folder, undisturbed)


# Stopped


def test_a_signal_stops_a_command_with_a_checkpoint_that_it_goes_on_from(
    undisturbed, tmp_path, monkeypatch, capsys, on_tables
):
    folder, write = tmp_path / "run", RunFolder.write_metrics

    def write_metrics(run, env_steps, columns):
        write(run, env_steps, columns)
        if env_steps == 27 * WINDOW:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "write_metrics", write_metrics)
        patch.setattr(os, "_exit", sys.exit)
        assert command_line.run(train, *flags_of(CONFIG), f"--logdir={folder}") == 128 + signal.SIGTERM
    assert "\nstopped; " in capsys.readouterr().err
    assert checkpoints.checkpoint_steps(folder) == [18 * WINDOW, 27 * WINDOW]
    assert metrics_csv.read_metrics(folder)["env_steps"][-1, 0] == 27 * WINDOW
    loop.train(CONFIG, folder)
    assert_same(folder, undisturbed)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_ctrl_c_that_comes_while_something_is_finalised_stops_before_training(tmp_path, monkeypatch, on_tables):
    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def make(*arguments):
        Finalised()  # Python drops the exception
        return program(*arguments)

    program = seeds.training_program
    monkeypatch.setattr(seeds, "training_program", make)
    monkeypatch.setattr(os, "_exit", sys.exit)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert command_line.run(train, *flags_of(CONFIG), f"--logdir={tmp_path}") == 128 + signal.SIGINT
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / metrics_csv.METRICS).read_text() == ""


# Complete and longer


def test_a_complete_run_is_left_as_it_is(undisturbed, monkeypatch, on_tables):
    def content():
        return {path: path.is_file() and path.read_bytes() for path in undisturbed.rglob("*")}

    before = content()
    monkeypatch.setattr(loop, "Seeds", None)  # nothing is begun
    assert loop.train(CONFIG, undisturbed).seconds > 0.0
    assert content() == before
    # The first checkpoint in each stretch of 18 windows, and the last.
    assert [at // WINDOW for at in checkpoints.checkpoint_steps(undisturbed)] == [18, 36, 54, 72, 90, 108, 126, 130]


def test_a_complete_run_becomes_longer(undisturbed, tmp_path, on_tables):
    seconds = loop.train(dataclasses.replace(CONFIG, num_env_steps=65 * WINDOW), tmp_path).seconds
    first = (tmp_path / metrics_csv.METRICS).read_bytes()
    assert loop.train(CONFIG, tmp_path).seconds > seconds
    assert (tmp_path / metrics_csv.METRICS).read_bytes().startswith(first)
    windows = metrics_csv.read_metrics(tmp_path)["env_steps"][:, 0] / WINDOW
    np.testing.assert_array_equal(windows, [*range(2, 65, 2), 65, *range(68, 130, 3), 130])
    assert config_file.load(tmp_path / config_file.CONFIG) == CONFIG
    ours = states(tmp_path)
    for leaf, other in zip(ours[CONFIG.num_env_steps], states(undisturbed)[CONFIG.num_env_steps], strict=True):
        np.testing.assert_array_equal(leaf, other)
    # Until 65 there is one in each stretch of ten.
    assert [at // WINDOW for at in ours] == [20, 40, 60, 74, 92, 110, 128, 130]


@given(
    num_windows=st.integers(1, 400),
    keep=st.integers(1, 12),
    every=st.integers(1, 12),
    stops=st.sets(st.integers(0, 70), max_size=6),
)
def test_what_stays_does_not_depend_on_when_else_checkpoints_were_written(num_windows, keep, every, stops):
    config, execution = dataclasses.replace(CONFIG, num_env_steps=num_windows * WINDOW), Execution(every, keep)
    points = [*range(config.steps_per_point, config.num_env_steps, config.steps_per_point), config.num_env_steps]
    steps = []
    for index, env_steps in enumerate(points):
        if checkpoints.stays(config, execution, env_steps) or (index + 1) % every == 0 or index in stops:
            steps = checkpoints.staying([*steps, env_steps], checkpoints.stretch_of(config, execution))
            assert steps[-1] == env_steps
    spread = -(-len(points) // keep)
    assert steps == sorted({*points[spread - 1 :: spread], points[-1]})
    assert len(steps) <= keep


# Refused


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--lambda=0.5", "--lambda=0.5: must be 0.9, as of the run in RUN, to go on with it"),
        ("--meta_params=discount", "--meta_params=discount: must be discount,entropy_cost, as of the run in RUN, to"),
        ("--noouter_critic", "--outer_critic=False: must be True, as of the run in RUN, to go on with it"),
        (f"--num_env_steps={WINDOW}", f"--num_env_steps={WINDOW}: must be at least {130 * WINDOW}, as of the run in"),
        ("--keep=0", "--keep=0: must be at least 1"),
    ],
)
def test_other_settings_than_the_folders_are_refused(argument, complaint, undisturbed, capsys):
    assert command_line.run(train, *flags_of(CONFIG), argument, f"--logdir={undisturbed}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(complaint.replace("RUN", str(undisturbed)))


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("thesis.tex", "must be a new or empty folder, or one that this command made, and this one holds something"),
        (metrics_csv.METRICS, "a folder whose metrics.csv, if it has one, is that of a run"),
    ],
)
def test_folders_of_something_else_are_refused(name, complaint, tmp_path, capsys):
    (tmp_path / name).write_text("mine\n")
    assert command_line.run(train, f"--logdir={tmp_path}") == 2
    assert complaint in capsys.readouterr().err
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "mine\n"}


def test_a_folder_where_another_process_is_at_work_is_refused(tmp_path):
    # A lock keeps out whoever opens the file another time, be it this process.
    with RunFolder(tmp_path, CONFIG, ALWAYS), pytest.raises(UsageError, match="another process is using this"):
        RunFolder(tmp_path, CONFIG, ALWAYS)
    with RunFolder(tmp_path, CONFIG, ALWAYS):
        pass


# What a folder holds


def _state(number):
    key = jax.random.key(number)
    return {"key": key, "numbers": jax.random.normal(key, (3_000,))}


@pytest.fixture
def started(tmp_path):
    """A run that was killed some points after its last checkpoint, which is at six windows."""
    with RunFolder(tmp_path, CONFIG, ALWAYS) as run:
        for windows in (3, 6, 9, 12):
            run.write_metrics(windows * WINDOW, {"luck": np.array([windows, np.nan])})
            if windows == 6:
                run.write_checkpoint(windows * WINDOW, _state(windows), 7.0)
    return tmp_path


ROWS = f"env_steps,seed,luck\n{3 * WINDOW},5,3.0\n{3 * WINDOW},6,\n{6 * WINDOW},5,6.0\n{6 * WINDOW},6,\n"


@pytest.mark.parametrize("cut", [0, 1, 9, 14])
def test_rows_after_the_last_checkpoint_come_again(cut, started):
    metrics = started / metrics_csv.METRICS
    metrics.write_bytes(metrics.read_bytes()[: -cut or None])
    whole_points = [3, 6, 9] if cut else [3, 6, 9, 12]
    assert (metrics_csv.read_metrics(started)["env_steps"][:, 0] / WINDOW).tolist() == whole_points
    with RunFolder(started, CONFIG, ALWAYS) as run:
        assert (run.env_steps, run.seconds) == (6 * WINDOW, 7.0)
        assert metrics.read_text() == ROWS
        run.write_metrics(9 * WINDOW, {"luck": np.array([1.0, 2.0])})
    assert metrics.read_text() == ROWS + f"{9 * WINDOW},5,1.0\n{9 * WINDOW},6,2.0\n"


def test_a_run_without_a_checkpoint_begins_again(started):
    shutil.rmtree(started / checkpoints.CHECKPOINTS)
    with RunFolder(started, CONFIG, ALWAYS) as run:
        assert (run.env_steps, run.seconds) == (0, 0.0)
    assert (started / metrics_csv.METRICS).read_text() == ROWS.splitlines(keepends=True)[0]


def test_a_run_that_was_on_windows_goes_on(started):
    for name in (metrics_csv.METRICS, config_file.CONFIG):
        file = started / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    with RunFolder(started, CONFIG, ALWAYS) as run:
        run.write_metrics(9 * WINDOW, {"luck": np.array([1.0, 2.0])})
    np.testing.assert_array_equal(metrics_csv.read_metrics(started)["luck"], [[3.0, np.nan], [6.0, np.nan], [1.0, 2.0]])


def _events(folder):
    """Returns the events of every file, earliest first: a record is a length, its checksum, the event, its checksum."""
    events = []
    for path in sorted(folder.glob("events*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[12 + length + 4 :]
    return events


def _values(event):
    return {value.tag: value.simple_value for value in event.summary.value if value.HasField("simple_value")}


def test_tensorboard_is_told_what_comes_again(started):
    time.sleep(1.1)  # the files are named by the second
    with RunFolder(started, CONFIG, ALWAYS) as run:
        run.write_metrics(9 * WINDOW, {"luck": np.array([1.0, 2.0])})
    starts = [event.step for event in _events(started) if event.session_log.status == SessionLog.START]
    assert starts == [1, 6 * WINDOW + 1]
    logged = [(event.step // WINDOW, _values(event)) for event in _events(started) if _values(event)]
    assert logged == [(at, {"luck": mean}) for at, mean in ((3, 3.0), (6, 6.0), (9, 9.0), (12, 12.0), (9, 1.5))]


def test_tensorboard_shows_means_spread_and_every_seed():
    columns = {name: np.array([1.0, 3.0]) for name in ("episode_return", "hyper/discount", "meta_grad/discount")}
    shown = ("episode_return", "hyper/discount")
    assert scalars(columns, (5, 6)) == {
        **dict.fromkeys(columns, 2.0),
        **{f"{name}/seed_{seed}": value for name in shown for seed, value in ((5, 1.0), (6, 3.0))},
        "meta_grad_std/discount": pytest.approx(np.sqrt(2.0)),
    }
    assert scalars({"episode_return": np.array([np.nan, 3.0])}, (5, 6)) == dict.fromkeys(
        ("episode_return", "episode_return/seed_6"), 3.0
    )


# Hindered


@contextlib.contextmanager
def _full_disk(size):
    """Lets no file grow over so many bytes, with the error that a full disk has but for its number."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.mark.parametrize("size", [200, 600, 3_000])
def test_a_command_on_a_full_disk_ends_in_one_line_and_leaves_the_last_checkpoint(size, started, monkeypatch, capfd):
    def hindered(config, folder, execution, **_):
        with RunFolder(folder, config, execution) as run, _full_disk(size):
            run.write_metrics(9 * WINDOW, {"luck": np.full(2, 1.0 / 3.0)})
            run.write_checkpoint(9 * WINDOW, _state(9), 8.0)

    monkeypatch.setattr(loop, "train", hindered)
    assert command_line.run(train, *flags_of(CONFIG), "--checkpoint_every=1", f"--logdir={started}") == (
        f"stopped: {started} cannot be written to (File too large); what was complete is intact, and the same command "
        "goes on from there"
    )
    assert capfd.readouterr().err == ""
    with RunFolder(started, CONFIG, ALWAYS) as run:
        assert (started / metrics_csv.METRICS).read_text() == ROWS
        np.testing.assert_array_equal(run.read_checkpoint(_state(0))["numbers"], _state(6)["numbers"])
        run.write_checkpoint(9 * WINDOW, _state(9), 8.0)
    assert checkpoints.checkpoint_steps(started) == [9 * WINDOW]
