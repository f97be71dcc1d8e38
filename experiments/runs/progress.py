"""Bars: what goes on, how far it is and how long it still takes. In a file or a pipe they are lines, now and then."""

import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np
from tqdm.auto import tqdm

from experiments.config.settings import Config

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


def notes(*parts: str) -> str:
    """Returns what a bar says at its end."""
    return ", ".join(filter(None, parts))


class Turn(NamedTuple):
    """A run's place among others.

    Attributes:
      title: what its bar is called.
      in_all: from the seconds that the run took so far and those that it still takes, None before that is known, to
        what its bar says of all runs.
    """

    title: str = ""
    in_all: Callable[[float, float | None], str] = lambda so_far, left: ""


ALONE = Turn()


class RunBar:
    """The bar of a run in training: what its episodes return, which seeds it lost, and what is left of all runs."""

    def __init__(self, num_env_steps: int, done: int, seconds: float, turn: Turn, quiet: bool) -> None:
        """Starts the bar where the run goes on, after so many environment steps and seconds; its program compiles."""
        self._first, self._seconds, self._turn = done, seconds, turn
        told = notes(turn.in_all(seconds, None), "compiling")
        self._bar = bar(turn.title, num_env_steps, "steps", done, quiet=quiet, postfix=told)
        self._began = self._clock = time.monotonic()

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

    def say(self, line: str) -> None:
        """Writes a line of its own to standard error."""
        self._bar.write(line, file=sys.stderr)

    def advance(self, env_steps: int, returns: np.ndarray, num_dropped: int) -> None:
        """Shows a logging point: environment steps so far, returns, float [seeds], and how many seeds were dropped."""
        now = time.monotonic()
        left = (now - self._clock) / (env_steps - self._first) * (self._bar.total - env_steps)
        mean = np.nanmean(returns) if np.isfinite(returns).any() else math.nan
        told = notes(
            self._turn.in_all(self._seconds + now - self._began, left),
            f"return {mean:.2f}",
            f"{num_dropped} seeds dropped" if num_dropped else "",
        )
        self._bar.set_postfix_str(told, refresh=False)
        self._bar.update(env_steps - self._bar.n)


class Series:
    """Runs one after another, and how long they still take by what was measured so far."""

    def __init__(self, configs: Mapping[str, Config]) -> None:
        """Plans runs, given by their settings under their titles, in order."""
        self._configs = configs
        self._measured: dict[str, float] = {}  # seconds of a step of one seed, with their share of compilation

    def turn(self, title: str) -> Turn:
        """Returns a run's place."""
        place = list(self._configs).index(title)

        def in_all(so_far: float, left: float | None) -> str:
            if left is not None:
                self.finish(title, so_far + left)
            to_come = list(self._configs.values())[place if left is None else place + 1 :]
            guesses = [self._guess(config) for config in to_come]
            seconds = (left or 0.0) + sum(guess for guess, _ in guesses)
            if math.isnan(seconds):
                return "in all ?"
            return f"in all {'>' if any(least for _, least in guesses) else '~'}{tqdm.format_interval(seconds)}"

        return Turn(f"run {place + 1}/{len(self._configs)}, {title}", in_all)

    def finish(self, title: str, seconds: float) -> None:
        """Notes how long a run takes, compilation and earlier calls included."""
        config = self._configs[title]
        self._measured[title] = seconds / config.num_env_steps / config.num_seeds

    def _guess(self, config: Config) -> tuple[float, bool]:
        """Returns the seconds of a run by those most like it, NaN before any, and whether it takes more than that.

        It does where it tunes and all that was measured tunes nothing: tuning is work on top of that.
        """
        measured = [(self._kind(self._configs[title]), seconds) for title, seconds in self._measured.items()]
        alike = [seconds for kind, seconds in measured if kind == self._kind(config)]
        tunes = config.estimator != "none"
        similar = [seconds for (tuned, *_), seconds in measured if tuned == tunes]
        seconds = statistics.fmean(alike or similar or self._measured.values()) if measured else math.nan
        return seconds * config.num_seeds * config.num_env_steps, tunes and not similar

    @staticmethod
    def _kind(config: Config) -> tuple[bool, str, int]:
        return config.estimator != "none", config.estimator, config.updates_per_window
