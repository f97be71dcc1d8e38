"""Bars: what goes on, how far it is and how long it still takes. In a file or a pipe they are lines, now and then."""

import math
import operator
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
      title: what its bar is called; the run's settings say so if it is empty.
      in_all: from the run's environment steps to come, the seconds that one takes, None before that is known, and those
        that the run took so far, to what its bar says of all runs.
    """

    title: str = ""
    in_all: Callable[[int, float | None, float], str] = lambda steps, a_step, so_far: ""


ALONE = Turn()


class Series:
    """Runs one after another, and how long they still take by what was measured so far."""

    def __init__(self, configs: Mapping[str, Config]) -> None:
        """Plans runs, given by their settings under their titles, in order."""
        self._configs = configs
        self._measured: dict[str, float] = {}  # seconds of a step of one seed, with their share of compilation

    def turn(self, title: str) -> Turn:
        """Returns a run's place."""
        place = list(self._configs).index(title)

        def in_all(steps: int, a_step: float | None, so_far: float) -> str:
            present, *others = list(self._configs.values())[place:]
            if a_step is not None:
                self.finish(title, so_far + steps * a_step)
            guesses = [self._guess(config) for config in (present, *others)]
            own = guesses[0][0] * present.num_seeds if a_step is None else a_step
            seconds = steps * own + sum(
                guess * config.num_seeds * config.num_env_steps
                for (guess, _), config in zip(guesses[1:], others, strict=True)
            )
            if math.isnan(seconds):
                return "in all ?"
            bound = "~" if all(may_be_less for _, may_be_less in guesses) else ">"
            return f"in all {bound}{tqdm.format_interval(seconds)}"

        return Turn(f"run {place + 1}/{len(self._configs)}, {title}", in_all)

    def finish(self, title: str, seconds: float) -> None:
        """Notes how long a run takes, compilation and earlier calls included."""
        config = self._configs[title]
        self._measured[title] = seconds / config.num_env_steps / config.num_seeds

    def _guess(self, config: Config) -> tuple[float, bool]:
        """Returns the mean seconds of the runs that are most like one, NaN before any, and whether it may take less.

        It does not where it tunes and all that was measured tunes nothing: tuning is work on top of that.
        """

        def kinds(config: Config) -> tuple[Any, Any]:
            return config.estimator == "none", (config.estimator, config.updates_per_window)

        likeness = {
            title: sum(map(operator.eq, kinds(self._configs[title]), kinds(config))) for title in self._measured
        }
        most = max(likeness.values(), default=0)
        alike = [self._measured[title] for title, alike in likeness.items() if alike == most]
        return statistics.fmean(alike) if alike else math.nan, most > 0 or config.estimator == "none"
