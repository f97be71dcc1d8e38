"""Files that are written whole or not at all, wherever the process is killed."""

import contextlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from experiments.config.ranges import StoppedError

PARTIAL = ".partial"
"""What is added to a file's name while it is being written."""


@contextlib.contextmanager
def written_whole(file: pathlib.Path) -> Iterator[BinaryIO]:
    """Opens a file to write, which takes the place of the one before once all is in it.

    Raises:
      OSError: if it cannot be written; the one before is intact.
    """
    partial = file.with_name(f"{file.name}{PARTIAL}")
    with partial.open("wb") as stream:
        yield stream
    os.replace(partial, file)


def read_text(file: pathlib.Path) -> str:
    """Reads a file of text, with line ends and without a mark of its byte order as if it had not been on Windows.

    Raises:
      OSError: if it cannot be read. What is no text becomes letters that nothing expects.
    """
    return file.read_text(encoding="utf-8-sig", errors="replace")


def write_whole(file: pathlib.Path, text: str) -> None:
    """Writes a file of text.

    Raises:
      OSError: as of `written_whole`.
    """
    with written_whole(file) as stream:
        stream.write(text.encode())


def holds(file: pathlib.Path, content: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Returns whether a file of JSON says the same, in whatever order: another version may have another one.

    Args:
      file: the file.
      content: what it is to say.
      before: what is true of settings that it may lack, since an older version did not have them.
    """

    def complete(theirs: Any, before: Mapping[str, Any]) -> Any:
        return dict(before) | {
            name: complete(value, before[name]) if isinstance(before.get(name), Mapping) else value
            for name, value in theirs.items()
        }

    try:
        theirs = complete(json.loads(read_text(file)), before)
        return json.loads(json.dumps(theirs)) == json.loads(json.dumps(content))
    except (ValueError, RecursionError, AttributeError):
        return False


class WriteError(StoppedError):
    """The folder of a run cannot be written to any more, such as on a full disk."""


@contextlib.contextmanager
def told(folder: pathlib.Path) -> Iterator[None]:
    """Tells in one line that a folder cannot be written to."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            reason = error.strerror or str(error)  # NumPy says how much was written, and not why no more
        else:
            # Tensorstore, which orbax writes arrays with, has the system's errors in the text of its own.
            codes = re.findall(r"os_error_code='(\d+)'", str(error))
            if not codes:
                raise
            reason = os.strerror(int(codes[-1]))
        raise WriteError(
            f"stopped: {folder} cannot be written to ({reason}); what was complete is intact, and the same command "
            "goes on from there"
        ) from error
