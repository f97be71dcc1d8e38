"""What a folder holds: runs of one game, a study, a search, or folders of them."""

import itertools
import os
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from experiments.config.comparison import GRID
from experiments.config.estimators import BUILT_IN
from experiments.config.ranges import UsageError, refuse
from experiments.config.settings import OF_SNAKE, Config
from experiments.storage import config_file
from experiments.storage.config_file import CONFIG
from experiments.storage.folder import local_path
from experiments.studies.search import searching
from experiments.studies.variance import study

DEEPEST = 3
"""Levels of folders below the one that is named in which runs are looked for."""


class Runs(NamedTuple):
    """Runs of one game: a single one, those of a comparison, or others beside each other.

    Attributes:
      folder: that holds them, or is the single one.
      configs: settings by the folder of their run.
      unreadable: a sentence for each run whose settings cannot be read.
    """

    folder: pathlib.Path
    configs: dict[pathlib.Path, Config]
    unreadable: tuple[str, ...] = ()


class Study(NamedTuple):
    """A variance study, which may not have ended."""

    folder: pathlib.Path


class Search(NamedTuple):
    """A search for fixed hyperparameters, which may not have ended."""

    folder: pathlib.Path


Part = Runs | Study | Search


def find(logdir: str | os.PathLike[str]) -> list[Part]:
    """Finds what is reported of.

    Raises:
      UsageError: if there is nothing, or the folder cannot be read.
    """
    folder = local_path("logdir", logdir)
    try:
        parts = list(_walk(folder, DEEPEST))
    except OSError:
        refuse("logdir", logdir, "a folder that can be read")
    if not parts:
        refuse("logdir", logdir, "a folder of a run, comparison, study or search, or of such folders")
    return parts


def _walk(folder: pathlib.Path, levels: int) -> Iterator[Part]:
    if (folder / CONFIG).exists():
        yield from _runs(folder, [folder])
    elif (folder / study.STUDY).exists() or (folder / study.RESULTS).exists():
        yield Study(folder)
    elif (folder / searching.ASKED).exists() or (folder / searching.RESULTS).exists():
        yield Search(folder)
    else:
        inner = sorted(path for path in folder.iterdir() if path.is_dir() and path.name != GRID)
        runs = [path for path in inner if (path / CONFIG).exists()]
        runs.sort(key=lambda path: [path.name.startswith(name) for name in BUILT_IN], reverse=True)
        yield from _runs(folder, runs)
        if levels:
            yield from itertools.chain(*(_walk(path, levels - 1) for path in inner if path not in runs))


def _runs(folder: pathlib.Path, runs: list[pathlib.Path]) -> Iterator[Runs]:
    """Groups runs by their games, whose returns are not of one kind."""
    games: dict[tuple, dict[pathlib.Path, Config]] = {}
    unreadable = []
    for run in runs:
        try:
            config = config_file.load(run / CONFIG)
        except UsageError as error:
            unreadable.append(f"{error.of_flags()}.")
            continue
        game = tuple(getattr(config, name) for name in ("environment", *OF_SNAKE))
        games.setdefault(game, {})[run] = config
    if unreadable and not games:
        yield Runs(folder, {}, tuple(unreadable))
    for index, configs in enumerate(games.values()):
        yield Runs(folder, configs, () if index else tuple(unreadable))
