"""Makes flags of settings, and settings of flags. A new setting is a field in `settings`; nothing changes here.

Each field of `Config`, and of `Execution` where runs are left behind, is one flag. A command's settings are its preset
with the flags that the command line gives on top.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from experiments.config.environments import SNAKE
from experiments.config.presets import PRESETS
from experiments.config.ranges import refuse
from experiments.config.settings import GROUPS, OF_SNAKE, Config, Execution, Group, flag_name


def define_flags(
    presets: Mapping[str, dict[str, Any]] = PRESETS,
    omit: Sequence[str] = (),
) -> flags.FlagValues:
    """Defines `--preset`, `--logdir` and a flag for every setting.

    Args:
      presets: by name, what each changes in the defaults; `quick` is what a command starts from by itself.
      omit: fields of `Config` that mean nothing to the command.

    Returns:
      The flags, to which a command may add its own.
    """
    values = flags.FlagValues()
    flags.DEFINE_enum(
        "preset",
        "quick",
        sorted(presets, reverse=True),
        "settings to start from, which flags on the command line beat: a small board for minutes on two CPU cores, or "
        "the paper's for an accelerator"
        + ("; or agents and game of arXiv 2211.10550" if "published" in presets else ""),
        flag_values=values,
        module_name=Group.BUDGET,
    )
    define_logdir(values)
    for group in GROUPS:
        _define_settings(values, group, presets["quick"], omit)
    return values


def define_logdir(values: flags.FlagValues) -> None:
    """Defines the flag of the folder that every command with results needs."""
    text = "folder that the results go to, new or empty"
    flags.DEFINE_string("logdir", None, text, flag_values=values, module_name=Group.OUTPUT)


def define_training_flags(omit: Sequence[str] = ()) -> flags.FlagValues:
    """Defines the flags of a command that leaves runs behind, and goes on with those that were stopped.

    Args:
      omit: fields of `Config` that mean nothing to the command.

    Returns:
      The flags of `define_flags` and of `Execution`.
    """
    values = define_flags(omit=omit)
    values["logdir"].help = (
        "folder that the results go to: new, empty, or that of the same command with the same settings, to go on from "
        "the last checkpoint"
    )
    values["num_env_steps"].help += "; a larger number makes the run in --logdir longer"
    _define_settings(values, Execution, {}, ())
    return values


def _define_settings(values: flags.FlagValues, settings: Any, defaults: Mapping[str, Any], omit: Sequence[str]) -> None:
    """Defines a flag for every field of a class of settings."""
    define: dict[Any, Any] = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
        tuple[str, ...]: flags.DEFINE_list,
        str: flags.DEFINE_string,
    }
    for field in dataclasses.fields(settings):
        if field.name not in omit:
            text = f"{field.metadata['help']}; {field.metadata['range'].text}"
            default = defaults.get(field.name, field.default)
            default = list(default) if isinstance(default, tuple) else default
            where = {"flag_values": values, "module_name": settings.heading}
            define[field.type](flag_name(field), default, text, **where)


def settings_from_flags(values: flags.FlagValues, presets: Mapping[str, dict[str, Any]] = PRESETS) -> Config:
    """Returns the settings that the parsed command line asks for: preset, then flags; not validated yet.

    Args:
      values: as `define_flags` made them, parsed.
      presets: as they were given to it.

    Raises:
      UsageError: if a flag is Snake's own, and the environment is another.
    """
    given, preset = given_settings(values), presets[values.preset]
    environment = given.get("environment", SNAKE)
    if environment != SNAKE:
        for name in OF_SNAKE:
            if name in given:
                refuse(name, given[name], f"left out with `environment`={environment}")
        preset = {name: value for name, value in preset.items() if name not in OF_SNAKE}
    return Config(**preset | given)


def execution_from_flags(values: flags.FlagValues) -> Execution:
    """Returns how the parsed command line asks for a run to be carried out; not validated yet."""
    given: dict[str, Any] = {field.name: values[flag_name(field)].value for field in dataclasses.fields(Execution)}
    return Execution(**given)


def given_settings(values: flags.FlagValues) -> dict[str, Any]:
    """Returns the settings that stand on the command line, by the names of `Config`'s fields."""
    given = {field.name: values[flag_name(field)] for field in dataclasses.fields(Config) if flag_name(field) in values}
    return {
        name: tuple(flag.value or ()) if isinstance(flag.value, list) else flag.value
        for name, flag in given.items()
        if flag.present
    }
