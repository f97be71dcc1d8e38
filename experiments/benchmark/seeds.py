"""Many seeds in one program against one at a time, each training with mixing."""

from functools import partial

from experiments.benchmark import figures, programs
from experiments.benchmark.figures import STEPS_A_SECOND, Figure, Figures, Side
from experiments.benchmark.settings import Scale

PEERS = ()


def suite(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    return {f"seeds_{number}": partial(_together, scale, number) for number in scale.seeds}


def _together(scale: Scale, num_seeds: int) -> Figure:
    config = scale.config.with_estimator("mixing")
    # One program serves them all, one after another: what it computes takes the same time for every seed.
    alone = Side(programs.training(config, 1), config.steps_per_window)
    together = Side(programs.training(programs.with_seeds(config, num_seeds), 1), num_seeds * config.steps_per_window)
    return figures.race(STEPS_A_SECOND, "one seed at a time", together, alone, scale)
