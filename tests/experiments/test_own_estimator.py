"""Estimators from outside in the same commands."""

import json

import command_line
import numpy as np
import pytest
from miniature import TABLES

from examples import own_estimator
from experiments import compare, curves, train, variance
from experiments.storage.metrics import read_metrics

STUDY = ["--environment=tables:process", "--num_samples=8", "--num_checkpoints=1", "--horizon=2"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Beside that of mixing, in a comparison."""
    folder = tmp_path_factory.mktemp("own") / "all"
    assert not command_line.run(compare, *TABLES, "--estimators=mixing,own_estimators:alike", f"--logdir={folder}")
    return folder / "alike"


def test_mixing_from_outside_is_compared_and_trains_as_mixing_does_to_the_bit(run, capsys):
    assert (run.parent / "compare.png").exists()
    assert (run / "metrics.csv").read_bytes() == (run.parent / "mixing" / "metrics.csv").read_bytes()
    assert command_line.run(train, *TABLES, "--estimator=mixing", f"--logdir={run}") == 2
    assert "--estimator=mixing: must be own_estimators:alike, as of the run in" in capsys.readouterr().err


def test_the_example_is_compared():
    sizes = {"num_envs": 4, "rollout_length": 5, "num_channels": 4, "policy_width": 8, "value_width": 8}
    comparison = own_estimator.main(environment="tables:process", num_seeds=2, horizon=2, num_env_steps=400, **sizes)
    assert list(comparison["estimators"]) == ["mixing", "median"]


def test_names_that_would_collide_and_estimators_that_are_not_there_are_refused_in_a_line(run, tmp_path, capsys):
    for command, given, told in (
        (compare, ["--estimators=mixing,own_estimators:none"], "--estimators=mixing,own_estimators:none: must be"),
        (compare, ["--estimators=mixing,own_estimators:absent"], "--estimator=own_estimators:absent: must be"),
        (variance, ["--estimators=own_estimators:mixing"], "--estimators=own_estimators:mixing: must be"),
        (variance, ["--estimators=own_estimators:absent", f"--checkpoint={run}"], "--estimators: must be"),
    ):
        small = TABLES if command is compare else ["--environment=tables:process"]
        assert command_line.run(command, *small, *given, f"--logdir={tmp_path / 'new'}") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(told)
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "own_estimators:of_another_shape",
            "the gradient that its estimate returns must be like the eta that it is given",
        ),
        (
            "own_estimators:without_metrics",
            "the metrics that its estimate returns must be those of the inner",
        ),
        ("own_estimators:nothing", "own_estimators:nothing returned None"),
        ("own_estimators:absent", "AttributeError"),
        ("mixin", "must be one of none, single_step, multi_step, mixing, bootstrapped, "),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(name, told, tmp_path, capsys):
    assert command_line.run(train, *TABLES, f"--estimator={name}", f"--logdir={tmp_path / 'run'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"--estimator={name}: ")
    assert told in line


def test_those_that_are_no_weighted_sums_are_trained_compared_and_studied(tmp_path, capsys, monkeypatch):
    """Their rollouts are paid for in environment steps. What is read from a folder alone runs no code."""
    rollouts = {"bootstrapped_1+1": 2, "evolution_strategies_1": 3, "wasteful": 2}
    large_steps = ("--evolution_scale=3", "--learning_rate=0.3")  # else both lifetimes of a pair act alike
    names = "--estimators=bootstrapped:1+1,evolution_strategies_1,own_estimators:wasteful"
    assert not command_line.run(compare, *TABLES, names, *large_steps, "--num_env_steps=480", f"--logdir={tmp_path}")
    assert "by bootstrapped(1+1)" in capsys.readouterr().out
    for name, number in rollouts.items():
        metrics = read_metrics(tmp_path / name)
        np.testing.assert_array_equal(metrics["env_steps"][:, 0], np.arange(20 * number, 481, 20 * number))
        assert np.any(metrics["meta_grad/discount"] != 0.0) == (name != "wasteful")
    monkeypatch.setattr("experiments.config.estimators.own", None)
    assert not command_line.run(curves, f"--runs={tmp_path / 'wasteful'}", f"--picture={tmp_path / 'curves.png'}")
    run = f"--checkpoint={tmp_path / 'wasteful'}"  # half as many updates as rollouts: the seed was not dropped
    drawn = ["--estimators=corrected_multi_step,bootstrapped", "--bootstrap_updates=1"]
    given = [*STUDY, run, *drawn, f"--logdir={tmp_path / 'study'}"]
    assert not command_line.run(variance, *given)
    described = json.loads((tmp_path / "study" / "variance.json").read_text())["estimators"]
    names = ("multi_step", "corrected_multi_step", "bootstrapped_2+1")
    assert len({described[name]["discount"]["mean"]["estimate"] for name in names}) == 3
