"""Bars: what goes on, how far it is and how long it still takes. In a file or a pipe they are lines, now and then."""

import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, Self

import numpy as np
from tqdm.auto import tqdm

from experiments.runs.divergence import Divergence

LINE_SECONDS = 60.0
"""From one line to the next, where there is no terminal."""


class _Lines:
    """Takes what is drawn of a bar as lines of standard error."""

    def write(self, text: str) -> None:
        if text.strip():
            sys.stderr.write(f"{text.strip()}\n")

    def flush(self) -> None:
        sys.stderr.flush()


def bar(what: str, total: int, unit: str, done: int = 0, *, quiet: bool = False, **options: Any) -> tqdm:
    """Starts a bar.

    Args:
      what: goes on.
      total: what is to be counted.
      unit: of the count.
      done: what is counted before.
      quiet: whether to show nothing.
      options: of tqdm.
    """
    shown: dict[str, Any] = {"unit_scale": total >= 10_000, "disable": quiet} | options
    if sys.stderr.isatty() or "ipykernel" in sys.modules:
        short = "{l_bar}{bar}| {n_fmt}/{total_fmt} [left {remaining}{postfix}]"  # fits 80 columns
        shown |= {"bar_format": short, "mininterval": 0.5, "dynamic_ncols": True}
    else:
        line = f"{{desc}}: {{n_fmt}}/{{total_fmt}} {unit}, left {{remaining}}{{postfix}}"
        shown |= {"bar_format": line, "file": _Lines(), "mininterval": LINE_SECONDS, "maxinterval": LINE_SECONDS}
        shown["delay"] = 0.0 if "postfix" in options else LINE_SECONDS  # what says nothing and is short needs no line
    return tqdm(desc=what, total=total, initial=done, **shown)


class Turn(NamedTuple):
    """A run's place among others.

    Attributes:
      title: what its bar is called.
      to_come: environment steps of all seeds of the runs after it, in multiples of its own.
      bound: what stands before the time left in all: `>` where the runs after it are slower, since they tune, else `~`.
    """

    title: str = ""
    to_come: float = 0.0
    bound: str = "~"


ALONE = Turn()


class RunBar:
    """The bar of a run in training: what its episodes return, which seeds it lost, and about what is left in all."""

    def __init__(self, num_env_steps: int, done: int, turn: Turn, quiet: bool) -> None:
        """Starts the bar where the run goes on, after so many environment steps; its program compiles."""
        self._first, self._turn = done, turn
        self._bar = bar(turn.title, num_env_steps, "steps", done, quiet=quiet, postfix="compiling")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def compiled(self) -> None:
        """The time left counts from here."""
        self._bar.unpause()
        self._clock = time.monotonic()

    def stopping(self) -> None:
        """Says that a signal came."""
        self._bar.set_postfix_str("stopping at the next logging point; a second Ctrl-C stops at once")

    def say_dropped(self, broken: Iterable[Divergence]) -> None:
        """Writes a line to standard error for each seed that diverged."""
        for divergence in broken:
            self._bar.write(f"dropped: {divergence.text}; its state from before is kept", file=sys.stderr)

    def advance(self, env_steps: int, returns: np.ndarray, num_dropped: int) -> None:
        """Shows a logging point: environment steps so far, returns, float [seeds], and how many seeds were dropped."""
        told = [f"return {np.nanmean(returns) if np.isfinite(returns).any() else np.nan:.2f}"]
        if num_dropped:
            told.append(f"{num_dropped} seeds dropped")
        if self._turn.to_come:
            a_step = (time.monotonic() - self._clock) / (env_steps - self._first)
            left = a_step * (self._bar.total * (1.0 + self._turn.to_come) - env_steps)
            told.insert(0, f"in all {self._turn.bound}{tqdm.format_interval(left)}")
        self._bar.set_postfix_str(", ".join(told), refresh=False)
        self._bar.update(env_steps - self._bar.n)
