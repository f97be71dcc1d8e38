"""Signals that are held back until work is finished."""

import signal
from types import SimpleNamespace

import pytest

from experiments.runs import interrupts, seeds


def test_a_second_signal_stops_at_once_even_while_the_device_is_at_work():
    asked, told, before = [], [], signal.getsignal(signal.SIGINT)

    def is_ready():
        asked.append(None)
        signal.raise_signal(signal.SIGINT if len(asked) == 1 else signal.SIGTERM)
        return False

    summary = SimpleNamespace(num_updates=SimpleNamespace(is_ready=is_ready))
    with pytest.raises(KeyboardInterrupt) as stop, interrupts.held_back(lambda: told.append("told")):
        seeds.wait(summary)
    assert stop.value.args == (signal.SIGTERM,)
    assert told == ["told"]
    assert len(asked) < 10  # Python sees a signal soon, if not before the next call returns
    assert signal.getsignal(signal.SIGINT) == before


def test_a_signal_is_not_lost_and_one_that_is_ignored_stays_ignored():
    with pytest.raises(KeyboardInterrupt), interrupts.held_back(lambda: None):
        signal.raise_signal(signal.SIGTERM)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with interrupts.held_back(lambda: None) as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals == []
    finally:
        signal.signal(signal.SIGINT, before)
