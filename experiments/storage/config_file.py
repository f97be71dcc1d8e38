"""`config.json`: the settings of a run, under their flags' names."""

import dataclasses
import json
import pathlib
from typing import Any

from experiments.config.ranges import UsageError, refuse
from experiments.config.settings import Config, by_flag, fields_of, flag_name
from experiments.config.validation import check_numbers
from experiments.storage.files import read_text, write_whole

CONFIG = "config.json"

TRIALS = "shared.json"
"""Stands for it where seeds start from other hyperparameters than the settings say."""

FORMAT = 5
"""Version of the run folder's layout, written to `config.json`."""


def save(config: Config, path: pathlib.Path) -> None:
    """Writes the settings as JSON, under the flags' names: all or nothing, wherever the process is killed."""
    write_whole(path, json.dumps({"format": FORMAT, "flags": by_flag(config)}, indent=2) + "\n")


def load(path: pathlib.Path) -> Config:
    """Reads settings that `save` wrote. Nothing that the file names is run.

    Raises:
      UsageError: if the file is missing, of another format, or holds settings that no run can have.
    """
    try:
        content = json.loads(read_text(path))
        if content["format"] != FORMAT:
            raise ValueError(f"it has format {content['format']}, and this version reads format {FORMAT}")
        fields = fields_of(content["flags"]["environment"])
        saved = {flag_name(field): field.default for field in fields} | content["flags"]
        values: dict[str, Any] = {field.name: saved[flag_name(field)] for field in fields}
        whole = [field.name for field in fields if field.type is float and type(values[field.name]) is int]
        values |= {name: float(values[name]) for name in whole}
        values |= {field.name: tuple(values[field.name]) for field in fields if field.type == tuple[str, ...]}
        config = Config(**values)
        check_numbers(config)
    except (UsageError, OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        why = error.args[0] if isinstance(error, UsageError) else error
        raise UsageError(f"{path}: does not hold a run's settings ({why})") from error
    return config


def check_settings(folder: pathlib.Path, config: Config, name: str = CONFIG) -> None:
    """Checks that a folder, if it holds a run, holds one that these settings go on with.

    Raises:
      UsageError: names the flag that differs, its value and the folder's.
    """
    if not (folder / name).exists():
        return
    theirs = load(folder / name)
    for field in dataclasses.fields(Config):
        value, other = getattr(config, field.name), getattr(theirs, field.name)
        if field.name == "num_env_steps":
            if value < other:
                refuse("num_env_steps", value, f"at least {other}, as of the run in {folder}")
        elif value != other:
            shown = ",".join(other) if isinstance(other, tuple) else other
            refuse(flag_name(field), value, f"{shown}, as of the run in {folder}, to go on with it")
