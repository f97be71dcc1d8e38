"""Ctrl-C and SIGTERM where work is to be finished first, and Ctrl-C where it would be lost."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def held_back(tell: Callable[[], object]) -> Iterator[list[int]]:
    """Holds the first signal back until the end, for which the caller looks out; the second one stops at once.

    Signals are seen between two lines of Python: who waits for long should not wait inside one call.

    Args:
      tell: called at the first signal.

    Yields:
      The number of the signal that was noted, once there is one.

    Raises:
      KeyboardInterrupt: with the number of the signal, at the end or at the second one.
    """
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt(number)
        noted.append(number)
        tell()

    with handled(note):
        yield noted
    if noted:
        raise KeyboardInterrupt(*noted)


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Stops at the first Ctrl-C with a `KeyboardInterrupt`, and at the end at the latest.

    Python drops what is raised while it finalises an object or collects garbage, and JAX has it do both while it traces
    and compiles: a Ctrl-C there would be lost. SIGTERM ends the process in the middle of what it compiles.
    """
    noted: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        noted.append(number)
        raise KeyboardInterrupt(number)

    try:
        with handled(stop, (signal.SIGINT,)):
            yield
    finally:
        if noted:
            raise KeyboardInterrupt(noted[0])


@contextlib.contextmanager
def handled(handler: Callable[[int, FrameType | None], object], signals: Sequence[int] = SIGNALS) -> Iterator[None]:
    """Handles signals in another way for a while, but for those that the process was started to ignore.

    In another thread than the main one, which alone has signals, nothing is changed.
    """
    here = signals if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.getsignal(number) for number in here}
    heeded = {number: old for number, old in before.items() if old != signal.SIG_IGN}
    for number in heeded:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in heeded.items():
            signal.signal(number, old)
