"""What tests of small runs share: settings that a test can afford, and how such runs are trained and read."""

import csv

import numpy as np

from experiments.runs.seeds import Starts
from experiments.runs.training import train_seeds

TRAINING = [
    *("--num_seeds=2", "--num_envs=4", "--rollout_length=5", "--horizon=2", "--num_env_steps=400"),
    *("--num_channels=4", "--policy_width=8", "--value_width=8"),
]
SMALL = [*TRAINING, "--board_size=3x4", "--time_limit=50"]
TABLES = [*TRAINING, "--environment=tables:process"]
"""Compiles in half the time, for tests that do not depend on the game."""


def train(agent, config, folder=None, **options):
    """Trains the seeds of a run with an agent that need not be that of its settings; returns the metrics' columns."""
    starts = Starts(config.seed + np.arange(config.num_seeds, dtype=np.int32), {})
    return train_seeds(agent, config, starts, folder, **options).metrics


def rows(folder):
    """Returns the rows of a run's metrics, texts by column."""
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))
