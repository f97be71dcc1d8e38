"""Curves of finished runs, their labels and averages."""

import dataclasses
import json
import shutil

import command_line
import numpy as np
import pytest
from matplotlib.figure import Figure
from miniature import TABLES
from scipy.special import expit, logit

from experiments import curves, train
from experiments.storage import config_file
from experiments.storage import metrics as metrics_csv


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "mixing"
    assert not command_line.run(train, *TABLES, "--estimator=mixing", f"--logdir={folder}")
    return folder


def test_curves_are_called_by_what_differs_and_end_where_the_metrics_do(run, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.csv").write_bytes((run / "metrics.csv").read_bytes())
    config = config_file.load(run / "config.json")
    config_file.save(dataclasses.replace(config, outer_critic=False, lambda_=0.5), other / "config.json")
    arguments = [f"--runs={run},{other}", "--columns=hyper/discount,episode_return"]
    assert not command_line.run(curves, *arguments, f"--picture={tmp_path / 'curves.png'}")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "outer_critic False" in printed
    assert "lambda 0.5" in printed
    assert "estimator" not in printed
    columns = metrics_csv.read_metrics(run)
    ends = columns["hyper/discount"][-1]
    assert curves.final(columns, "hyper/discount").estimate == pytest.approx(expit(logit(ends).mean()), rel=1e-6)
    drawn = curves.with_fixed(columns, config)  # what was tuned as it was, what was not as it stayed
    np.testing.assert_array_equal(drawn["hyper/discount"], columns["hyper/discount"])
    np.testing.assert_array_equal(drawn["hyper/value_cost"], np.full((10, 2), config.value_cost))


def test_a_folder_may_have_any_name(run, tmp_path, monkeypatch, capsys):
    name = "_a, b$x^$ [日本]\n"
    shutil.copytree(run, tmp_path / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *rest, **options: figures.append(save(figure, *rest, **options) or figure)
    )
    monkeypatch.chdir(tmp_path / name)
    for given in (f'"~/{name}/"', "."):
        assert not command_line.run(curves, f"--runs={given}", "--picture=~/curves.png")
        assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
        (drawn,) = figures.pop().legends[0].get_texts()
        assert drawn.get_text() == r" _a, b\$x^\$ [??]"
        assert capsys.readouterr().out.splitlines()[1].startswith("_a, b$x^$ [日本]  2 ")


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
    assert command_line.run(curves, *(argument.replace("RUN", str(run)) for argument in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_folders_of_an_older_format_are_refused_in_one_line(run, tmp_path, capsys):
    old = json.loads((run / "config.json").read_text())
    del old["flags"]["outer_critic"]
    (tmp_path / "config.json").write_text(json.dumps(old | {"format": 1}))
    (tmp_path / "metrics.csv").write_bytes((run / "metrics.csv").read_bytes())
    assert command_line.run(curves, f"--runs={tmp_path}") == 2
    assert "has format 1, and this version reads format 5" in capsys.readouterr().err
