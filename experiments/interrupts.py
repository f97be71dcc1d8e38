"""Ctrl-C and SIGTERM where work is to be finished first."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def held_back(tell: Callable[[], object]) -> Iterator[list[int]]:
    """Holds the first signal back until the end, for which the caller looks out; the second one stops at once.

    Signals are seen between two lines of Python: who waits for long should not wait inside one call. Those that the
    process was started to ignore stay ignored.

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

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heeded = [number for number in SIGNALS if before[number] != signal.SIG_IGN]
    for number in heeded:
        signal.signal(number, note)
    try:
        yield noted
    finally:
        for number in heeded:
            signal.signal(number, before[number])
    if noted:
        raise KeyboardInterrupt(*noted)
