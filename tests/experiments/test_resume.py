"""Runs that are stopped, killed, hindered or made longer, and go on."""

import codecs
import contextlib
import dataclasses
import functools
import os
import pathlib
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
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import train_on_tables
from hypothesis import given
from hypothesis import strategies as st
from jax.experimental.compilation_cache import compilation_cache
from tensorboardX.proto.event_pb2 import Event, SessionLog

from experiments import compare, train
from experiments.config import settings as config_lib
from experiments.config.ranges import UsageError
from experiments.config.settings import Config, Execution
from experiments.runs import divergence
from experiments.runs import training as loop
from experiments.runs.building import init_seeds, make_agent
from experiments.storage import checkpoints as saved
from experiments.storage import config_file, run_folder
from experiments.storage import folder as storage_folder
from experiments.storage import metrics as metrics_csv
from experiments.storage.files import WriteError
from experiments.storage.run_folder import RunFolder

WINDOW = 2 * tables.NUM_ENVS * tables.LENGTH
CONFIG = Config(num_env_steps=130 * WINDOW, **train_on_tables.FLAGS)
"""44 logging points, the last of one window, where all others have three."""

ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
"""For processes that find the modules that these tests found."""

ALWAYS = Execution(checkpoint_every=1)
SNAKE = (
    *("--board_size=3", "--num_seeds=2", "--num_envs=4", "--rollout_length=5", "--time_limit=50", "--horizon=2"),
    *("--num_channels=4", "--policy_width=8", "--value_width=8", "--num_env_steps=2400"),
)


def _command_line(config):
    given = [(field, getattr(config, field.name)) for field in dataclasses.fields(Config)]
    return [
        f"--{config_lib.flag_name(field)}={','.join(value) if isinstance(value, tuple) else value}"
        for field, value in given
        if value != field.default
    ]


@pytest.fixture
def on_tables(monkeypatch):
    monkeypatch.setattr(train, "make_agent", train_on_tables.make_agent)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Keeps compiled programs for the rest of these tests, here and in other processes; returns the environment."""
    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("cache")),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for values in (settings, before):
        compilation_cache.reset_cache()
        for name, value in values.items():
            jax.config.update(name, value)
        if values is settings:
            yield ENVIRONMENT | {name.upper(): str(value) for name, value in settings.items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "make_agent", train_on_tables.make_agent)
        loop.train(CONFIG, folder)
    return folder


def _states(folder, like):
    """Returns a run's checkpoints, everything random included, as arrays."""
    return {
        steps: jax.tree.leaves(saved.without_keys(saved.read_checkpoint(folder, steps, like)))
        for steps in saved.checkpoint_steps(folder)
    }


def _like(config=CONFIG, agent=None):
    return jax.eval_shape(functools.partial(init_seeds, agent or train_on_tables.make_agent(config), config))


def _assert_same(folder, expected, like):
    """Checks that two runs left the same behind, to the bit, and nothing besides."""
    for name in (metrics_csv.METRICS, config_file.CONFIG):
        assert (folder / name).read_bytes() == (expected / name).read_bytes()
    names = {path.name for path in (folder / saved.CHECKPOINTS).iterdir()}
    assert names == {path.name for path in (expected / saved.CHECKPOINTS).iterdir()}
    ours, theirs = _states(folder, like), _states(expected, like)
    assert ours.keys() == theirs.keys()
    for steps, leaves in ours.items():
        for leaf, other in zip(leaves, theirs[steps], strict=True):
            assert np.asarray(leaf).tobytes() == np.asarray(other).tobytes()


# Killed


def _kill_while(moment, process, folder, rng):
    """Kills a training process at a random moment while it starts, trains, or writes a checkpoint."""
    checkpoints, metrics = folder / saved.CHECKPOINTS, folder / metrics_csv.METRICS

    def writing():
        return checkpoints.is_dir() and any("tmp" in path.name for path in checkpoints.iterdir())

    def modified():
        return metrics.stat().st_mtime_ns if metrics.exists() else 0

    before = time.time_ns()
    if moment == "starting":
        time.sleep(rng.uniform(0.0, 8.0))
    while moment == "training" and modified() < before and process.poll() is None:
        time.sleep(0.002)
    while moment == "writing" and not writing() and process.poll() is None:
        time.sleep(0.0005)
    time.sleep(rng.uniform(0.0, 0.3 if moment == "training" else 0.03))
    process.kill()
    return process.wait()


def _killed_and_finished(command, folder, moments, environment, seed):
    """Runs a command on a folder until it ends, and kills it before as often as there are moments."""
    rng = random.Random(seed)
    command = [sys.executable, *command, "--checkpoint_every=1", f"--logdir={folder}"]
    statuses = []
    for moment in moments:
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            statuses.append(_kill_while(moment, process, folder, rng))
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return statuses


def test_a_run_that_was_killed_ends_as_if_it_had_not_been(undisturbed, cache, tmp_path):
    command = [str(pathlib.Path(__file__).parents[1] / "train_on_tables.py"), *_command_line(CONFIG)]
    moments = ("writing", "training", "writing")
    statuses = _killed_and_finished(command, tmp_path / "run", moments, cache, seed=0)
    assert statuses == [-signal.SIGKILL] * 3
    _assert_same(tmp_path / "run", undisturbed, _like())


@pytest.fixture(scope="module")
def undisturbed_snake(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("snake") / "run"
    _killed_and_finished(["-m", "experiments.train", *SNAKE], folder, (), cache, seed=0)
    return folder


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(8))
def test_snake_that_was_killed_ends_as_if_it_had_not_been(seed, undisturbed_snake, cache, tmp_path):
    moments = ["starting", "training", "writing"]
    random.Random(seed).shuffle(moments)
    command, folder = ["-m", "experiments.train", *SNAKE], tmp_path / "run"
    statuses = _killed_and_finished(command, folder, moments, cache, seed)
    assert statuses == [-signal.SIGKILL] * 3
    config = config_file.load(folder / config_file.CONFIG)
    _assert_same(folder, undisturbed_snake, _like(config, make_agent(config)))


# Stopped


def _signal_at(monkeypatch, number, point):
    """Has a signal come while a logging point is written."""
    write, points = RunFolder.write_metrics, []

    def write_metrics(writer, *arguments):
        write(writer, *arguments)
        points.append(None)
        if len(points) == point:
            signal.raise_signal(number)

    monkeypatch.setattr(RunFolder, "write_metrics", write_metrics)


def test_a_signal_stops_a_run_with_a_checkpoint_that_it_goes_on_from(undisturbed, tmp_path, monkeypatch, on_tables):
    with monkeypatch.context() as patch:
        _signal_at(patch, signal.SIGTERM, 9)
        with pytest.raises(KeyboardInterrupt) as stop:
            loop.train(CONFIG, tmp_path / "run")
    assert stop.value.args == (signal.SIGTERM,)
    assert [steps // WINDOW for steps in saved.checkpoint_steps(tmp_path / "run")] == [18, 27]
    assert metrics_csv.read_metrics(tmp_path / "run")["env_steps"][-1, 0] == 27 * WINDOW
    loop.train(CONFIG, tmp_path / "run")
    _assert_same(tmp_path / "run", undisturbed, _like())


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(signal.SIGTERM), 143), (KeyboardInterrupt(), 130)], ids=["term", "int"]
)
def test_a_stopped_command_says_in_one_line_that_it_goes_on(error, status, tmp_path, monkeypatch, capsys):
    def stopped(*_, **__):
        raise error

    class Exit(BaseException):
        pass

    def leave(status):
        raise Exit(status)

    monkeypatch.setattr(train, "train", stopped)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(sys, "argv", ["train", f"--logdir={tmp_path}"])
    with pytest.raises(Exit, match=str(status)):
        command_line.run(train.main, train.define_flags(), "the same command goes on from here")
    assert capsys.readouterr().err == "\nstopped; the same command goes on from here\n"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_ctrl_c_that_comes_while_something_is_finalised_stops_before_training(tmp_path, monkeypatch, on_tables):
    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def make(*arguments):
        Finalised()  # Python drops the exception
        return program(*arguments)

    program = loop.training_program
    monkeypatch.setattr(train, "training_program", make)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as stop:
            loop.train(CONFIG, tmp_path)
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert stop.value.args == (signal.SIGINT,)
    assert (tmp_path / metrics_csv.METRICS).read_text() == ""


# Complete and longer


def test_a_complete_run_is_left_as_it_is(undisturbed, monkeypatch, on_tables):
    def content():
        return {path: path.is_file() and path.read_bytes() for path in undisturbed.rglob("*")}

    before = content()
    monkeypatch.setattr(train, "init_seeds", None)  # nothing is begun
    assert loop.train(CONFIG, undisturbed).seconds > 0.0
    assert content() == before


def test_a_complete_run_becomes_longer(undisturbed, tmp_path, on_tables):
    seconds = loop.train(dataclasses.replace(CONFIG, num_env_steps=65 * WINDOW), tmp_path).seconds
    first = (tmp_path / metrics_csv.METRICS).read_bytes()
    assert loop.train(CONFIG, tmp_path).seconds > seconds
    assert (tmp_path / metrics_csv.METRICS).read_bytes().startswith(first)
    windows = metrics_csv.read_metrics(tmp_path)["env_steps"][:, 0] / WINDOW
    np.testing.assert_array_equal(windows, [*range(2, 65, 2), 65, *range(68, 130, 3), 130])
    assert config_file.load(tmp_path / config_file.CONFIG) == CONFIG
    ours, theirs = _states(tmp_path, _like()), _states(undisturbed, _like())
    for leaf, other in zip(ours[CONFIG.num_env_steps], theirs[CONFIG.num_env_steps], strict=True):
        np.testing.assert_array_equal(leaf, other)
    # The first checkpoint in each stretch of 18 windows, and the last; until 65 there is one in ten.
    assert [steps // WINDOW for steps in ours] == [20, 40, 60, 74, 92, 110, 128, 130]


def test_rows_of_a_longer_run_are_as_far_apart_as_of_one_that_was_as_long_at_once():
    assert CONFIG.steps_per_point == 3 * WINDOW
    assert dataclasses.replace(CONFIG, num_env_steps=64 * WINDOW).steps_per_point == WINDOW
    assert dataclasses.replace(CONFIG, num_env_steps=65 * WINDOW).steps_per_point == 2 * WINDOW


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
        if saved.stays(config, execution, env_steps) or (index + 1) % every == 0 or index in stops:
            steps = saved.staying([*steps, env_steps], run_folder._stretch(config, execution))
            assert steps[-1] == env_steps
    spread = -(-len(points) // keep)
    assert steps == sorted({*points[spread - 1 :: spread], points[-1]})
    assert len(steps) <= keep


def test_an_undisturbed_run_has_its_eight_checkpoints(undisturbed):
    assert saved.checkpoint_steps(undisturbed) == [WINDOW * windows for windows in (18, 36, 54, 72, 90, 108, 126, 130)]


# Refused


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--discount=0.5", "--discount=0.5: must be 0.97, as of the run in RUN, to go on with it"),
        ("--lambda=0.5", "--lambda=0.5: must be 0.9, as of the run in RUN, to go on with it"),
        ("--seed=6", "--seed=6: must be 5, as of the run in RUN, to go on with it"),
        ("--meta_params=discount", "--meta_params=discount: must be discount,entropy_cost, as of the run in RUN, to"),
        ("--noouter_critic", "--outer_critic=False: must be True, as of the run in RUN, to go on with it"),
        (f"--num_env_steps={WINDOW}", f"--num_env_steps={WINDOW}: must be at least {130 * WINDOW}, as of the run in"),
        ("--keep=0", "--keep=0: must be at least 1"),
        ("--checkpoint_every=0", "--checkpoint_every=0: must be at least 1"),
    ],
)
def test_other_settings_than_the_folders_are_refused(argument, complaint, undisturbed, capsys):
    arguments = [*_command_line(CONFIG), argument, f"--logdir={undisturbed}"]
    assert command_line.run(train, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(complaint.replace("RUN", str(undisturbed)))


def test_compare_refuses_other_settings_before_it_trains(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(compare, "train", None)
    (tmp_path / "mixing").mkdir()
    config_file.save(CONFIG, tmp_path / "mixing" / config_file.CONFIG)
    assert command_line.run(compare, f"--logdir={tmp_path}") == 2
    assert ", as of the run in" in capsys.readouterr().err


def test_compare_hands_on_what_is_to_be_kept(tmp_path, monkeypatch):
    executions = []

    def stopped(config, folder, execution, **options):
        executions.append(execution)
        raise divergence.NonFiniteError("enough")

    monkeypatch.setattr(compare, "train", stopped)
    assert command_line.run(compare, "--keep=3", "--checkpoint_every=2", f"--logdir={tmp_path}") == "enough"
    assert executions == [Execution(checkpoint_every=2, keep=3)]


@pytest.mark.parametrize("command", [train, compare])
def test_a_folder_that_holds_something_else_is_refused(command, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("")
    assert command_line.run(command, f"--logdir={tmp_path}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "must be a new or empty folder, or one that this command made, and this one holds something else"
    )


def test_metrics_of_something_else_are_not_overwritten(tmp_path, capsys):
    (tmp_path / metrics_csv.METRICS).write_text("mine\n")
    assert command_line.run(train, f"--logdir={tmp_path}") == 2
    assert "without a metrics.csv that is not of a run" in capsys.readouterr().err
    assert (tmp_path / metrics_csv.METRICS).read_text() == "mine\n"


def test_a_folder_where_another_process_is_at_work_is_refused(tmp_path):
    # A lock keeps out whoever opens the file another time, be it this process.
    with RunFolder(tmp_path, CONFIG, ALWAYS), pytest.raises(UsageError, match="another process is at work in this"):
        RunFolder(tmp_path, CONFIG, ALWAYS)
    RunFolder(tmp_path, CONFIG, ALWAYS).__exit__(None, None, None)


# What the writer finds


STATE = {"key": jax.eval_shape(lambda: jax.random.key(0)), "numbers": jax.ShapeDtypeStruct((3_000,), jnp.float32)}


def _state(number):
    key = jax.random.key(number)
    return {"key": key, "numbers": jax.random.normal(key, (3_000,))}


@pytest.fixture
def started(tmp_path):
    """A run that was killed some points after its last checkpoint, which is at six windows."""
    with RunFolder(tmp_path, CONFIG, ALWAYS) as writer:
        for windows in (3, 6, 9, 12):
            writer.write_metrics(windows * WINDOW, {"luck": np.array([windows, np.nan])})
            if windows == 6:
                writer.write_checkpoint(windows * WINDOW, _state(windows), 7.0)
    return tmp_path


ROWS = f"env_steps,seed,luck\n{3 * WINDOW},5,3.0\n{3 * WINDOW},6,\n{6 * WINDOW},5,6.0\n{6 * WINDOW},6,\n"


@pytest.mark.parametrize("cut", [0, 1, 9, 14])
def test_rows_after_the_last_checkpoint_come_again(cut, started):
    metrics = started / metrics_csv.METRICS
    metrics.write_bytes(metrics.read_bytes()[: -cut or None])
    with RunFolder(started, CONFIG, ALWAYS) as writer:
        assert (writer.env_steps, writer.seconds) == (6 * WINDOW, 7.0)
        assert metrics.read_text() == ROWS
        writer.write_metrics(9 * WINDOW, {"luck": np.array([1.0, 2.0])})
    assert metrics.read_text() == ROWS + f"{9 * WINDOW},5,1.0\n{9 * WINDOW},6,2.0\n"


def test_a_run_without_a_checkpoint_begins_again(started):
    shutil.rmtree(started / saved.CHECKPOINTS)
    with RunFolder(started, CONFIG, ALWAYS) as writer:
        assert (writer.env_steps, writer.seconds) == (0, 0.0)
        writer.write_metrics(3 * WINDOW, {"luck": np.array([3.0, np.nan])})
    assert (started / metrics_csv.METRICS).read_text() == "".join(ROWS.splitlines(keepends=True)[:3])


def test_a_run_that_was_killed_before_it_had_settings_begins_again(tmp_path):
    (tmp_path / metrics_csv.METRICS).write_text("")
    (tmp_path / "config.json.partial").write_text('{"format"')
    assert storage_folder.new_logdir(str(tmp_path), run_folder.OWN) == tmp_path
    with RunFolder(tmp_path, CONFIG, ALWAYS):
        assert config_file.load(tmp_path / config_file.CONFIG) == CONFIG


def test_metrics_that_lack_the_checkpoints_rows_are_refused(started):
    (started / metrics_csv.METRICS).write_text("".join(ROWS.splitlines(keepends=True)[:-1]))
    with pytest.raises(UsageError, match=f"has not the rows of the checkpoint at {6 * WINDOW} environment steps"):
        RunFolder(started, CONFIG, ALWAYS)


LONGER = dataclasses.replace(CONFIG, num_env_steps=131 * WINDOW)


def test_metrics_with_other_columns_are_not_gone_on_with_nor_made_longer(started):
    with (
        RunFolder(started, LONGER, ALWAYS) as writer,
        pytest.raises(UsageError, match="has other columns than this version writes"),
    ):
        writer.write_metrics(9 * WINDOW, {"skill": np.array([1.0, 2.0])})
    assert config_file.load(started / config_file.CONFIG) == CONFIG


def test_a_run_that_was_on_windows_goes_on(started):
    for name in (metrics_csv.METRICS, config_file.CONFIG):
        file = started / name
        file.write_bytes(codecs.BOM_UTF8 + file.read_bytes().replace(b"\n", b"\r\n"))
    with RunFolder(started, LONGER, ALWAYS) as writer:
        assert writer.env_steps == 6 * WINDOW
        writer.write_metrics(9 * WINDOW, {"luck": np.array([1.0, 2.0])})
    np.testing.assert_array_equal(metrics_csv.read_metrics(started)["luck"], [[3.0, np.nan], [6.0, np.nan], [1.0, 2.0]])
    assert config_file.load(started / config_file.CONFIG) == LONGER


def test_what_was_being_written_or_removed_is_cleared_away(started):
    place = started / saved.CHECKPOINTS
    for name in ("480.orbax-checkpoint-tmp", "48.removed"):
        shutil.copytree(place / str(6 * WINDOW), place / name)
    assert saved.checkpoint_steps(started) == [6 * WINDOW]
    with RunFolder(started, CONFIG, ALWAYS):
        assert [path.name for path in place.iterdir()] == [str(6 * WINDOW)]


def test_checkpoints_that_do_not_stay_are_removed_by_the_next(started):
    with RunFolder(started, CONFIG, ALWAYS) as writer:
        for windows, left in ((9, [9]), (18, [18]), (21, [18, 21]), (36, [18, 36])):
            writer.write_checkpoint(windows * WINDOW, _state(windows), 8.0)
            assert saved.checkpoint_steps(started) == [WINDOW * windows for windows in left]


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
    with RunFolder(started, CONFIG, ALWAYS) as writer:
        writer.write_metrics(9 * WINDOW, {"luck": np.array([1.0, 2.0])})
    starts = [event.step for event in _events(started) if event.session_log.status == SessionLog.START]
    assert starts == [1, 6 * WINDOW + 1]
    logged = [(event.step // WINDOW, _values(event)) for event in _events(started) if _values(event)]
    assert logged == [(at, {"luck": mean}) for at, mean in ((3, 3.0), (6, 6.0), (9, 9.0), (12, 12.0), (9, 1.5))]


def test_tensorboard_shows_the_settings_and_every_seed(tmp_path):
    names = ("episode_return", "hyper/discount", "meta_grad/discount")
    with RunFolder(tmp_path, CONFIG, ALWAYS) as writer:
        writer.write_metrics(WINDOW, dict.fromkeys(names, np.array([1.0, 3.0])))
        writer.write_metrics(2 * WINDOW, dict.fromkeys(names, np.array([np.nan, 3.0])))
    *start, first, second = _events(tmp_path)
    seeds = ("episode_return", "hyper/discount")
    assert _values(first) == {
        **dict.fromkeys(names, 2.0),
        **{f"{name}/seed_{seed}": value for name in seeds for seed, value in ((5, 1.0), (6, 3.0))},
        "meta_grad_std/discount": pytest.approx(np.sqrt(2.0)),
    }
    assert _values(second) == dict.fromkeys([*names, *(f"{name}/seed_6" for name in seeds)], 3.0)
    shown = {value.tag: value.tensor.string_val for event in start for value in event.summary.value}
    assert f"| num_envs | {CONFIG.num_envs} |" in shown["settings/text_summary"][0].decode()


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


@pytest.mark.parametrize("size", [50, 600, 3_000])
def test_a_full_disk_leaves_the_last_checkpoint(size, started):
    with RunFolder(started, CONFIG, ALWAYS) as writer, _full_disk(size), pytest.raises(WriteError) as error:
        writer.write_checkpoint(9 * WINDOW, _state(9), 8.0)
    assert str(error.value) == (
        f"stopped: {started} cannot be written to (File too large); what was complete is intact, and the same command "
        "goes on from there"
    )
    with RunFolder(started, CONFIG, ALWAYS) as writer:
        assert writer.env_steps == 6 * WINDOW
        state = saved.read_checkpoint(started, 6 * WINDOW, STATE)
        np.testing.assert_array_equal(state["numbers"], _state(6)["numbers"])
        writer.write_checkpoint(9 * WINDOW, _state(9), 8.0)
    assert saved.checkpoint_steps(started) == [9 * WINDOW]


def test_rows_that_a_full_disk_cut_come_again(started):
    metrics = started / metrics_csv.METRICS
    with _full_disk(len(ROWS) + 3), RunFolder(started, CONFIG, ALWAYS) as writer, pytest.raises(WriteError):
        writer.write_metrics(9 * WINDOW, {"luck": np.array([1.0, 2.0])})
    assert metrics.read_text() == ROWS + f"{9 * WINDOW}"[:3]
    RunFolder(started, CONFIG, ALWAYS).__exit__(None, None, None)
    assert metrics.read_text() == ROWS


@pytest.mark.parametrize("size", [50, 600, 3_000])
def test_a_command_on_a_full_disk_ends_in_one_line(size, tmp_path, monkeypatch, capfd):
    def hindered(config, folder, execution, **_):
        with RunFolder(folder, config, execution) as writer, _full_disk(size):
            writer.write_checkpoint(9 * WINDOW, _state(9), 8.0)

    monkeypatch.setattr(train, "train", hindered)
    status = command_line.run(train, *_command_line(CONFIG), f"--logdir={tmp_path}")
    assert status.startswith(f"stopped: {tmp_path} cannot be written to (File too large)")
    assert "\n" not in status
    assert capfd.readouterr().err == ""


def test_files_that_cannot_be_written_are_refused(tmp_path, capsys):
    config_file.save(CONFIG, tmp_path / config_file.CONFIG)
    (tmp_path / metrics_csv.METRICS).mkdir()
    assert command_line.run(train, *_command_line(CONFIG), f"--logdir={tmp_path}") == 2
    assert capsys.readouterr().err == f"{tmp_path}: cannot be written to (Is a directory)\n"


# Elsewhere

SAVE_ON_THE_SECOND_DEVICE = """
import pathlib, sys
import jax, test_resume
from experiments.storage.run_folder import RunFolder

with RunFolder(pathlib.Path(sys.argv[1]), test_resume.CONFIG, test_resume.ALWAYS) as writer:
    state = jax.device_put(test_resume._state(1), jax.devices()[1])
    writer.write_checkpoint(1, state, 0.0)
"""


def test_checkpoints_move_between_devices(tmp_path):
    flags = os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2"
    command = [sys.executable, "-c", SAVE_ON_THE_SECOND_DEVICE, str(tmp_path)]
    subprocess.run(command, env=ENVIRONMENT | {"XLA_FLAGS": flags}, check=True)
    assert len(jax.devices()) == 1
    state = saved.read_checkpoint(tmp_path, 1, STATE)
    np.testing.assert_array_equal(state["numbers"], _state(1)["numbers"])
    np.testing.assert_array_equal(jax.random.key_data(state["key"]), jax.random.key_data(jax.random.key(1)))
