"""What a figure is, and how one is made: ours and a peer's, side by side, and the ratio of the two."""

import importlib.util
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from experiments.figures import tables as reporting
from experiments.studies.benchmark import timing
from experiments.studies.benchmark.settings import Scale
from experiments.studies.benchmark.timing import Program
from experiments.studies.benchmark.work import Work
from metagrad.statistics import Estimate

STEPS_A_SECOND, SECONDS, BYTES = "environment steps/s", "s", "bytes"
"""Units: of the first, more is better; of the others, less."""

Value = Estimate | float
"""What was measured, or what the compiler says and is no matter of chance."""


class Figure(NamedTuple):
    """One comparison.

    Attributes:
      unit: of `ours` and `peer`.
      against: what the peer is.
      ours: in the unit.
      peer: likewise, or None where it is missing.
      ratio: `ours / peer`, or None without a peer.
      work: of one call of ours.
      product_share: of the machine's rate of matrix products, which `work.flops` over the time is.
      copy_share: of the machine's bandwidth, which `work.bytes` over the time is.
        Where caches hold what is moved, it may be above one.
    """

    unit: str
    against: str
    ours: Value
    peer: Value | None = None
    ratio: Value | None = None
    work: Work = Work()
    product_share: Estimate | None = None
    copy_share: Estimate | None = None


Figures = Mapping[str, Callable[[], Figure]]
"""A suite's figures by name, measured when they are called."""


class Side(NamedTuple):
    """One side of a comparison.

    Attributes:
      program: what is measured.
      amount: by what a call is divided: environment steps for a rate, updates or the like for seconds.
    """

    program: Program
    amount: float = 1.0


def race(
    unit: str,
    against: str,
    ours: Side,
    peer: Side | None,
    scale: Scale,
    work: Work = Work(),  # noqa: B008, it is immutable
) -> Figure:
    """Measures two programs in turns, with the machine itself between them where work is told.

    Args:
      unit: `STEPS_A_SECOND`, or `SECONDS` of what an amount counts.
      against: what the peer is.
      ours: our program.
      peer: the other, or None where it is missing.
      scale: rounds and seconds of a measurement.
      work: of one call of ours.

    Returns:
      The figure. Estimates are medians over the rounds, ratios over those of each round.
    """
    programs = {"ours": ours.program}
    machine: dict[str, tuple[Program, float]] = {}
    if peer is not None:
        programs["peer"] = peer.program
    if work.flops is not None:
        machine["product"] = timing.matrix_product(scale.product_size)
    if work.bytes is not None:
        machine["copy"] = timing.copy(scale.copy_bytes)
    programs |= {name: program for name, (program, _) in machine.items()}
    seconds = timing.interleave(programs, scale.repeats, scale.seconds)

    def values(name: str, side: Side) -> np.ndarray:
        return side.amount / seconds[name] if unit == STEPS_A_SECOND else seconds[name] / side.amount

    def share(name: str, done: float | None) -> Estimate | None:
        if done is None:
            return None
        return timing.median(done / seconds["ours"] * seconds[name] / machine[name][1])

    own = values("ours", ours)
    others = None if peer is None else values("peer", peer)
    return Figure(
        unit,
        against,
        timing.median(own),
        None if others is None else timing.median(others),
        None if others is None else timing.median(own / others),
        work,
        share("product", work.flops),
        share("copy", work.bytes),
    )


def sizes(against: str, ours: float, peer: float) -> Figure:
    """Compares two sizes in bytes, which are exact."""
    return Figure(BYTES, against, ours, peer, ours / peer)


def installed(peer: str) -> bool:
    """Tells whether a peer can be imported."""
    return importlib.util.find_spec(peer) is not None


def as_json(figure: Figure) -> dict[str, Any]:
    """Returns a figure as JSON has it; what is missing is left out."""
    values = {
        "ours": figure.ours,
        "peer": figure.peer,
        "ratio": figure.ratio,
        "product_share": figure.product_share,
        "copy_share": figure.copy_share,
    }
    shown: dict[str, Any] = {"unit": figure.unit, "against": figure.against}
    for name, value in values.items():
        if value is not None:
            shown[name] = reporting.as_json(value) if isinstance(value, Estimate) else value
    return shown | {name: value for name, value in figure.work._asdict().items() if value is not None}
