"""What is refused before anything is compiled: impossible settings, and environments that do not fit."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

from agents.hyperparameters import BIJECTIONS
from envs.environment import Environment
from experiments.config import environments
from experiments.config.environments import SNAKE
from experiments.config.own_code import is_own_code
from experiments.config.ranges import NAMES, UsageError, as_computed, board_shape, refuse
from experiments.config.settings import OF_SNAKE, Config, Execution, flag_name

KINDS: Mapping[Any, tuple[Any, str]] = {
    int: (int, "a whole number"),
    float: (float | int, "a number"),
    bool: (bool, "a boolean"),
    str: (str, "a string"),
    tuple[str, ...]: (tuple, "a tuple of names"),
}
"""What settings of each type may be, and what it is called."""


def validate(config: Config) -> None:
    """Refuses impossible settings.

    Raises:
      UsageError: names the setting, its value and what is allowed.
    """
    check_numbers(config)
    if config.mixing_weights == "uniform" and config.mixing_decay != Config.mixing_decay:
        refuse("mixing_decay", config.mixing_decay, "left out with `mixing_weights`=uniform")
    window = steps_per_window(config)
    if config.num_env_steps % window:
        nearest = max((config.num_env_steps + window // 2) // window, 1) * window
        rollouts = window // config.steps_per_update
        factors = "num_envs × rollout_length" + (f" × {_of_window(config)}" if rollouts > 1 else "")
        refuse("num_env_steps", config.num_env_steps, f"a multiple of {factors} = {window}, such as {nearest}")
    make_environment(config)


def steps_per_window(config: Config) -> int:
    """Returns the environment steps of a window, of settings whose numbers are right.

    Raises:
      UsageError: if the estimator is the user's code, and cannot be made.
    """
    try:
        return config.steps_per_window
    except ValueError as error:
        raise UsageError(f"`estimator`={config.estimator}: {error}") from error


def _of_window(config: Config) -> str:
    return "horizon" if config.steps_per_window == config.steps_per_update * config.horizon else "rollouts"


def check_numbers(config: Config) -> None:
    """Refuses impossible settings, as far as that can be told without the code of environment and estimator."""
    check_ranges(config)
    if not is_own_code(config.agent):
        for name in ("agent_options", "own_hyperparameters"):
            if getattr(config, name):
                refuse(name.removeprefix("own_"), getattr(config, name), f"left out with `agent`={config.agent}")
        if not set(config.meta_params) <= set(BIJECTIONS):
            refuse("meta_params", config.meta_params, NAMES.text)
    for name, value in config.hyperparameters().items():
        interval = BIJECTIONS[name]
        inside = interval.low < as_computed(value) < interval.high
        if config.estimator != "none" and name in config.meta_params and not inside:
            refuse(name, value, f"in {interval} to be tuned")
    if config.seed + config.num_seeds > 2**31:
        refuse("seed", config.seed, f"at most 2^31 - `num_seeds` ({config.num_seeds})")
    if config.environment != SNAKE:
        for name in OF_SNAKE:
            if getattr(config, name) != getattr(Config, name):
                refuse(name, getattr(config, name), f"left out with `environment`={config.environment}")
    if config.steps_per_update >= 2**31:
        refuse("num_envs", config.num_envs, f"below 2^31 / `rollout_length` ({config.rollout_length})")
    if config.num_env_steps // config.steps_per_update >= 2**31:
        refuse("num_env_steps", config.num_env_steps, "below 2^31 × `num_envs` × `rollout_length`")


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
            "time_limit_terminates": config.time_limit_terminates,
        }
    try:
        return environments.make(config.environment, **settings)
    except ValueError as error:
        raise UsageError(f"`environment`={config.environment}: {error}") from error


def check_ranges(settings: Config | Execution) -> None:
    """Refuses every value that is not of its type, as from the command line all are, or out of its range.

    Raises:
      UsageError: names the setting, its value and what is allowed.
    """
    for field in dataclasses.fields(settings):
        value, allowed = getattr(settings, field.name), field.metadata["range"]
        kinds, kind = KINDS[field.type]
        names = not isinstance(value, tuple) or all(isinstance(name, str) for name in value)
        if not (isinstance(value, kinds) and names) or (isinstance(value, bool) and field.type is not bool):
            refuse(flag_name(field), repr(value), f"{kind}, {allowed.text}")
        if not allowed.accepts(value):
            refuse(flag_name(field), value, allowed.text)
        if not allowed.accepts(as_computed(value)):
            refuse(flag_name(field), value, f"{allowed.text} in single precision")


def check_named(config: Config, environment: str | None, agent: str | None, path: pathlib.Path) -> None:
    """Refuses to go on with settings from a file whose environment or agent is other code than the user names.

    Args:
      config: from the file.
      environment: on the command line; None if there is none, which is enough for what is built in.
      agent: likewise.
      path: the file.

    Raises:
      UsageError: says what to name.
    """
    for name, named, theirs, own in (
        ("environment", environment, config.environment, environments.is_own_code(config.environment)),
        ("agent", agent, config.agent, is_own_code(config.agent)),
    ):
        if (named is not None or own) and named != theirs:
            refuse(name, named or "", f"{theirs}, as in {path}; a folder alone cannot make code run")
