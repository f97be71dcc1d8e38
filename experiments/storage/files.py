"""Files that are written whole or not at all, wherever the process is killed."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO

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


def holds(file: pathlib.Path, content: Any) -> bool:
    """Returns whether a file says the same in JSON, in whatever order: another version may have another one."""
    try:
        return json.loads(read_text(file)) == json.loads(json.dumps(content))
    except (ValueError, RecursionError):
        return False
