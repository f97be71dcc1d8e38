"""Bars, in a terminal and elsewhere."""

import sys

import pytest

from experiments import terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_bar_is_drawn_over_itself_in_a_terminal_alone(is_terminal, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    with terminal.progress_bar(total=100, mininterval=0.0) as bar:
        for _ in range(100):
            bar.update()
        bar.set_postfix_str("nearly done")
        bar.write("dropped: a seed", file=sys.stderr)
    written = capsys.readouterr().err
    assert ("\r" in written) == is_terminal
    if not is_terminal:  # its start, what is said, and its end
        lines = written.splitlines()
        assert ["nearly done" in line for line in lines] == [False, True, False, True]
        assert lines[2] == "dropped: a seed"
