"""Estimates with their intervals as JSON holds them and as a terminal shows them."""

import math
from collections.abc import Sequence
from typing import Any

from metagrad.statistics import Estimate

INTERVALS_NOTE = "[low, high] are 95% intervals."


def as_json(estimate: Estimate) -> dict[str, Any]:
    """Returns one estimate as JSON has it: to six digits, null where there is no number."""
    value, low, high = (float(f"{number:.6g}") if math.isfinite(number) else None for number in estimate)
    return {"estimate": value, "ci95": [low, high]}


def cell(result: dict[str, Any] | None, missing: str = "-") -> str:
    """Writes what `as_json` returned, or `missing` where there is no number."""
    if result is None or result["estimate"] is None:
        return missing
    low, high = result["ci95"]
    return f"{result['estimate']:.3g}" + ("" if low is None else f" [{low:.3g}, {high:.3g}]")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lays out a table for a terminal, with columns as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = (
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    )
    return "\n".join(lines)
