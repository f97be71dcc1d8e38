"""Environments by the names that `--environment` knows them by."""

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from envs.catch import Catch
from envs.environment import Environment
from envs.snake import Snake

SNAKE = "snake"

BUILT_IN: Mapping[str, Callable[..., Environment]] = {SNAKE: Snake, "catch": Catch}

GYMNAX = "gymnax"

OURS = ("agents", "envs", "experiments", "metagrad")
"""This library's packages, which come before others of the same name."""

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

    env = _call(name)
    check_environment(env)
    return env


def is_own_code(name: str) -> bool:
    """Returns whether a name means code of the user's, which making the environment imports and calls."""
    return name not in BUILT_IN and name.partition(":")[0] != GYMNAX


def _call(name: str) -> Any:
    """Calls the factory that a name means; what goes wrong becomes one sentence, with the error as its cause."""
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise ValueError(f"must be {NAMES}")
    if module != GYMNAX and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, and only for who names code of their own
    try:
        if module == GYMNAX:
            return importlib.import_module("envs.gymnax_adapter").Gymnax(factory)
        return getattr(importlib.import_module(module), factory)()
    except Exception as error:
        taken = isinstance(error, ImportError) and (error.name or "").partition(".")[0] in OURS
        hint = "; that name is one of metagrad's own packages, so a package of yours needs another" if taken else ""
        raise ValueError(f"must be {NAMES} ({type(error).__name__}: {error}{hint})") from error
