"""The search for fixed hyperparameters, in miniature."""

import dataclasses
import json
import os
import signal
import sys

import command_line
import numpy as np
import pytest
import tables

from experiments import search as command
from experiments import train
from experiments.config import search as settings_lib
from experiments.config import validation
from experiments.config.ranges import UsageError
from experiments.config.search import SEARCHED
from experiments.config.settings import Config, flag_name
from experiments.figures.outcome import final_returns
from experiments.runs import seeds
from experiments.storage import metrics as metrics_csv
from experiments.studies.search import picture, report, searching
from experiments.studies.search.searching import Outcome

TABLES = [
    *("--environment=tables:process", "--num_envs=4", "--rollout_length=5", "--num_env_steps=2600"),
    *("--num_channels=4", "--policy_width=8", "--value_width=8"),
]
"""130 windows: 43 logging points of three, and one of a single window."""

SEARCH = [
    *TABLES,
    *("--seed=7", "--num_seeds=2", "--num_settings=3", "--num_fresh_seeds=2", "--learning_rate_range=0.003,0.03"),
]
RANGES = {name: searched.default for name, searched in SEARCHED.items()} | {"learning_rate": (0.003, 0.03)}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A search from flags to files, whose second setting breaks: the folder, and what is in it."""
    folder = tmp_path_factory.mktemp("search") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "sample", breaking)
        assert not command_line.run(command, *SEARCH, f"--logdir={folder}")
    return folder, json.loads((folder / "search.json").read_text())


def breaking(*arguments):
    settings = settings_lib.sample(*arguments)
    settings["learning_rate"][1] = 3e38
    return settings


def test_a_search_writes_its_files_and_marks_what_diverges(found):
    folder, results = found
    assert {path.name for path in folder.iterdir()} == {
        "asked.json",
        "confirming",
        "search.json",
        "search.png",
        "searching",
    }
    assert [*results] == ["env_steps", "wall_seconds", "flags", "ranges", "best", "settings"]
    assert [*json.loads((folder / "asked.json").read_text())] == ["flags", "ranges", "num_settings", "num_fresh_seeds"]
    assert results["env_steps"] == (3 * 2 + 2) * 2_600
    assert results["wall_seconds"] > 0
    assert results["ranges"] == {name: list(ends) for name, ends in RANGES.items()}
    assert results["flags"]["environment"] == "tables:process"
    assert not results["flags"].keys() & set(SEARCHED)
    settings, drawn = results["settings"], breaking(RANGES, 3, 7)
    for index in range(3):
        assert settings[index]["hyperparameters"] == {name: float(str(drawn[name][index])) for name in SEARCHED}
    assert [setting["diverged"] for setting in settings] == [False, True, False]
    assert settings[1]["returns"] == [None, None]
    assert settings[1]["return"]["estimate"] is None
    assert searching.ranking(settings)[-1] == 1


def test_the_best_setting_learns_as_it_does_by_itself_to_the_bit(found, tmp_path):
    best, searched = found[1]["best"], [setting["returns"] for setting in found[1]["settings"]]
    given = [f"--{name}={value}" for name, value in best["hyperparameters"].items()]
    numbers = ["--seed=7", "--num_seeds=4"]  # two of the search, two fresh ones
    assert not command_line.run(train, *TABLES, *numbers, "--estimator=none", *given, f"--logdir={tmp_path / 'run'}")
    returns = final_returns(metrics_csv.read_metrics(tmp_path / "run"))
    assert [*searched[best["setting"]], *best["returns"]] == returns.tolist()
    assert len({*best["returns"], *searched[0], *searched[2]}) > 3  # they tell settings and seeds apart


def test_a_search_that_was_stopped_ends_with_the_same(found, tmp_path, monkeypatch):
    monkeypatch.setattr(searching, "sample", breaking)
    monkeypatch.setattr(picture, "draw", lambda *_: None)
    monkeypatch.setattr(os, "_exit", sys.exit)
    wait, points = seeds.wait, []

    def signalled(summary):
        wait(summary)
        points.append(None)
        if len(points) in (20, 60):  # in the search, and while the best is confirmed
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(seeds, "wait", signalled)
    for parts in ({"searching"}, {"searching", "confirming", "search.json"}):
        assert command_line.run(command, *SEARCH, f"--logdir={tmp_path}") == 128 + signal.SIGTERM
        assert {path.name for path in tmp_path.iterdir()} == {"asked.json", *parts}
    results = json.loads((tmp_path / "search.json").read_text())
    assert (results["best"], results["settings"]) == (None, found[1]["settings"])
    asked = tmp_path / "asked.json"
    older = json.loads(asked.read_text())
    del older["flags"]["hidden_layers"]  # which came later
    asked.write_bytes(json.dumps(older, indent=2).encode().replace(b"\n", b"\r\n"))  # it was on Windows
    assert not command_line.run(command, *SEARCH, f"--logdir={tmp_path}")
    results = json.loads((tmp_path / "search.json").read_text())
    assert results | {"wall_seconds": None} == found[1] | {"wall_seconds": None}
    assert len(points) == 2 * 44  # none is lost or trained again
    monkeypatch.setattr(seeds, "wait", None)  # nothing is begun
    assert not command_line.run(command, *SEARCH, f"--logdir={tmp_path}")


def unpaid():
    process = tables.process()
    return dataclasses.replace(process, rewards=np.full_like(process.rewards, np.nan))


def test_no_setting_is_to_blame_for_what_the_environment_does(tmp_path):
    arguments = [*SEARCH, "--environment=test_search:unpaid", f"--logdir={tmp_path}"]
    told = "stopped: the environment's reward of seed 7 was not finite at environment step 20 (update 1)"
    assert command_line.run(command, *arguments) == told


def test_draws_are_even_on_their_scale():
    ranges = {name: searched.default for name, searched in SEARCHED.items()}
    settings = settings_lib.sample(ranges, 4_000, seed=1)
    places = []
    for name, values in settings.items():
        low, high = ranges[name]
        assert values.dtype == np.float32
        assert np.float32(low) <= values.min() <= values.max() <= np.float32(high)
        start, end, value = (
            (1.0 - low, 1.0 - high, 1.0 - values) if name in ("discount", "lambda") else (low, high, values)
        )
        places.append(np.log(value / start) / np.log(end / start))
        shares, _ = np.histogram(places[-1], bins=10, range=(-1e-3, 1.0 + 1e-3))
        np.testing.assert_allclose(shares / 4_000, 0.1, atol=0.02)
    assert np.all(np.abs(np.corrcoef(places) - np.eye(4)) < 0.06)  # four standard errors
    few, others = settings_lib.sample(ranges | {"discount": (0.97, 0.97)}, 3, seed=1), settings_lib.sample(ranges, 3, 2)
    np.testing.assert_array_equal(few["discount"], np.float32(0.97))
    np.testing.assert_array_equal(few["lambda"], settings["lambda"][:3])  # more settings begin with fewer
    assert not np.any(others["lambda"] == few["lambda"])


CONFIG = Config(seed=3, num_seeds=2, estimator="none", outer_critic=False)

LUCKY = np.array([[9.0, 1.0], [6.0, 5.0], [np.nan, 99.0], [3.0, np.nan]])
"""Returns, [settings, seeds]: the best single one, the best mean, one that diverged, one in which no episode ended."""


@pytest.fixture
def calls(monkeypatch):
    """Stands in for training: records what it is asked for, and the fresh seeds earn 4, 5 and 6."""
    calls = []

    def train_settings(config, settings, folder, quiet):
        calls.append((config, settings))
        earned = np.array([[4.0, 5.0, 6.0]]) if len(settings["lambda"]) == 1 else LUCKY
        return Outcome(earned, np.nan_to_num(earned, nan=0.0) == 99.0, 2.0)

    monkeypatch.setattr(searching, "train_settings", train_settings)
    return calls


def test_the_best_is_the_best_mean_confirmed_with_fresh_seeds(tmp_path, calls, figures):
    results = searching.search(CONFIG, RANGES, np.int64(4), np.int64(3), str(tmp_path))
    (searched, settings), (confirming, chosen) = calls
    assert searched == CONFIG
    assert dataclasses.replace(confirming, seed=3, num_seeds=2) == CONFIG
    assert (confirming.seed, confirming.num_seeds) == (5, 3)  # after seeds 3 and 4
    assert results == json.loads((tmp_path / "search.json").read_text())
    best = results["best"]
    assert (best["setting"], best["seeds"], best["returns"]) == (1, [5, 6, 7], [4.0, 5.0, 6.0])
    assert best["return"]["estimate"] == 5.0  # not 5.5, for which it was chosen
    # Student's t quantile for three seeds, times the standard error 1 / sqrt(3).
    np.testing.assert_allclose(best["return"]["ci95"], [5 - 2.48414, 5 + 2.48414], rtol=1e-5)
    assert searching.ranking(results["settings"]) == [1, 0, 2, 3]
    assert [setting["diverged"] for setting in results["settings"]] == [False, False, True, False]
    assert results["settings"][2]["returns"] == [None, 99.0]
    assert [line.split()[0] for line in report.table_of(results).splitlines()] == ["setting", "1", "0", "2", "3"]
    told = report.confirmation(results)
    assert told.startswith("Setting 1 with 3 fresh seeds: 5 [2.52, 7.48]; ")
    for name, value in results["settings"][1]["hyperparameters"].items():
        assert np.float32(value) == settings[name][1] == chosen[name]
        assert f"--{name}={value}" in told
    picture.draw(results, CONFIG, tmp_path / "search.png")


def test_where_every_setting_diverges_there_is_no_best(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "LUCKY", np.full((3, 2), np.nan))
    status = command_line.run(command, *SEARCH, f"--logdir={tmp_path}")
    assert status.startswith("stopped: no setting has a return")
    assert json.loads((tmp_path / "search.json").read_text())["best"] is None


def test_a_folder_of_another_search_is_refused(tmp_path, calls):
    asked = {"config": CONFIG, "ranges": RANGES, "num_settings": 4, "num_fresh_seeds": 3, "folder": tmp_path / "new"}
    searching.search(**asked)
    others = ({"num_settings": 5}, {"num_fresh_seeds": 4}, {"ranges": RANGES | {"discount": (0.5, 0.9)}})
    for other in (*others, {"config": dataclasses.replace(CONFIG, rollout_length=10)}):
        with pytest.raises(UsageError, match="a new or empty folder, or one of a search with the same settings"):
            searching.search(**asked | other)
    assert len(calls) == 2  # nothing was begun


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--num_settings=0", "--num_settings=0: must be in [1, 65536]"),
        ("--num_fresh_seeds=1", "--num_fresh_seeds=1: must be at least 2"),
        ("--discount_range=0.5,0.999999999", "must be two numbers LOW,HIGH, each in (0, 1), LOW at most HIGH"),
        ("--lambda_range=0.9,0.5", "--lambda_range=0.9,0.5: must be two numbers LOW,HIGH, each in [0, 1), LOW at most"),
        ("--learning_rate_range=much,more", "--learning_rate_range=much,more: must be"),
        ("--batch_size=2", "--batch_size=2: must be left out with --method=random"),
        ("--method=tpe --batch_size=4", "--batch_size=4: must be at least 0 and at most --num_settings (3)"),
        ("--method=tpe --exploit_every=600", "--exploit_every=600: must be left out with --method=tpe"),
        ("--method=pbt --num_settings=1 --num_seeds=1", "--num_settings=1: must be at least 2 with --num_seeds=1"),
        (
            "--method=pbt --exploit_every=2590",
            "--exploit_every=2590: must be at least 0, and reached by a logging point",
        ),
        ("--seed=2147483641", "must be at most 2^31 - --num_seeds × --num_settings - --num_fresh_seeds"),
    ],
)
def test_bad_input_is_one_line_and_status_2(argument, message, tmp_path, capsys):
    assert command_line.run(command, *SEARCH, f"--logdir={tmp_path / 'run'}", *argument.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "run").exists()


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert command_line.run(command, *SEARCH, "--method=tpe", f"--logdir={tmp_path / 'run'}") == 2
    told = "--method=tpe: needs Optuna, which is in the extra [search]: pip install '.[search]'\n"
    assert capsys.readouterr().err == told
    assert not (tmp_path / "run").exists()


def test_flags_are_those_that_mean_something_here_and_presets_are_valid():
    flags = command.define_flags()
    for field in dataclasses.fields(Config):
        assert (flag_name(field) in flags) == (field.name not in settings_lib.UNUSED)
    for preset in settings_lib.SEARCH_PRESETS.values():
        validation.validate(Config(**preset))
