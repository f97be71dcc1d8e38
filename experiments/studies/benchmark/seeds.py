"""Many seeds in one program against one at a time, each training with single-step."""

import dataclasses
from functools import partial

from experiments.studies.benchmark import figures, programs
from experiments.studies.benchmark.figures import STEPS_A_SECOND, Figure, Figures, Side
from experiments.studies.benchmark.settings import Scale

PEERS = ()


def suite(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    return {f"seeds_{number}": partial(_together, scale, number) for number in scale.seeds}


def _together(scale: Scale, num_seeds: int) -> Figure:
    config = scale.tuned.with_estimator("single_step")
    # One program serves them all, one after another: what it computes takes the same time for every seed.
    together, alone = (
        Side(
            programs.training(dataclasses.replace(config, num_seeds=number), scale.windows),
            number * scale.windows * config.steps_per_window,
        )
        for number in (num_seeds, 1)
    )
    return figures.race(STEPS_A_SECOND, "one seed at a time", together, alone, scale)
