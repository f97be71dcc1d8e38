"""Code of the user's own, which flags name as `PACKAGE.MODULE:FACTORY`."""

import importlib
import os
import sys
from typing import Any

OURS = ("agents", "envs", "experiments", "metagrad")
"""This library's packages, which come before others of the same name."""


def is_own_code(name: str) -> bool:
    """Returns whether the name of an estimator or an agent means code of the user's, which making it runs."""
    return ":" in name


def call(name: str, allowed: str, /, *arguments: Any, **options: Any) -> Any:
    """Imports a factory, from where the command is given too, and calls it.

    Raises:
      ValueError: says in one sentence what must be named, and what went wrong, which is its cause.
    """
    module, colon, factory = name.partition(":")
    if not (module and colon and factory):
        raise ValueError(f"must be {allowed}")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, and only for who names code of their own
    try:
        return getattr(importlib.import_module(module), factory)(*arguments, **options)
    except Exception as error:
        taken = isinstance(error, ImportError) and (error.name or "").partition(".")[0] in OURS
        hint = "; that name is one of metagrad's own packages, so a package of yours needs another" if taken else ""
        raise ValueError(f"must be {allowed} ({type(error).__name__}: {error}{hint})") from error
