"""Agents by the names that `--agent` knows them by, and what may be said of your own."""

import ast
from collections.abc import Sequence
from typing import Any

from agents.hyperparameters import BIJECTIONS
from experiments.config.ranges import Range, finite_number

ACTOR_CRITIC = "actor_critic"

NAMES = (
    f"{ACTOR_CRITIC}, or PACKAGE.MODULE:FACTORY, which is given the agent that the settings describe and returns yours"
)


def options(texts: Sequence[str]) -> dict[str, Any]:
    """Returns the arguments of a factory that `NAME=VALUE` say: Python's numbers, names in quotes, or plain texts."""
    return {name: _value(text) for name, _, text in (each.partition("=") for each in texts)}


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def first_values(texts: Sequence[str]) -> dict[str, float | None]:
    """Returns the values that `NAME:VALUE` say; None for what is no finite number."""
    return {name: finite_number(value) for name, _, value in (each.partition(":") for each in texts)}


OPTIONS = Range(
    "a comma list of NAME=VALUE, without repetition",
    lambda texts: (
        all(text.partition("=")[0].isidentifier() and "=" in text for text in texts)
        and len(options(texts)) == len(texts)
    ),
)
HYPERPARAMETERS = Range(
    f"a comma list of NAME:VALUE, without repetition, and without {', '.join(BIJECTIONS)}, which have flags",
    lambda texts: (
        None not in first_values(texts).values()
        and len(first_values(texts)) == len(texts)
        and not first_values(texts).keys() & BIJECTIONS.keys()
    ),
)
