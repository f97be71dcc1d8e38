"""Curves of finished runs: what they are called, where they end, and what is refused."""

import dataclasses
import shutil

import command_line
import numpy as np
import pytest
from pictures import write_run
from scipy.special import expit, logit

from experiments import curves
from experiments.config.settings import Config
from experiments.storage import config_file

ENDS = (0.5, 0.9)


@pytest.fixture
def run(tmp_path):
    """The folder of a run of two seeds, which may be called as one likes."""
    metrics = {"episode_return": np.array([[1.0, 3.0]] * 2), "hyper/discount": np.array([ENDS] * 2)}
    return write_run(tmp_path / "_a, b$x^$ [é]", Config(meta_params=("discount",)), metrics)


def test_curves_are_called_by_what_differs_and_end_where_the_metrics_do(run, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    config = dataclasses.replace(config_file.load(run / "config.json"), num_env_steps=640_000)
    (other / "config.json").unlink()
    config_file.save(dataclasses.replace(config, outer_critic=False, lambda_=0.5), other / "config.json")
    monkeypatch.setenv("HOME", str(tmp_path))
    columns = "--columns=hyper/discount,hyper/lambda,episode_return"
    assert not command_line.run(curves, f'--runs="~/{run.name}/","{other}"', columns, "--picture=~/curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    printed = " ".join(capsys.readouterr().out.split())
    assert "lambda 0.9, outer_critic True" in printed or "outer_critic True, lambda 0.9" in printed
    assert "estimator" not in printed
    assert "num_env_steps" not in printed  # which the axis shows
    assert f" {expit(logit(ENDS).mean()):.3g} [" in printed  # the mean of the log-odds
    assert all(f" {level} [{level}, {level}]" in printed for level in ("0.9", "0.5"))  # lambdas stayed as they were
    (other / "config.json").unlink()
    config_file.save(config, other / "config.json")
    assert not command_line.run(curves, f'--runs="{run}","{other}"')
    assert "num_env_steps 640000" in capsys.readouterr().out
    monkeypatch.chdir(run)
    assert not command_line.run(curves, "--runs=.")
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{run.name}  2 ")


def test_seeds_that_are_left_out_are_counted_and_code_of_ones_own_keeps_its_name(tmp_path, capsys):
    values = np.array([[1.0, 2.0, 3.0]] * 20)
    values[-5:, 1] = np.nan
    metrics = {"episode_return": values, "loss/value": np.ones((20, 3))}
    for estimator in ("mixing", "own.code:mixing", "own.code:mixing_10"):
        write_run(tmp_path / estimator.replace(":", "_"), Config(estimator=estimator), metrics)
    runs = ",".join(str(folder) for folder in sorted(tmp_path.iterdir()))
    assert not command_line.run(curves, f"--runs={runs}")
    _, *rows, _ = capsys.readouterr().out.splitlines()
    assert [row.split("  ")[0] for row in rows] == ["mixing(5)", "own.code:mixing", "mixing-10(5)"]
    assert all("3 (1 of 3 seeds without a last return)" in row for row in rows)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--runs=: must be given"),
        (["--runs=RUN,RUN"], "--runs: two of the runs have the same settings"),
        (["--runs=RUN", "--columns=luck"], "--columns=luck: must be among those of every run"),
        (["--runs=RUN", "--picture=nowhere/at/all.png"], "--picture=nowhere/at/all.png: must be a file"),
        (["--runs=nowhere"], "does not hold a run's settings"),
    ],
)
def test_curves_refuse_what_is_impossible(arguments, complaint, run, capsys):
    assert command_line.run(curves, *(argument.replace("RUN", f'"{run}"') for argument in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
