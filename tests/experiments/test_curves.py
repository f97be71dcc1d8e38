"""Curves of finished runs: what they are called, where they end, and what is refused."""

import dataclasses
import shutil

import command_line
import pytest
from scipy.special import expit, logit

from experiments import curves
from experiments.config.settings import EXECUTION, Config
from experiments.storage import config_file
from experiments.storage.run_folder import RunFolder

ENDS = (0.5, 0.9)


@pytest.fixture
def run(tmp_path):
    """The folder of a run of two seeds, which may be called as one likes."""
    folder = tmp_path / "_a, b$x^$ [é]"
    with RunFolder(folder, Config(num_seeds=2, num_env_steps=6_400, meta_params=("discount",)), EXECUTION) as writer:
        for point in (1, 2):
            writer.write_metrics(3_200 * point, {"episode_return": [1.0, 3.0], "hyper/discount": ENDS})
    return folder


def test_curves_are_called_by_what_differs_and_end_where_the_metrics_do(run, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    config = config_file.load(run / "config.json")
    (other / "config.json").unlink()
    config_file.save(dataclasses.replace(config, outer_critic=False, lambda_=0.5), other / "config.json")
    monkeypatch.setenv("HOME", str(tmp_path))
    columns = "--columns=hyper/discount,hyper/lambda,episode_return"
    assert not command_line.run(curves, f'--runs="~/{run.name}/","{other}"', columns, "--picture=~/curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    printed = " ".join(capsys.readouterr().out.split())
    assert "lambda 0.9, outer_critic True" in printed or "outer_critic True, lambda 0.9" in printed
    assert "estimator" not in printed
    assert f" {expit(logit(ENDS).mean()):.3g} [" in printed  # the mean of the log-odds
    assert all(f" {level} [{level}, {level}]" in printed for level in ("0.9", "0.5"))  # lambdas stayed as they were
    monkeypatch.chdir(run)
    assert not command_line.run(curves, "--runs=.")
    assert capsys.readouterr().out.splitlines()[1].startswith(f"{run.name}  2     2 [")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--runs=: must be given"),
        (["--runs=RUN,RUN"], "--runs: two of the runs have the same settings"),
        (["--runs=RUN", "--columns=luck"], "--columns=luck: must be among those of every run"),
        (["--runs=RUN", "--picture=nowhere/at/all.png"], "--picture=nowhere/at/all.png: must be a file"),
        (["--runs=nowhere"], "is not the settings of a run"),
    ],
)
def test_curves_refuse_what_is_impossible(arguments, complaint, run, capsys):
    assert command_line.run(curves, *(argument.replace("RUN", f'"{run}"') for argument in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
