"""Checks the folders that flags name."""

import os
import pathlib
from collections.abc import Sequence

from experiments.config.ranges import refuse


def local_path(flag: str, path: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path that a flag, or an argument of that name, means; `~` at its beginning is the home folder.

    Raises:
      UsageError: if it is a bucket's address, or no path that can be looked up; libraries read paths as UTF-8.
    """
    text = os.fspath(path)
    if "://" in text:
        refuse(flag, text, "on this machine, where a bucket can be mounted as a folder")
    try:
        place = pathlib.Path(text).expanduser()
        place.exists()
        str(place.absolute()).encode()
    except (OSError, RuntimeError, ValueError) as error:
        refuse(flag, text, f"a path in UTF-8 that can be looked up ({error})")
    return place


def folder_name(folder: pathlib.Path) -> str:
    """Returns what a folder is called, whichever path leads to it, in one line."""
    return " ".join(pathlib.Path(os.path.abspath(folder)).name.split())


def new_logdir(path: str | None, own: Sequence[str] = ()) -> pathlib.Path:
    """Makes the folder for results, which may not hold anything yet, or opens one to go on with.

    Args:
      path: of the folder.
      own: names of what the command leaves behind; a folder that holds one of them is not refused.

    Raises:
      UsageError: if none is given, if it holds something else, or is not a folder that can be written to.
    """
    allowed = "a new or empty folder" + (", or one that this command made" if own else "")
    if not path:
        refuse("logdir", "", f"given: {allowed}")
    logdir = local_path("logdir", path)
    try:
        logdir.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in logdir.iterdir()}
        writable = os.access(logdir, os.W_OK)
    except OSError:
        names, writable = set(), False
    if names and names.isdisjoint(own):
        refuse("logdir", path, f"{allowed}, and this one holds something else")
    if not writable:
        refuse("logdir", path, "a folder that can be written to")
    return logdir
