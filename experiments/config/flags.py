"""What all commands share: flags made from the settings, the folder for results, and one line for what is wrong.

Each field of `Config`, and of `Execution` where runs are left behind, is one flag. A command's settings are its preset
with the flags that the command line gives on top.
"""

import dataclasses
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from absl import app, flags, logging

from experiments.config.environments import SNAKE
from experiments.config.settings import (
    OF_SNAKE,
    PRESETS,
    Config,
    Execution,
    Group,
    UsageError,
    flag_name,
    refuse,
    validate,
    validate_execution,
)
from experiments.runs import compilation, devices, terminal


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
        "the paper's for an accelerator",
        flag_values=values,
        module_name=Group.BUDGET,
    )
    define_logdir(values)
    _define_settings(values, Config, presets["quick"], omit)
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


def _define_settings(
    values: flags.FlagValues, settings: type, defaults: Mapping[str, Any], omit: Sequence[str]
) -> None:
    """Defines a flag for every field of a class of settings."""
    define: dict[Any, Callable] = {
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        bool: flags.DEFINE_bool,
        tuple[str, ...]: lambda name, default, text, **where: flags.DEFINE_list(name, ",".join(default), text, **where),
        str: flags.DEFINE_string,
    }
    for field in dataclasses.fields(settings):
        if field.name not in omit:
            text = f"{field.metadata['help']}; {field.metadata['range'].text}"
            default = defaults.get(field.name, field.default)
            define[field.type](flag_name(field), default, text, flag_values=values, module_name=field.metadata["group"])


def config_from_flags(values: flags.FlagValues, presets: Mapping[str, dict[str, Any]] = PRESETS) -> Config:
    """Returns the settings that the parsed command line asks for: preset, then flags.

    Args:
      values: as `define_flags` made them, parsed.
      presets: as they were given to it.

    Raises:
      UsageError: if a value or a combination is impossible.
    """
    config = settings_from_flags(values, presets)
    validate(config)
    return config


def settings_from_flags(values: flags.FlagValues, presets: Mapping[str, dict[str, Any]]) -> Config:
    """Returns the same, not validated yet.

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
    """Returns how the parsed command line asks for a run to be carried out.

    Raises:
      UsageError: if a value is impossible.
    """
    given: dict[str, Any] = {field.name: values[flag_name(field)].value for field in dataclasses.fields(Execution)}
    execution = Execution(**given)
    validate_execution(execution)
    return execution


def given_settings(values: flags.FlagValues) -> dict[str, Any]:
    """Returns the settings that stand on the command line, by the names of `Config`'s fields."""
    settings = {}
    for field in dataclasses.fields(Config):
        name = flag_name(field)
        if name in values and values[name].present:
            value = values[name].value
            settings[field.name] = tuple(value or ()) if isinstance(field.default, tuple) else value
    return settings


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


def help_of(values: flags.FlagValues) -> str:
    """Lists a command's flags by what one wants to set: what is the command's own first, then in the order of `Group`.

    absl groups flags by the module that defines them; here a group's heading is in the module's place.
    """
    groups, lines = values.flags_by_module_dict(), []
    shared = [str(group) for group in Group]
    for group in sorted(groups, key=lambda group: shared.index(group) if group in shared else -1):
        lines += ["", f"{group}:"]
        for flag in groups[group]:
            default = (flag.default_as_str or "").strip("'")
            text = f"--{'[no]' if flag.boolean else ''}{flag.name}: {flag.help}{default and f' (default {default})'}"
            lines.append(flags.text_wrap(text, indent=" " * 6, firstline_indent="  "))
    return "\n".join(lines)


def run(
    main: Callable[[flags.FlagValues], None],
    values: flags.FlagValues,
    stopped: str = "what was written before is on disk",
) -> None:
    """Runs a command: parses the flags, and turns a `UsageError` into one line and exit status 2.

    Ctrl-C ends it in one line as well, with status 130: any `KeyboardInterrupt` does, with 128 plus the number of the
    signal where it is given one. `--help` shows the docstring of `main`'s file and the flags.

    Args:
      main: what to run, given the flags.
      values: the command's flags, not parsed yet.
      stopped: what to say after Ctrl-C.
    """
    where: dict[str, Any] = {"flag_values": values, "module_name": Group.EXECUTION}
    flags.DEFINE_string(
        "compilation_cache",
        None,
        f"folder that keeps compiled programs from one run to the next, or {compilation.OFF}; by default what "
        "JAX_COMPILATION_CACHE_DIR says, else the user's cache folder",
        **where,
    )
    flags.DEFINE_bool("help", False, "show this help", **where)

    def parse(arguments: Sequence[str]) -> list[str]:
        try:
            remaining = values(arguments)
            flags.FLAGS.mark_as_parsed()  # absl insists, though the command's flags are others
        except flags.Error as error:
            _exit_with(str(error))
        if len(remaining) > 1:
            _exit_with(f"{remaining[1]}: is not a flag; flags are given as --name=value")
        return remaining

    def guarded(_: Sequence[str]) -> None:
        if values.help:
            print(f"{sys.modules[main.__module__].__doc__}\n{help_of(values)}")
            return
        logging.set_verbosity(logging.FATAL)  # orbax tells the story of every file, and of errors besides raising them
        compilation.keep_programs(values.compilation_cache)
        devices.use_all_cores()
        try:
            main(values)
        except UsageError as error:
            _exit_with(error.of_flags())
        except KeyboardInterrupt as interrupt:
            print(f"\nstopped; {stopped}", file=sys.stderr, flush=True)
            # At once: threads that still compile would crash in an interpreter that takes itself apart.
            os._exit(128 + (interrupt.args[0] if interrupt.args else signal.SIGINT))

    with terminal.printing():
        app.run(guarded, flags_parser=parse)


def _exit_with(line: str) -> NoReturn:
    print(" ".join(line.split()), file=sys.stderr)
    sys.exit(2)
