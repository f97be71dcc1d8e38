"""What is measured, and how much of it, as data."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

from experiments.config.estimators import BUILT_IN, WEIGHTED
from experiments.config.presets import PRESETS
from experiments.config.settings import Config

SUITES = ("env", "train", "estimators", "seeds", "memory", "compile")


class Scale(NamedTuple):
    """How much is measured.

    Attributes:
      config: of the agents of `train` and `memory`, with one seed; its board is also that of the games by themselves.
      tuned: of those of `estimators` and `seeds`, whose windows take longer, and of those that `memory` compares with
        an agent that tunes nothing.
      estimators: whose time and memory are compared with those of an agent that tunes nothing.
      demo: of the agent whose first step a fresh process is timed for: what `make demo` trains last.
      repeats: rounds of every figure; at least six, or there are no intervals.
      seconds: of one measurement, about.
      windows: of one call, where training is measured. XLA allocates a program's temporary memory anew at each call,
        and a few windows would be measured with its page faults; `paper` trains with calls of 156 updates.
      copies: numbers of games that are played by one program.
      horizons: of the memory's growth; the first is what the others are compared with.
      seeds: numbers of seeds in one program, compared with one.
      product_size: rows and columns of the machine's matrix product.
    """

    config: Config
    tuned: Config
    estimators: tuple[str, ...]
    demo: Config
    repeats: int
    seconds: float
    windows: int
    copies: tuple[int, ...]
    horizons: tuple[int, ...]
    seeds: tuple[int, ...]
    product_size: int


PAPER = Config(**PRESETS["paper"] | {"num_seeds": 1})
FULL = Scale(
    config=PAPER,
    tuned=dataclasses.replace(PAPER, num_envs=32),  # a call is up to 240 rollouts
    estimators=BUILT_IN[1:],
    demo=Config(),
    repeats=6,
    seconds=0.3,
    windows=16,
    copies=(1, 128, 1_024, 16_384),
    horizons=(4, 1, 32),
    seeds=(2, 8),
    product_size=2_048,
)
ACCELERATOR = FULL._replace(
    tuned=PAPER,
    estimators=WEIGHTED,
    copies=(1_024, 16_384, 131_072, 1_048_576),
    seeds=(8, 64),
    product_size=8_192,
)
SMALLEST = Config(
    num_seeds=1,
    horizon=2,
    board_size="3",
    num_envs=2,
    rollout_length=2,
    num_channels=2,
    policy_width=2,
    value_width=3,
    meta_params=("discount",),
)
MINIATURE = Scale(
    *(SMALLEST, SMALLEST, ("mixing",), SMALLEST, 1, 0.0, 2), copies=(2,), horizons=(1, 2), seeds=(2,), product_size=8
)

SCALES: Mapping[str, Scale] = {"full": FULL, "accelerator": ACCELERATOR, "miniature": MINIATURE}
"""By name: what is reported of CPUs, of an accelerator, and as little as goes through all of the code."""
