"""Estimates with their intervals as JSON holds them and as a terminal shows them."""

import itertools
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from metagrad.statistics import Estimate

WIDTH, LONGEST_CELL = 100, 49
"""Characters of a line on a terminal; those of a cell, of which two fit beside each other."""

INTERVALS_NOTE = "[low, high] are 95% intervals."


def as_json(estimate: Estimate) -> dict[str, Any]:
    """Returns one estimate as JSON has it: to six digits, null where there is no number."""
    value, low, high = (float(f"{number:.6g}") if math.isfinite(number) else None for number in estimate)
    return {"estimate": value, "ci95": [low, high]}


def lay_out(value: Any, levels: int, of: Mapping[str, int]) -> str:
    """Returns JSON to be read by eye: what fits a line is on one, and so is what is nested too deep.

    Args:
      value: what `json.dumps` takes, without NaN.
      levels: of nested dictionaries and lists that are laid out, with lines of their own for what is in them.
      of: levels of the values of these keys, wherever they are, instead of one less than around them.
    """
    line = json.dumps(value, allow_nan=False)
    if levels == 0 or len(line) <= WIDTH or not isinstance(value, dict | list):
        return line
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {lay_out(part, of.get(key, levels - 1), of)}" for key, part in value.items()]
    else:
        parts = [lay_out(part, levels - 1, of) for part in value]
    body = textwrap.indent(",\n".join(parts), " ")
    return f"{line[0]}\n{body}\n{line[-1]}"


def cell(result: dict[str, Any] | None, missing: str = "-", digits: int = 3) -> str:
    """Writes what `as_json` returned to some digits, or `missing` where there is no number."""
    if result is None or result["estimate"] is None:
        return missing
    low, high = result["ci95"]
    interval = "" if low is None else f" [{number(low, digits)}, {number(high, digits)}]"
    return number(result["estimate"], digits) + interval


def number(value: float, digits: int = 3) -> str:
    """Writes a number to some digits; large ones as 1.73M."""
    return tqdm.format_sizeof(value) if 1e3 <= abs(value) < 1e15 else f"{value:.{digits}g}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], keys: int = 1) -> str:
    """Lays out a table for a terminal, at most `WIDTH` characters wide.

    Long cells, such as the name of a run, take several lines. Columns that do not fit beside the others go below them,
    behind the first `keys`, which say again which row is which.
    """
    columns = [
        [textwrap.wrap(text, LONGEST_CELL, subsequent_indent="  ", break_on_hyphens=False) or [""] for text in column]
        for column in zip(header, *rows, strict=True)
    ]
    widths = [max(len(line) for text in column for line in text) for column in columns]
    blocks = [list(range(keys))]
    for index in range(keys, len(columns)):
        if len(blocks[-1]) > keys and sum(widths[beside] + 2 for beside in [*blocks[-1], index]) - 2 > WIDTH:
            blocks.append(list(range(keys)))
        blocks[-1].append(index)
    return "\n\n".join(
        "\n".join(
            "  ".join(text.ljust(widths[index]) for index, text in zip(block, line, strict=True)).rstrip()
            for row in zip(*(columns[index] for index in block), strict=True)
            for line in itertools.zip_longest(*row, fillvalue="")
        )
        for block in blocks
    )
