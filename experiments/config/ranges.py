"""What settings may be: checks with the words that describe what passes, and the error that says so."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import numpy as np

from agents.hyperparameters import BIJECTIONS
from envs.snake import LARGEST_BOARD, SMALLEST_BOARD


class ToldError(Exception):
    """An error whose text is one line for the user.

    Where it names an argument, that stands between grave accents, which the text of the exception leaves out: it is an
    argument to callers from Python, and a flag to those of a command.
    """

    def __str__(self) -> str:
        return self._naming("")

    def of_flags(self) -> str:
        """Returns the line as a command says it."""
        return self._naming("--")

    def _naming(self, prefix: str) -> str:
        return re.sub(r"`(\w+)`", rf"{prefix}\1", " ".join(map(str, self.args)))


class UsageError(ToldError):
    """What was asked for is impossible."""


class StoppedError(ToldError):
    """Work that cannot go on."""


def refuse(name: str, value: Any, allowed: str) -> NoReturn:
    """Raises the `UsageError` that says that an argument's value is not what is allowed."""
    shown = ",".join(map(str, value)) if isinstance(value, tuple | list) else value
    raise UsageError(f"`{name}`={shown}: must be {allowed}")


def as_computed(value: Any) -> Any:
    """Returns a setting as training has it: a float is single precision, where 0.999999999 is 1 and 1e-40 is 0."""
    if not isinstance(value, float):
        return value
    with np.errstate(over="ignore", under="ignore"):
        single = np.float32(value)
    return 0.0 if abs(single) < np.finfo(np.float32).tiny else float(single)


def finite_number(text: str) -> float | None:
    """Returns the number that a text says, or None if it is none or not finite."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def board_shape(board_size: str) -> tuple[int, int]:
    """Returns (rows, columns) of a `--board_size`; (0, 0), which no range allows, where it cannot be read."""
    match = re.fullmatch(r"(\d{1,4})(?:x(\d{1,4}))?", board_size.lower())
    return (int(match[1]), int(match[2] or match[1])) if match else (0, 0)


@dataclasses.dataclass(frozen=True)
class Range:
    """A check with the words that describe what passes it."""

    text: str
    accepts: Callable[[Any], bool]


def at_least(low: float) -> Range:
    """Allows finite numbers that are no smaller."""
    return Range(f"at least {low:g}", lambda value: low <= value < math.inf)


def count(low: int) -> Range:
    """Allows whole numbers that are no smaller and fit 32 bits."""
    return Range(f"at least {low} and below 2^31", lambda value: low <= value < 2**31)


def one_of(names: Sequence[str]) -> Range:
    """Allows names."""
    return Range(f"one of {', '.join(names)}", lambda value: value in names)


POSITIVE = Range("positive", lambda value: 0.0 < value < math.inf)
UNIT_OPEN = Range("in (0, 1)", lambda value: 0.0 < value < 1.0)
UNIT_HALF_OPEN = Range("in (0, 1]", lambda value: 0.0 < value <= 1.0)
UNIT_CLOSED = Range("in [0, 1]", lambda value: 0.0 <= value <= 1.0)
BOOLEAN = Range("true or false", lambda value: True)
BOARD = Range(
    f"a number N or ROWSxCOLS, each in [{SMALLEST_BOARD}, {LARGEST_BOARD}]",
    lambda value: all(SMALLEST_BOARD <= side <= LARGEST_BOARD for side in board_shape(value)),
)
HORIZON = WIDTH = Range("at least 1 and at most 65536", lambda value: 1 <= value <= 65_536)
NAMES = Range(
    f"a comma list, without repetition, of {', '.join(BIJECTIONS)}, and of hyperparameters of an --agent of your own",
    lambda value: bool(value) and all(value) and len(set(value)) == len(value),
)
