"""What the arguments of playing may be."""

from typing import Any

from experiments.config.ranges import BOARD, Range, board_shape, count, refuse

RANGES = {
    "board_size": BOARD,
    "grid": Range(
        "a number N or ROWSxCOLS, each in [1, 8]", lambda value: all(1 <= side <= 8 for side in board_shape(value))
    ),
    "speed": Range("in [0.5, 60]", lambda value: 0.5 <= value <= 60),
    "seed": count(0),
    "episodes": count(1),
    "max_steps": count(1),
}


def check(**arguments: Any) -> None:
    """Checks arguments that are named in `RANGES`; None is one that is not given.

    Raises:
      UsageError: names the argument, its value and what is allowed.
    """
    for name, value in arguments.items():
        if value is not None and not RANGES[name].accepts(value):
            refuse(name, value, RANGES[name].text)
