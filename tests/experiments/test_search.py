"""The search for fixed hyperparameters, in miniature."""

import contextlib
import dataclasses
import errno
import json
import os
import signal

import command_line
import jax
import numpy as np
import pytest
import tables
from experiments.studies.search.settings import SEARCHED
from experiments.studies.search.training import Outcome

from experiments import search as command
from experiments import train
from experiments.config import settings as config_lib
from experiments.config import validation
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.figures import averages
from experiments.storage import checkpoints, files
from experiments.storage import metrics as metrics_csv
from experiments.storage.files import WriteError
from experiments.studies.search import picture, searching, training
from experiments.studies.search import settings as settings_lib

TRAINING = [
    "--num_seeds=2",
    "--num_envs=4",
    "--rollout_length=5",
    "--num_env_steps=2600",  # 130 windows: 43 logging points of three, and one of a single window
    "--num_channels=4",
    "--policy_width=8",
    "--value_width=8",
]
SMALL = [*TRAINING, "--board_size=3", "--time_limit=50"]
TABLES = [*TRAINING, "--environment=tables:process"]
"""Compiles in half the time."""

RANGES = {name: searched.default for name, searched in SEARCHED.items()}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A search from flags to files, whose second setting breaks: the folder, and what is in it."""
    folder = tmp_path_factory.mktemp("search") / "run"
    drawn = settings_lib.sample

    def breaking(*arguments):
        settings = drawn(*arguments)
        settings["learning_rate"][1] = 3e38
        return settings

    arguments = ["--seed=7", "--num_settings=3", "--num_fresh_seeds=2", "--learning_rate_range=0.003,0.03"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "sample", breaking)
        assert not command_line.run(command, *TABLES, *arguments, f"--logdir={folder}")
    return folder, json.loads((folder / "search.json").read_text())


def test_a_search_writes_its_files(found):
    folder, results = found
    assert {path.name for path in folder.iterdir()} == {"asked.json", "search.json", "search.png"}
    assert (folder / "search.png").read_bytes().startswith(b"\x89PNG")
    assert results["env_steps"] == (3 * 2 + 2) * 2_600
    assert results["wall_seconds"] > 0
    ranges = RANGES | {"learning_rate": (0.003, 0.03)}
    assert results["ranges"] == {name: list(ends) for name, ends in ranges.items()}
    assert results["flags"]["environment"] == "tables:process"
    assert not results["flags"].keys() & set(SEARCHED)
    drawn = settings_lib.sample(ranges, 3, seed=7)
    for index in (0, 2):
        setting = results["settings"][index]["hyperparameters"]
        assert setting == {name: pytest.approx(values[index], rel=1e-6) for name, values in drawn.items()}


def test_what_diverges_is_marked_and_stops_nothing_else(found):
    settings = found[1]["settings"]
    assert [setting["diverged"] for setting in settings] == [False, True, False]
    assert settings[1]["returns"] == [None, None]
    assert settings[1]["return"]["estimate"] is None
    assert searching.ranking(settings)[-1] == 1


def unpaid():
    process = tables.process()
    return dataclasses.replace(process, rewards=np.full_like(process.rewards, np.nan))


def test_no_setting_is_to_blame_for_what_the_environment_does(tmp_path):
    arguments = ["--seed=7", "--num_settings=2", "--environment=test_search:unpaid", f"--logdir={tmp_path}"]
    told = "stopped: the environment's reward of seed 7 was not finite at environment step 20 (update 1)"
    assert command_line.run(command, *TRAINING, *arguments) == told


def test_the_best_setting_learns_as_it_does_by_itself(found, tmp_path):
    _, results = found
    best = results["best"]
    given = [f"--{name}={value}" for name, value in best["hyperparameters"].items()]
    seeds = ["--seed=7", "--num_seeds=4"]  # two of the search, two fresh ones
    assert not command_line.run(train, *TABLES, *seeds, "--estimator=none", *given, f"--logdir={tmp_path / 'run'}")
    metrics = metrics_csv.read_metrics(tmp_path / "run")
    expected = averages.over_last_tenth(metrics["env_steps"][:, 0], metrics["episode_return"])
    searched = [setting["returns"] for setting in results["settings"]]
    np.testing.assert_allclose([*searched[best["setting"]], *best["returns"]], expected, rtol=1e-6)
    assert len({*best["returns"], *searched[0], *searched[2]}) > 3  # they tell settings and seeds apart


CONFIG = Config(seed=3, num_seeds=2, estimator="none", outer_critic=False)


def test_draws_are_even_on_their_scale():
    settings = settings_lib.sample(RANGES, 4_000, seed=1)
    for name, values in settings.items():
        low, high = RANGES[name]
        assert values.dtype == np.float32
        assert np.float32(low) <= values.min() <= values.max() <= np.float32(high)
    places = [
        np.log(1.0 - settings["discount"]) / np.log(0.5 / 0.001) - np.log(0.5) / np.log(0.5 / 0.001) + 1.0,
        np.log(1.0 - settings["lambda"]) / np.log(1.0 / 0.01) + 1.0,
        np.log(settings["entropy_cost"] / 1e-4) / np.log(1e-1 / 1e-4),
        np.log(settings["learning_rate"] / 1e-4) / np.log(1e-2 / 1e-4),
    ]
    for place in places:
        shares, _ = np.histogram(place, bins=10, range=(-1e-3, 1.0 + 1e-3))
        np.testing.assert_allclose(shares / 4_000, 0.1, atol=0.02)
    assert np.all(np.abs(np.corrcoef(places) - np.eye(4)) < 0.06)  # four standard errors


def test_more_settings_begin_with_fewer_and_other_seeds_have_others():
    few, many, others = (settings_lib.sample(RANGES, number, seed) for number, seed in ((3, 5), (8, 5), (3, 6)))
    for name in SEARCHED:
        np.testing.assert_array_equal(many[name][:3], few[name])
        assert not np.any(others[name] == few[name])


def test_a_range_of_one_number_keeps_to_it():
    settings = settings_lib.sample(RANGES | {"discount": (0.97, 0.97)}, 5, seed=0)
    np.testing.assert_array_equal(settings["discount"], np.float32(0.97))
    np.testing.assert_array_equal(settings["lambda"], settings_lib.sample(RANGES, 5, seed=0)["lambda"])


LUCKY = np.array([[9.0, 1.0], [6.0, 5.0], [np.nan, 99.0], [3.0, np.nan]])
"""Returns, [settings, seeds]: the best single one, the best mean, one that diverged, one in which no episode ended."""


def _stand_in(calls, returns):
    """Returns what stands in for training: it records what it is asked for, and the fresh seeds earn 4, 5 and 6."""

    def train_settings(config, settings, checkpoint, quiet):
        calls.append((config, settings))
        earned = returns if len(calls) == 1 else np.array([[4.0, 5.0, 6.0]])
        return Outcome(earned, np.nan_to_num(earned, nan=0.0) == 99.0, 2.0)

    return train_settings


@pytest.mark.usefixtures("figures")
def test_the_best_is_the_best_mean_confirmed_with_fresh_seeds(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(searching, "train_settings", _stand_in(calls, LUCKY))
    ranges = {name: np.array(ends) for name, ends in RANGES.items()}
    results = searching.search(CONFIG, ranges, np.int64(4), np.int64(3), str(tmp_path))
    (searched, settings), (confirming, chosen) = calls
    assert searched == CONFIG
    assert dataclasses.replace(confirming, seed=3, num_seeds=2) == CONFIG
    assert (confirming.seed, confirming.num_seeds) == (5, 3)  # after seeds 3 and 4
    for name, values in settings.items():
        np.testing.assert_array_equal(chosen[name], values[1:2])
        assert np.float32(results["settings"][1]["hyperparameters"][name]) == values[1]
    assert results == json.loads((tmp_path / "search.json").read_text())
    assert results["best"]["setting"] == 1
    assert results["best"]["seeds"] == [5, 6, 7]
    assert results["best"]["returns"] == [4.0, 5.0, 6.0]
    assert results["best"]["return"]["estimate"] == 5.0  # not 5.5, for which it was chosen
    # Student's t quantile for three seeds, times the standard error 1 / sqrt(3).
    np.testing.assert_allclose(results["best"]["return"]["ci95"], [5 - 2.48414, 5 + 2.48414], rtol=1e-5)
    assert results["env_steps"] == (4 * 2 + 3) * CONFIG.num_env_steps
    assert searching.ranking(results["settings"]) == [1, 0, 2, 3]
    assert [setting["diverged"] for setting in results["settings"]] == [False, False, True, False]
    assert results["settings"][2]["returns"] == [None, 99.0]
    assert results["settings"][2]["return"]["estimate"] is None
    lines = command._table(results).splitlines()
    assert [line.split()[0] for line in lines] == ["setting", "1", "0", "2", "3"]
    assert lines[3].endswith("diverged")
    assert lines[4].endswith("no episode ended")
    told = command._confirmation(results)
    assert told.startswith("Setting 1 with 3 fresh seeds: 5 [2.52, 7.48]; ")
    for name in settings:
        assert f"--{name}={results['settings'][1]['hyperparameters'][name]}" in told
    picture.draw(results, CONFIG, tmp_path / "search.png")


def test_a_stopped_search_goes_on_by_its_command_and_counts_all_of_its_time(tmp_path, monkeypatch, capsys):
    calls = []
    confirm = _stand_in(calls, LUCKY[:2])

    def train_settings(config, settings, checkpoint, quiet):
        outcome = confirm(config, settings, checkpoint, quiet)
        if len(calls) == 2:
            calls.pop()
            raise WriteError("stopped")
        return outcome

    monkeypatch.setattr(searching, "train_settings", train_settings)
    given = [*SMALL, "--num_settings=2", "--num_fresh_seeds=3", f"--logdir={tmp_path / 'run'}"]
    assert command_line.run(command, *given) == "stopped"
    monkeypatch.setattr(searching, "train_settings", confirm)
    asked = tmp_path / "run" / searching.ASKED
    asked.write_bytes(asked.read_bytes().replace(b"\n", b"\r\n"))  # it was on Windows
    assert not command_line.run(command, *given)
    results = json.loads((tmp_path / "run" / "search.json").read_text())
    assert (results["best"]["returns"], results["wall_seconds"]) == ([4.0, 5.0, 6.0], 4.0)


def test_a_search_stopped_at_its_first_write_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "train_settings", _stand_in([], LUCKY[:2]))
    given = [*SMALL, "--num_settings=2", "--num_fresh_seeds=3", f"--logdir={tmp_path}"]
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", _full)
        assert "No space left on device" in command_line.run(command, *given)
    assert not command_line.run(command, *given)


def _full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path, monkeypatch):
    like = jax.eval_shape(lambda: training._start(training.make_agent(TINY), TINY, 3))
    states = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(checkpoints.without_keys, like))
    checkpoint = training.Checkpoint([np.ones((3, 2))], np.eye(3, 2, dtype=bool), states, 1.5)
    training._write_checkpoint(tmp_path / "part.npz", checkpoint)
    searching._save({"best": None}, tmp_path)
    monkeypatch.setattr(files.os, "replace", _full)
    for write in (
        lambda: training._write_checkpoint(tmp_path / "part.npz", checkpoint._replace(seconds=9.0)),
        lambda: searching._save({"best": 1}, tmp_path),
    ):
        with pytest.raises(WriteError, match="No space left on device"):
            write()
    assert training._read_checkpoint(tmp_path / "part.npz", like, 4).seconds == 1.5
    assert json.loads((tmp_path / "search.json").read_text()) == {"best": None}


@pytest.mark.parametrize(
    "other",
    [
        {"config": dataclasses.replace(CONFIG, seed=4)},
        {"config": dataclasses.replace(CONFIG, rollout_length=10)},
        {"ranges": RANGES | {"discount": (0.5, 0.9)}},
        {"num_settings": 5},
        {"num_fresh_seeds": 4},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_folder_of_another_search_is_refused(other, tmp_path, monkeypatch):
    asked = {"config": CONFIG, "ranges": RANGES, "num_settings": 4, "num_fresh_seeds": 3, "folder": tmp_path / "new"}
    monkeypatch.setattr(searching, "train_settings", _stand_in([], LUCKY))
    searching.search(**asked)
    monkeypatch.setattr(searching, "train_settings", None)  # nothing is begun
    with pytest.raises(UsageError, match="must be a new or empty folder, or one of a search with the same settings"):
        searching.search(**asked | other)


def test_what_was_searched_is_on_disk_before_the_best_is_confirmed(tmp_path, monkeypatch):
    stand_in = _stand_in([], LUCKY)

    def stopped(config, settings, checkpoint, quiet):
        if config != CONFIG:
            raise KeyboardInterrupt
        return stand_in(config, settings, checkpoint, quiet)

    monkeypatch.setattr(searching, "train_settings", stopped)
    with pytest.raises(KeyboardInterrupt):
        searching.search(CONFIG, RANGES, 4, 3, tmp_path)
    results = json.loads((tmp_path / "search.json").read_text())
    assert results["best"] is None
    assert results["settings"][1]["returns"] == [6.0, 5.0]
    assert results["env_steps"] == 4 * 2 * CONFIG.num_env_steps


def test_where_every_setting_diverges_there_is_no_best(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(searching, "train_settings", _stand_in([], np.full((2, 2), np.nan)))
    status = command_line.run(command, *SMALL, "--num_settings=2", f"--logdir={tmp_path / 'run'}")
    assert status.startswith("stopped: no setting has a return")
    assert "\n" not in status
    assert json.loads((tmp_path / "run" / "search.json").read_text())["best"] is None


def _stopped_and_finished(folder, monkeypatch, stop):
    """Searches, stopped again and again after a few logging points each, until it ends; returns what it ends with."""
    points, fold = [], training.wait

    def wait(summary):
        fold(summary)
        points.append(None)
        if len(points) % 30 == 0:
            stop()

    monkeypatch.setattr(training, "wait", wait)
    for calls in range(1, 20):
        with contextlib.suppress(KeyboardInterrupt):
            return searching.search(TINY, RANGES, 3, 2, folder, quiet=True), calls, len(points)
    raise AssertionError


def test_seconds_before_a_checkpoint_count(tmp_path, monkeypatch):
    settings = settings_lib.sample(RANGES, 3, seed=3)
    wait = training.wait
    monkeypatch.setattr(training, "wait", lambda summary: (wait(summary), signal.raise_signal(signal.SIGTERM)))
    with pytest.raises(KeyboardInterrupt):
        training.train_settings(TINY, settings, tmp_path / "part.npz", quiet=True)
    monkeypatch.setattr(training, "wait", wait)
    like = jax.eval_shape(lambda: training._start(training.make_agent(TINY), TINY, 3))
    before = training._read_checkpoint(tmp_path / "part.npz", like, 50)
    assert len(before.returns) == 1
    training._write_checkpoint(tmp_path / "part.npz", before._replace(seconds=1_000.0))
    assert training.train_settings(TINY, settings, tmp_path / "part.npz", quiet=True).seconds > 1_000.0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_ctrl_c_that_comes_while_something_is_finalised_stops_before_training(tmp_path, monkeypatch):
    class Finalised:
        def __del__(self):
            signal.raise_signal(signal.SIGINT)

    def compiling(function):
        Finalised()  # Python drops the exception
        return over_leading_axis(function)

    over_leading_axis = training.over_leading_axis
    monkeypatch.setattr(training, "over_leading_axis", compiling)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            training.train_settings(TINY, settings_lib.sample(RANGES, 3, seed=3), tmp_path / "part.npz", quiet=True)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not (tmp_path / "part.npz").exists()


def _killed():
    raise KeyboardInterrupt  # nothing is written any more


TINY = Config(
    **{"seed": 3, "num_seeds": 2, "estimator": "none", "outer_critic": False, "environment": "tables:process"},
    **{"num_envs": 4, "rollout_length": 5, "num_env_steps": 1000, "num_channels": 4, "policy_width": 8},
    value_width=8,
)
"""50 logging points in either part."""


@pytest.fixture(scope="module")
def whole():
    return searching.search(TINY, RANGES, 3, 2, quiet=True)


@pytest.mark.parametrize("stop", [lambda: signal.raise_signal(signal.SIGTERM), _killed])
def test_a_search_that_was_stopped_ends_with_the_same(stop, whole, tmp_path, monkeypatch):
    results, calls, points = _stopped_and_finished(tmp_path, monkeypatch, stop)
    assert results | {"wall_seconds": None} == whole | {"wall_seconds": None}
    assert results == json.loads((tmp_path / "search.json").read_text())
    assert calls > 3
    # A kill loses the points since the last checkpoint, of which there is one in eight; a signal loses none.
    assert points == 100 if stop is not _killed else 100 < points < 100 + 8 * calls
    assert {path.name for path in tmp_path.iterdir()} == {"asked.json", "search.json"}
    monkeypatch.setattr(searching, "train_settings", None)  # nothing is begun
    assert searching.search(TINY, RANGES, 3, 2, tmp_path) == results


@pytest.mark.parametrize("name", [searching.RESULTS, searching.CHECKPOINTS[0]])
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"PK\x03\x04", b'{"settings": 5}'])
def test_spoilt_files_of_a_search_are_one_line(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match="of this search") as error:
        searching.search(TINY, RANGES, 3, 2, tmp_path, quiet=True)
    assert str(error.value).startswith(f"{tmp_path / name}: is not")


def test_a_checkpoint_of_other_arrays_is_refused(tmp_path, monkeypatch):
    like = jax.eval_shape(lambda: training._start(training.make_agent(TINY), TINY, 3))
    states = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(checkpoints.without_keys, like))
    right = training.Checkpoint([np.ones((3, 2))] * 4, np.eye(3, 2, dtype=bool), states, 1.5)
    file = tmp_path / "part.npz"
    training._write_checkpoint(file, right)
    back = training._read_checkpoint(file, like, 4)
    assert (len(back.returns), back.seconds) == (4, 1.5)
    np.testing.assert_array_equal(back.diverged, right.diverged)
    jax.tree.map(np.testing.assert_array_equal, back.states, states)
    fewer = jax.tree.map(lambda leaf: leaf[:2], states)
    for wrong in (
        right._replace(returns=[np.ones((3, 2))] * 5),
        right._replace(returns=[np.ones((2, 2))]),
        right._replace(diverged=np.zeros((3, 2))),
        right._replace(states=fewer),
    ):
        training._write_checkpoint(file, wrong)
        with pytest.raises(UsageError, match=r"part\.npz: is not a checkpoint of this search"):
            training._read_checkpoint(file, like, 4)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--num_settings=0", "--num_settings=0: must be in [1, 65536]"),
        ("--num_fresh_seeds=1", "--num_fresh_seeds=1: must be at least 2"),
        ("--discount_range=0.5,1", "--discount_range=0.5,1: must be two numbers LOW,HIGH, each in (0, 1)"),
        ("--discount_range=0.5,0.999999999", "--discount_range=0.5,0.999999999: must be"),
        ("--discount_range=0.9,0.5", "--discount_range=0.9,0.5: must be"),
        ("--discount_range=0.9", "--discount_range=0.9: must be"),
        ("--discount_range=0.5,0.6,0.7", "--discount_range=0.5,0.6,0.7: must be"),
        ("--lambda_range=", "--lambda_range=: must be"),
        ("--lambda_range=0,1", "--lambda_range=0,1: must be two numbers LOW,HIGH, each in [0, 1), LOW at most HIGH"),
        ("--entropy_cost_range=0,1", "--entropy_cost_range=0,1: must be two numbers LOW,HIGH, each positive"),
        ("--entropy_cost_range=nan,1", "--entropy_cost_range=nan,1: must be"),
        ("--learning_rate_range=much,more", "--learning_rate_range=much,more: must be"),
        ("--learning_rate_range=1,1e39", "--learning_rate_range=1,1e39: must be"),
        ("--num_env_steps=1001", "--num_env_steps=1001: must be a multiple of num_envs × rollout_length = 20,"),
        ("--seed=2147483640", "--seed=2147483640: must be at most 2^31 - --num_seeds - --num_fresh_seeds"),
        ("--discount=0.9", "discount"),
        ("--estimator=none", "estimator"),
        ("--logdir=", "--logdir=: must be given"),
    ],
)
def test_bad_input_is_one_line_and_status_2(argument, message, tmp_path, capsys):
    assert command_line.run(command, *SMALL, f"--logdir={tmp_path / 'run'}", argument) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_flags_are_those_that_mean_something_here():
    flags = command.define_flags()
    for field in dataclasses.fields(Config):
        assert (config_lib.flag_name(field) in flags) == (field.name not in settings_lib.UNUSED)


def test_presets_are_valid():
    for preset in settings_lib.SEARCH_PRESETS.values():
        validation.validate(Config(**preset))
