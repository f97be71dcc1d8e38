"""The settings of a run: their meaning, allowed range and presets, and the command-line flags made from them.

Each field of `Config` is one flag, stated once. A run's settings are its preset with the flags that the command line
gives on top; `validate` refuses what is impossible before anything is compiled. The fields of `Execution` are the
flags of how a run is carried out, which change nothing in its results.
"""

import dataclasses
import json
import math
import os
import pathlib
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from absl import app, flags, logging

from envs.environment import Environment
from envs.snake import LARGEST_BOARD, SMALLEST_BOARD
from experiments import compilation, devices, environments
from experiments.environments import SNAKE
from metagrad.meta_parameters import INTERVALS

FORMAT = 5
"""Version of the run folder's layout, written to `config.json`."""

LOGGING_POINTS = 64
"""Rows of a run in `metrics.csv`, for each seed: so many at most."""

ESTIMATORS = ("none", "single_step", "multi_step", "mixing")


class UsageError(Exception):
    """A setting that is impossible; its text is the one line that the user sees."""


@dataclasses.dataclass(frozen=True)
class Range:
    """A check with the words that describe what passes it."""

    text: str
    accepts: Callable[[Any], bool]


def _at_least(low: float) -> Range:
    return Range(f"at least {low:g}", lambda value: low <= value < math.inf)


def _count(low: int) -> Range:
    return Range(f"at least {low} and below 2^31", lambda value: low <= value < 2**31)


def _one_of(names: Sequence[str]) -> Range:
    return Range(f"one of {', '.join(names)}", lambda value: value in names)


POSITIVE = Range("positive", lambda value: 0.0 < value < math.inf)
UNIT_OPEN = Range("in (0, 1)", lambda value: 0.0 < value < 1.0)
UNIT_HALF_OPEN = Range("in (0, 1]", lambda value: 0.0 < value <= 1.0)
UNIT_CLOSED = Range("in [0, 1]", lambda value: 0.0 <= value <= 1.0)
ANYTHING = Range("any", lambda value: True)
BOARD = Range(
    f"a number N or ROWSxCOLS, each in [{SMALLEST_BOARD}, {LARGEST_BOARD}]",
    lambda value: all(SMALLEST_BOARD <= side <= LARGEST_BOARD for side in board_shape(value)),
)
HORIZON = Range("at least 1 and at most 65536", lambda value: 1 <= value <= 65_536)
NAMES = Range(
    f"a comma list, without repetition, of {', '.join(INTERVALS)}",
    lambda value: bool(value) and set(value) <= set(INTERVALS) and len(set(value)) == len(value),
)


def _setting(default: Any, allowed: Range, help_text: str, name: str | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"range": allowed, "help": help_text, "name": name})


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of one training run; the defaults are the `quick` preset. The flags' help says what each means."""

    seed: int = _setting(0, _count(0), "first seed; the others follow it")
    num_seeds: int = _setting(4, _count(1), "agents trained at once, each with a seed of its own")
    estimator: str = _setting("mixing", _one_of(ESTIMATORS), "meta-gradient estimator; none tunes nothing")
    horizon: int = _setting(5, HORIZON, "inner updates between two meta-updates (multi_step and mixing)")
    mixing_weights: str = _setting("uniform", _one_of(("uniform", "geometric")), "weights of mixing's horizons")
    mixing_decay: float = _setting(0.8, UNIT_HALF_OPEN, "ratio of consecutive geometric weights")
    meta_params: tuple[str, ...] = _setting(
        ("discount", "lambda", "entropy_cost"), NAMES, f"what is tuned: a comma list of {', '.join(INTERVALS)}"
    )
    environment: str = _setting(SNAKE, ANYTHING, environments.NAMES)
    board_size: str = _setting("6", BOARD, "Snake: cells of the board's sides: N for N×N, or ROWSxCOLS")
    time_limit: int = _setting(4_000, _count(1), "Snake: steps after which an episode is truncated")
    num_envs: int = _setting(32, _count(1), "environments of one seed")
    rollout_length: int = _setting(20, _count(1), "steps of one rollout")
    num_env_steps: int = _setting(320_000, _at_least(1), "environment steps of one seed")
    optimizer: str = _setting(
        "adam",
        _one_of(("adam", "rmsprop")),
        "inner optimizer; 1e-10 under Adam's square root keeps its derivative finite, and shortens its steps where "
        "gradients are below about 1e-5",
    )
    learning_rate: float = _setting(1e-3, POSITIVE, "inner learning rate")
    meta_learning_rate: float = _setting(1e-2, POSITIVE, "learning rate of the meta-optimizer, Adam")
    meta_learning_rate_halving: int = _setting(
        0,
        _count(0),
        "inner updates N after which it is half of that: meta_learning_rate / (1 + updates / N); 0 keeps it constant",
    )
    meta_gradient_clip: float = _setting(
        1.0, POSITIVE, "global norm that longer meta-gradients are scaled down to; on 6×6 Snake all are far shorter"
    )
    discount: float = _setting(0.97, UNIT_OPEN, "discount (starting value where tuned)")
    lambda_: float = _setting(0.9, UNIT_CLOSED, "lambda of the returns (starting value where tuned)", name="lambda")
    policy_cost: float = _setting(1.0, _at_least(0), "cost of the policy-gradient term (starting value where tuned)")
    value_cost: float = _setting(0.5, _at_least(0), "cost of the value term (starting value where tuned)")
    entropy_cost: float = _setting(0.01, _at_least(0), "cost of the entropy term (starting value where tuned)")
    outer_discount: float = _setting(0.99, UNIT_OPEN, "discount of the outer loss")
    outer_lambda: float = _setting(0.95, UNIT_CLOSED, "lambda of the outer loss")
    outer_critic: bool = _setting(
        True, ANYTHING, "whether the outer loss takes its advantages from a critic of its own (never with none)"
    )
    exact_targets: bool = _setting(
        True,
        ANYTHING,
        "whether the meta-gradient follows an update's targets through the values in them; else these are constants",
    )
    outer_value_cost: float = _setting(0.0, _at_least(0), "cost of the outer loss's value term; 0 leaves it out")
    outer_entropy_cost: float = _setting(0.0, _at_least(0), "cost of the outer loss's entropy term; 0 leaves it out")
    num_channels: int = _setting(32, _count(1), "channels of each convolution")
    policy_width: int = _setting(64, _count(1), "units of the policy head's hidden layer")
    value_width: int = _setting(128, _count(1), "units of the value head's hidden layer")
    shared_torso: bool = _setting(False, ANYTHING, "whether policy and value share one torso")

    def hyperparameters(self) -> dict[str, float]:
        """Returns the inner loss's hyperparameters: fixed values, and starting values of what is tuned."""
        return {name: getattr(self, "lambda_" if name == "lambda" else name) for name in INTERVALS}

    def with_estimator(self, estimator: str) -> "Config":
        """Returns the same settings with another estimator; `none` has no outer loss, and so no critic of it."""
        return dataclasses.replace(self, estimator=estimator, outer_critic=self.outer_critic and estimator != "none")

    @property
    def updates_per_window(self) -> int:
        """Inner updates between two meta-updates."""
        return self.horizon if self.estimator in ("multi_step", "mixing") else 1

    @property
    def steps_per_window(self) -> int:
        """Environment steps of one seed between two meta-updates."""
        return self.num_envs * self.rollout_length * self.updates_per_window

    @property
    def steps_per_point(self) -> int:
        """Environment steps of one seed between two logging points, whole windows."""
        return math.ceil(self.num_env_steps / self.steps_per_window / LOGGING_POINTS) * self.steps_per_window


KINDS: Mapping[Any, tuple[Any, str]] = {
    int: (int, "a whole number"),
    float: (float | int, "a number"),
    bool: (bool, "True or False"),
    str: (str, "a string"),
    tuple[str, ...]: (tuple, "a tuple of names"),
}
"""What settings of each type may be, and what it is called."""

OF_SNAKE = ("board_size", "time_limit")
"""Settings that are Snake's own."""


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a run is carried out; where it goes on, these may differ from what they were."""

    checkpoint_every: int = _setting(
        8,
        _count(1),
        f"logging points, of which a run has {LOGGING_POINTS} at most, from one checkpoint to the next; those that do "
        "not stay are removed as soon as there is a later one",
    )
    keep: int = _setting(8, _count(1), "checkpoints that stay: evenly spread over the run, the last one included")
    on_divergence: str = _setting(
        "stop",
        _one_of(("stop", "drop")),
        "what happens once a loss, meta-gradient or parameter of a seed is NaN or infinite: stop ends the run, drop "
        "keeps the seed as it was before, and the others go on",
    )
    seeds_per_batch: int = _setting(
        0,
        _count(0),
        "seeds in the devices' memory at once, while the others wait; 0 for all. The results are the same, "
        "and on CPUs to the bit where each device has two or more of them at once",
    )


EXECUTION = Execution()


PRESETS: Mapping[str, dict[str, Any]] = {
    "quick": {},
    "paper": {
        "num_seeds": 8,
        "board_size": "12",
        "num_envs": 128,
        "num_env_steps": 25_600_000,
        "discount": 0.99,
        "lambda_": 0.95,
    },
}
"""What each preset changes in the defaults: minutes on two CPU cores, or the paper's board for an accelerator."""


def board_shape(board_size: str) -> tuple[int, int]:
    """Returns (rows, columns) of a `--board_size`; (0, 0), which no range allows, where it cannot be read."""
    sides = board_size.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() for side in sides):
        return 0, 0
    return int(sides[0]), int(sides[-1])


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
    where: dict[str, Any] = {"flag_values": values}
    flags.DEFINE_enum(
        "preset", "quick", sorted(presets), "settings to start from; flags on the command line beat it", **where
    )
    flags.DEFINE_string("logdir", None, "new or empty folder that the results go to", **where)
    _define_settings(values, Config, presets["quick"], omit)
    return values


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
        "its last checkpoint"
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
            define[field.type](flag_name(field), default, text, flag_values=values)


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
                refuse(name, given[name], f"left out with --environment={environment}")
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


def validate_execution(execution: Execution) -> None:
    """Refuses impossible values.

    Raises:
      UsageError: names the flag, its value and what is allowed.
    """
    _check_ranges(execution)


def given_settings(values: flags.FlagValues) -> dict[str, Any]:
    """Returns the settings that stand on the command line, by the names of `Config`'s fields."""
    settings = {}
    for field in dataclasses.fields(Config):
        name = flag_name(field)
        if name in values and values[name].present:
            value = values[name].value
            settings[field.name] = tuple(value or ()) if isinstance(field.default, tuple) else value
    return settings


def validate(config: Config) -> None:
    """Refuses impossible settings.

    Raises:
      UsageError: names the flag, its value and what is allowed.
    """
    _check_numbers(config)
    make_environment(config)


def _check_numbers(config: Config) -> None:
    """Refuses impossible settings, as far as that can be told without the environment, whose code may be anybody's."""
    _check_ranges(config)
    for name, value in config.hyperparameters().items():
        low, high = INTERVALS[name]
        inside = low < value < high and as_computed(value) >= np.finfo(np.float32).tiny
        if config.estimator != "none" and name in config.meta_params and not inside:
            refuse(name, value, f"in ({low:g}, {high:g}) to be tuned")
    if config.seed + config.num_seeds > 2**31:
        refuse("seed", config.seed, f"at most 2^31 - --num_seeds ({config.num_seeds})")
    if config.environment != SNAKE:
        for name in OF_SNAKE:
            if getattr(config, name) != getattr(Config, name):
                refuse(name, getattr(config, name), f"left out with --environment={config.environment}")
    window = config.steps_per_window
    if config.num_env_steps % window:
        nearest = max(round(config.num_env_steps / window), 1) * window
        factors = "num_envs × rollout_length" + (" × horizon" if config.updates_per_window > 1 else "")
        refuse("num_env_steps", config.num_env_steps, f"a multiple of {factors} = {window}, such as {nearest}")
    if config.num_env_steps // (config.num_envs * config.rollout_length) >= 2**31:
        refuse("num_env_steps", config.num_env_steps, "below 2^31 × num_envs × rollout_length")


def make_environment(config: Config) -> Environment:
    """Makes the environment that settings name.

    Raises:
      UsageError: if there is none, or it does not fit the agents.
    """
    settings: dict[str, Any] = {}
    if config.environment == SNAKE:
        num_rows, num_cols = board_shape(config.board_size)
        settings = {"num_rows": num_rows, "num_cols": num_cols, "time_limit": config.time_limit}
    try:
        return environments.make(config.environment, **settings)
    except ValueError as error:
        raise UsageError(f"--environment={config.environment}: {error}") from error


def check_named(config: Config, named: str | None, path: pathlib.Path) -> None:
    """Refuses to go on with settings from a file whose environment is other code than the user names.

    Args:
      config: from the file.
      named: the environment on the command line; None if there is none, which is enough for what is built in.
      path: the file.

    Raises:
      UsageError: says what to name.
    """
    if (named is not None or environments.is_own_code(config.environment)) and named != config.environment:
        refuse("environment", named or "", f"{config.environment}, as in {path}, whose word is not enough to run code")


def environment_title(config: Config) -> str:
    """Returns what pictures call the environment."""
    if config.environment != SNAKE:
        return config.environment
    return "Snake {}×{}".format(*board_shape(config.board_size))


def return_label(config: Config) -> str:
    """Returns what pictures call the return of an episode."""
    return "fruits an episode" if config.environment == SNAKE else "return of an episode"


def by_flag(config: Config) -> dict[str, Any]:
    """Returns the settings under their flags' names; Snake's own are left out with another environment."""
    return {
        flag_name(field): getattr(config, field.name)
        for field in dataclasses.fields(config)
        if config.environment == SNAKE or field.name not in OF_SNAKE
    }


def _check_ranges(settings: Config | Execution) -> None:
    """Refuses every single value that is not of its type, as from the command line all are, or out of its range."""
    for field in dataclasses.fields(settings):
        value, allowed = getattr(settings, field.name), field.metadata["range"]
        kinds, kind = KINDS[field.type]
        if not isinstance(value, kinds) or (isinstance(value, bool) and field.type is not bool):
            refuse(flag_name(field), repr(value), f"{kind}, {allowed.text}")
        if not (allowed.accepts(value) and allowed.accepts(as_computed(value))):
            refuse(flag_name(field), value, allowed.text)


def as_computed(value: Any) -> Any:
    """Returns a setting as training has it: floats are single precision, where 0.999999999 is 1."""
    with np.errstate(over="ignore"):
        return float(np.float32(value)) if isinstance(value, float) else value


def refuse(flag: str, value: Any, allowed: str) -> NoReturn:
    """Raises the `UsageError` that says that a flag's value is not what is allowed."""
    shown = ",".join(value) if isinstance(value, tuple | list) else value
    raise UsageError(f"--{flag}={shown}: must be {allowed}")


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
    try:
        logdir = pathlib.Path(path).expanduser()
        logdir.mkdir(parents=True, exist_ok=True)
        names = {entry.name for entry in logdir.iterdir()}
        writable = os.access(logdir, os.W_OK)
    except (OSError, RuntimeError):
        names, writable = set(), False
    if names and names.isdisjoint(own):
        refuse("logdir", path, f"{allowed}, and this one holds something else")
    if not writable:
        refuse("logdir", path, "a folder that can be written to")
    return logdir


def save(config: Config, path: pathlib.Path) -> None:
    """Writes the settings as JSON, under the flags' names: all or nothing, wherever the process is killed."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps({"format": FORMAT, "flags": by_flag(config)}, indent=2) + "\n")
    os.replace(partial, path)


def load(path: pathlib.Path) -> Config:
    """Reads settings that `save` wrote. Nothing that the file names is run.

    Raises:
      UsageError: if the file is missing, of another format, or holds settings that no run can have.
    """
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise UsageError(f"{path}: has format {content['format']}, and this version reads format {FORMAT}")
        values: dict[str, Any] = {}
        for field in dataclasses.fields(Config):
            if field.name in OF_SNAKE and values["environment"] != SNAKE:
                continue
            values[field.name] = _as_saved(field, content["flags"][flag_name(field)])
        config = Config(**values)
    except (OSError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UsageError(f"{path}: is not the settings of a run ({error})") from error
    try:
        _check_numbers(config)
    except UsageError as error:
        raise UsageError(f"{path}: is not the settings of a run ({error})") from error
    return config


def _as_saved(field: dataclasses.Field, value: Any) -> Any:
    """Returns a setting from JSON.

    Raises:
      TypeError: if it is not of the field's type.
    """
    kind = type(field.default)
    if kind is tuple and isinstance(value, list) and all(isinstance(name, str) for name in value):
        return tuple(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError(f"{flag_name(field)} is no {kind.__name__}")
    return value


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
    flags.DEFINE_bool("help", False, "show this help", flag_values=values)
    flags.DEFINE_string(
        "compilation_cache",
        None,
        f"folder that keeps compiled programs from one run to the next, or {compilation.OFF}; the default is what "
        "JAX_COMPILATION_CACHE_DIR says, else the user's cache folder",
        flag_values=values,
    )

    def parse(arguments: Sequence[str]) -> list[str]:
        try:
            remaining = values(arguments)
            flags.FLAGS.mark_as_parsed()  # absl insists, though the command's flags are others
        except flags.Error as error:
            _exit_with(error)
        if len(remaining) > 1:
            _exit_with(UsageError(f"{remaining[1]}: is not a flag; flags are given as --name=value"))
        return remaining

    def guarded(_: Sequence[str]) -> None:
        if values.help:
            print(f"{sys.modules[main.__module__].__doc__}\n{values.get_help(include_special_flags=False)}")
            return
        logging.set_verbosity(logging.FATAL)  # orbax tells the story of every file, and of errors besides raising them
        compilation.keep_programs(values.compilation_cache)
        devices.use_all_cores()
        try:
            main(values)
        except UsageError as error:
            _exit_with(error)
        except KeyboardInterrupt as interrupt:
            print(f"\nstopped; {stopped}", file=sys.stderr, flush=True)
            # At once: threads that still compile would crash in an interpreter that takes itself apart.
            os._exit(128 + (interrupt.args[0] if interrupt.args else signal.SIGINT))

    app.run(guarded, flags_parser=parse)


def _exit_with(error: Exception) -> NoReturn:
    print(" ".join(str(error).split()), file=sys.stderr)
    sys.exit(2)


def flag_name(field: dataclasses.Field) -> str:
    """Returns the flag of a field of `Config`, which may not have its name."""
    return field.metadata["name"] or field.name
