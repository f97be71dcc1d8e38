"""What a command prints, whatever is behind standard output and error: a terminal, a pipe, a file, or nothing."""

import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Lets a command print anything; letters that standard output does not have become question marks.

    Raises:
      SystemExit: if nobody reads standard output any more, as behind `| head`, with the status of the signal that means
        so; with a line if it has no room.
    """
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        try:
            print(flush=True)  # fails as well if it was this that failed
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it once more
            closed = isinstance(error, BrokenPipeError)
            sys.exit(128 + signal.SIGPIPE if closed else f"the output cannot be written ({error.strerror})")
        raise
