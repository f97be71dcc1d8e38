"""Bars, in a terminal and elsewhere, and how long a series of runs says that it still takes."""

import dataclasses
import sys

import pytest

from experiments.config.settings import Config
from experiments.runs import progress
from experiments.runs.progress import Series

FIXED = Config(estimator="none", num_seeds=4, num_env_steps=100)
TUNED = dataclasses.replace(FIXED, estimator="mixing")


def test_the_time_left_follows_the_runs_most_alike_and_says_what_is_not_known():
    trial = dataclasses.replace(TUNED, num_seeds=2)
    longer = dataclasses.replace(TUNED, horizon=10)
    series = Series({"none": FIXED, "trial": trial, "mixing": TUNED, "mixing_10": longer, "baseline": FIXED})
    none, own, last = (series.turn(title).in_all for title in ("none", "trial", "mixing_10"))
    assert series.turn("baseline").title == "run 5/5, baseline"
    assert none(0.0, None) == "in all ?"
    # Nothing that tunes is measured: 30 s of this run, the baseline's 40, and at least 20, 40 and 40 of the others.
    assert none(10.0, 30.0) == "in all >02:50"
    series.finish("none", 40.0)
    assert own(0.0, None) == "in all >02:20"
    # 50 s of steps after 10 s of compilation were half of this run: 110 s for two seeds, so 220 s for four.
    assert own(60.0, 50.0) == "in all ~08:50"  # 50 + 220 + 220 + 40
    series.finish("trial", 110.0)
    series.finish("mixing", 300.0)
    assert last(0.0, None) == "in all ~05:00"  # another horizon, by the mean of 220 and 300, and 40


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_drawn_over_itself_in_a_terminal_alone(is_terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    with progress.bar("training", 100, "steps", postfix="compiling", mininterval=0.0) as bar:
        for _ in range(100):
            bar.update()
        bar.set_postfix_str("nearly done")
        bar.write("dropped: a seed", file=sys.stderr)
    written = capsys.readouterr().err
    assert ("\r" in written) == is_terminal
    if not is_terminal:  # what is said at its start and later, and its end
        lines = written.splitlines()
        assert ["nearly done" in line for line in lines] == [False, True, False, True]
        assert lines[2] == "dropped: a seed"
