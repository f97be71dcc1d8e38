"""Bars, in a terminal and elsewhere, and how long they say that it still takes."""

import sys

import numpy as np
import pytest

from experiments.runs import progress
from experiments.runs.progress import RunBar, Turn


def test_the_bar_of_a_run_tells_the_time_left_of_all_runs(monkeypatch):
    """Half of its 100 steps took 30 s: 30 s are left of it, and 60 s for each of two runs after it."""
    told, clock = [], iter([0.0, 30.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with RunBar(100, 0, Turn("run 1/3, none", 2.0, ">"), quiet=True) as bar:
        monkeypatch.setattr(bar._bar, "set_postfix_str", lambda text, refresh: told.append(text))
        bar.compiled()
        bar.advance(50, np.array([1.0, np.nan]), 1)
    assert told == ["in all >02:30, return 1.00, 1 seeds dropped"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_drawn_over_itself_in_a_terminal_alone(is_terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    with progress.bar("training", 100, "steps", postfix="compiling", mininterval=0.0) as bar:
        bar.update()
    assert ("\r" in capsys.readouterr().err) == is_terminal
