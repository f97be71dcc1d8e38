"""Environments by the names that `--environment` knows them by."""

from collections.abc import Callable, Mapping
from typing import Any

from envs.catch import Catch
from envs.environment import Environment
from envs.snake import Snake
from experiments.config import own_code

SNAKE = "snake"

BUILT_IN: Mapping[str, Callable[..., Environment]] = {SNAKE: Snake, "catch": Catch}

GYMNAX = "gymnax"

NAMES = f"one of {', '.join(BUILT_IN)}, {GYMNAX}:NAME, or PACKAGE.MODULE:FACTORY, which returns an environment"


def make(name: str, **settings: Any) -> Environment:
    """Makes an environment.

    Args:
      name: one of `BUILT_IN`; `gymnax:` and a name of gymnax's, which must be installed; or `package.module:factory`,
        where the factory is called without arguments.
      settings: arguments of one that is built in.

    Returns:
      The environment, which fits the agents.

    Raises:
      ValueError: says in one sentence why there is no such environment, or why it does not fit.
    """
    if name in BUILT_IN:
        return BUILT_IN[name](**settings)
    from agents.fitting import check_environment  # not above, so that --help need not wait for Haiku

    if name.partition(":")[0] == GYMNAX:
        env = own_code.call("envs.gymnax_adapter:Gymnax", NAMES, name.partition(":")[2])
    else:
        env = own_code.call(name, NAMES)
    check_environment(env)
    return env


def is_own_code(name: str) -> bool:
    """Returns whether a name means code of the user's, which making the environment imports and calls."""
    return name not in BUILT_IN and name.partition(":")[0] != GYMNAX
