"""The settings of a run: their meaning, allowed range and presets.

Each field of `Config` is stated once, for the command line and the file of a run alike; `validate` refuses what is
impossible before anything is compiled. The fields of `Execution` are how a run is carried out, which changes nothing in
its results.
"""

import dataclasses
import enum
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from envs.environment import Environment
from experiments.config import environments
from experiments.config.environments import SNAKE
from experiments.config.ranges import (
    BOARD,
    BOOLEAN,
    HORIZON,
    NAMES,
    POSITIVE,
    UNIT_CLOSED,
    UNIT_HALF_OPEN,
    UNIT_OPEN,
    WIDTH,
    Range,
    UsageError,
    as_computed,
    at_least,
    board_shape,
    count,
    one_of,
    refuse,
)
from experiments.storage.files import read_text, write_whole
from metagrad.meta_parameters import INTERVALS

FORMAT = 5
"""Version of the run folder's layout, written to `config.json`."""

LOGGING_POINTS = 64
"""Rows of a run in `metrics.csv`, for each seed: so many at most."""

ESTIMATORS = ("none", "single_step", "multi_step", "mixing")


class Group(enum.StrEnum):
    """What one wants to set: the headings of `--help`, in its order."""

    TUNED = "What is tuned"
    OUTER_LOSS = "Outer loss"
    AGENT = "Agent"
    ENVIRONMENT = "Environment"
    BUDGET = "Budget"
    OUTPUT = "Output"
    EXECUTION = "Execution"
    PROCESSES = "Several processes"


def _setting(group: Group, default: Any, allowed: Range, help_text: str, name: str | None = None) -> Any:
    metadata = {"group": group, "range": allowed, "help": help_text, "name": name}
    return dataclasses.field(default=default, metadata=metadata)


_tuned, _outer_loss, _agent, _environment, _budget, _output, _execution, _ = (
    functools.partial(_setting, group) for group in Group
)

FIRST = "where it is tuned, its first value"


@dataclasses.dataclass(frozen=True)
class Config:
    """All settings of one training run; the defaults are the `quick` preset. The flags' help says what each means.

    What tunes (outer discount and lambda, meta-learning rate and its halving) is by default what served mixing(5) best
    from two bad starts of 6×6 Snake, and was not searched for on other games: results/self_tuning.md.


    They stand in the order of the help: by what they are about, the most used first.
    """

    estimator: str = _tuned("mixing", one_of(ESTIMATORS), "how the meta-gradient is estimated; none tunes nothing")
    meta_params: tuple[str, ...] = _tuned(
        ("discount", "lambda", "entropy_cost"), NAMES, "hyperparameters that are tuned"
    )
    horizon: int = _tuned(5, HORIZON, "inner updates from one meta-update to the next, for multi_step and mixing")
    meta_learning_rate: float = _tuned(0.3, POSITIVE, "learning rate of the meta-optimizer, Adam")
    meta_learning_rate_halving: int = _tuned(
        100,
        count(0),
        "inner updates N after which the meta-learning rate has halved: it is --meta_learning_rate / "
        "(1 + updates / N); 0 keeps it constant",
    )
    meta_gradient_clip: float = _tuned(
        1.0, POSITIVE, "norm that longer meta-gradients are scaled down to; on 6×6 Snake all are far shorter than 1"
    )
    mixing_weights: str = _tuned(
        "uniform",
        one_of(("uniform", "geometric")),
        "how mixing weighs its horizons: all alike, or each by --mixing_decay times the one before",
    )
    mixing_decay: float = _tuned(0.8, UNIT_HALF_OPEN, "ratio of consecutive weights, for --mixing_weights=geometric")
    exact_targets: bool = _tuned(
        True,
        BOOLEAN,
        "let meta-gradients pass through an update's targets, by the values in them, rather than hold these constant",
    )
    outer_discount: float = _outer_loss(0.999, UNIT_OPEN, "discount of the outer loss, which stays fixed")
    outer_lambda: float = _outer_loss(1.0, UNIT_CLOSED, "lambda of the outer loss's returns, which stays fixed")
    outer_critic: bool = _outer_loss(
        True,
        BOOLEAN,
        "take the outer loss's advantages from a critic of its own, trained at --outer_discount, rather than from the "
        "agent's",
    )
    outer_value_cost: float = _outer_loss(0.0, at_least(0), "weight of a value term in the outer loss; 0 leaves it out")
    outer_entropy_cost: float = _outer_loss(
        0.0, at_least(0), "weight of an entropy bonus in the outer loss; 0 leaves it out"
    )
    discount: float = _agent(0.97, UNIT_OPEN, f"discount of the agent's loss; {FIRST}")
    lambda_: float = _agent(0.9, UNIT_CLOSED, f"lambda of the agent's returns; {FIRST}", name="lambda")
    entropy_cost: float = _agent(0.01, at_least(0), f"weight of the entropy bonus in the agent's loss; {FIRST}")
    value_cost: float = _agent(0.5, at_least(0), f"weight of the value term in the agent's loss; {FIRST}")
    policy_cost: float = _agent(1.0, at_least(0), f"weight of the policy-gradient term in the agent's loss; {FIRST}")
    learning_rate: float = _agent(1e-3, POSITIVE, f"learning rate of the agent; {FIRST}")
    optimizer: str = _agent(
        "adam",
        one_of(("adam", "rmsprop")),
        "optimizer of the agent; 1e-10 under Adam's square root keeps its derivative finite, and shortens its steps "
        "where gradients are below about 1e-5",
    )
    num_channels: int = _agent(32, WIDTH, "channels of each convolution of the network, where observations are grids")
    policy_width: int = _agent(64, WIDTH, "units of each hidden layer of the policy")
    value_width: int = _agent(128, WIDTH, "units of each hidden layer of the critics")
    shared_torso: bool = _agent(False, BOOLEAN, "let policy and value share the network's first layers")
    environment: str = _environment(
        SNAKE, Range(environments.NAMES, lambda value: True), "environment that agents learn in"
    )
    board_size: str = _environment("6", BOARD, "for Snake, the cells of the board's sides")
    time_limit: int = _environment(4_000, count(1), "for Snake, the steps after which an episode is truncated")
    action_mask: bool = _environment(True, BOOLEAN, "for Snake, tell the agents which moves crash")
    num_env_steps: int = _budget(320_000, at_least(1), "environment steps of each seed, all its environments together")
    num_seeds: int = _budget(4, count(1), "agents that are trained at once, each with a seed of its own")
    seed: int = _budget(0, count(0), "seed of the first agent; those of the others follow it")
    num_envs: int = _budget(32, count(1), "environments that each agent plays at once")
    rollout_length: int = _budget(20, count(1), "steps of each environment from one update of the agent to the next")

    def __post_init__(self) -> None:
        _make_plain(self)

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
        return -(-self.num_env_steps // (self.steps_per_window * LOGGING_POINTS)) * self.steps_per_window


def _make_plain(settings: Any) -> None:
    """Replaces NumPy's numbers in settings by Python's."""
    for field in dataclasses.fields(settings):
        object.__setattr__(settings, field.name, plain(getattr(settings, field.name)))


def plain(value: Any) -> Any:
    """Returns a number of NumPy's as Python's, of the fewest digits, as a flag would give it; all else as it is."""
    if isinstance(value, np.floating):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value


KINDS: Mapping[Any, tuple[Any, str]] = {
    int: (int, "a whole number"),
    float: (float | int, "a number"),
    bool: (bool, "a boolean"),
    str: (str, "a string"),
    tuple[str, ...]: (tuple, "a tuple of names"),
}
"""What settings of each type may be, and what it is called."""

OF_SNAKE = ("board_size", "time_limit", "action_mask")
"""Settings that are Snake's own."""

ADDED: dict[str, Any] = {"action_mask": True}
"""Settings that older folders do not name, and what they were then."""


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a run is carried out; where it goes on, these may differ from what they were."""

    checkpoint_every: int = _output(
        8,
        count(1),
        f"logging points from one checkpoint to the next, of the {LOGGING_POINTS} that a run has at most",
    )
    keep: int = _output(
        8,
        count(1),
        "checkpoints that are kept, evenly spread over the run, its end included; all others are deleted as soon as "
        "there is a later one",
    )
    on_divergence: str = _execution(
        "stop",
        one_of(("stop", "drop")),
        "what happens once a loss, meta-gradient or parameter of a seed is NaN or infinite: stop ends the run, drop "
        "keeps the seed as it was before, and the others go on",
    )
    seeds_per_batch: int = _execution(
        0,
        count(0),
        "seeds in the devices' memory at once, while the others wait; 0 for all. The results are the same, "
        "and on CPUs to the bit where each device has two or more of them at once",
    )

    def __post_init__(self) -> None:
        _make_plain(self)


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


def validate_execution(execution: Execution) -> None:
    """Refuses impossible values.

    Raises:
      UsageError: names the flag, its value and what is allowed.
    """
    _check_ranges(execution)


def validate(config: Config) -> None:
    """Refuses impossible settings.

    Raises:
      UsageError: names the flag, its value and what is allowed.
    """
    _check_numbers(config)
    if config.mixing_weights == "uniform" and config.mixing_decay != Config.mixing_decay:
        refuse("mixing_decay", config.mixing_decay, "left out with `mixing_weights`=uniform")
    make_environment(config)


def _check_numbers(config: Config) -> None:
    """Refuses impossible settings, as far as that can be told without the environment, whose code may be anybody's."""
    _check_ranges(config)
    for name, value in config.hyperparameters().items():
        low, high = INTERVALS[name]
        inside = low < as_computed(value) < high
        if config.estimator != "none" and name in config.meta_params and not inside:
            refuse(name, value, f"in ({low:g}, {high:g}) to be tuned")
    if config.seed + config.num_seeds > 2**31:
        refuse("seed", config.seed, f"at most 2^31 - `num_seeds` ({config.num_seeds})")
    if config.environment != SNAKE:
        for name in OF_SNAKE:
            if getattr(config, name) != getattr(Config, name):
                refuse(name, getattr(config, name), f"left out with `environment`={config.environment}")
    window = config.steps_per_window
    if config.num_envs * config.rollout_length >= 2**31:
        refuse("num_envs", config.num_envs, f"below 2^31 / `rollout_length` ({config.rollout_length})")
    if config.num_env_steps // (config.num_envs * config.rollout_length) >= 2**31:
        refuse("num_env_steps", config.num_env_steps, "below 2^31 × `num_envs` × `rollout_length`")
    if config.num_env_steps % window:
        nearest = max((config.num_env_steps + window // 2) // window, 1) * window
        factors = "num_envs × rollout_length" + (" × horizon" if config.updates_per_window > 1 else "")
        refuse("num_env_steps", config.num_env_steps, f"a multiple of {factors} = {window}, such as {nearest}")


def make_environment(config: Config) -> Environment:
    """Makes the environment that settings name.

    Raises:
      UsageError: if there is none, or it does not fit the agents.
    """
    settings: dict[str, Any] = {}
    if config.environment == SNAKE:
        num_rows, num_cols = board_shape(config.board_size)
        settings = {
            "num_rows": num_rows,
            "num_cols": num_cols,
            "time_limit": config.time_limit,
            "masked": config.action_mask,
        }
    try:
        return environments.make(config.environment, **settings)
    except ValueError as error:
        raise UsageError(f"`environment`={config.environment}: {error}") from error


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
    rows, columns = board_shape(config.board_size)
    return f"Snake {rows}×{columns}" + ("" if config.action_mask else " without action mask")


def estimator_title(estimator: str, horizon: int | str) -> str:
    """Returns what texts and pictures call an estimator, such as `multi-step(5)`; files call it `multi_step_5`."""
    if estimator == "none":
        return "fixed"
    return estimator.replace("_", "-") + ("" if estimator == "single_step" else f"({horizon})")


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
            raise UsageError(f"{path}: has format {content['format']}, and this version reads format {FORMAT}")
        values: dict[str, Any] = {}
        for field in dataclasses.fields(Config):
            if field.name in OF_SNAKE and values["environment"] != SNAKE:
                continue
            values[field.name] = _as_saved(field, (ADDED | content["flags"])[flag_name(field)])
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


def flag_name(field: dataclasses.Field) -> str:
    """Returns the flag of a field of `Config`, which may not have its name."""
    return field.metadata["name"] or field.name
