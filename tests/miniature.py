"""What tests of small runs share: settings that a test can afford, and the rows of their metrics."""

import csv

from experiments.config.settings import Config

TRAINING = [
    "--num_seeds=2",
    "--num_envs=4",
    "--rollout_length=5",
    "--horizon=2",
    "--num_env_steps=400",
    "--num_channels=4",
    "--policy_width=8",
    "--value_width=8",
]
SMALL = [*TRAINING, "--board_size=3x4", "--time_limit=50"]
TABLES = [*TRAINING, "--environment=tables:process"]
"""Compiles in half the time, for tests that do not depend on the game."""

UNUSUAL = Config(
    estimator="multi_step",
    horizon=3,
    meta_params=("lambda", "value_cost"),
    board_size="4x5",
    time_limit=77,
    num_envs=6,
    rollout_length=7,
    learning_rate=0.3,
    meta_learning_rate=0.25,
    meta_learning_rate_halving=0,
    meta_gradient_clip=2.0,
    discount=0.5,
    lambda_=0.6,
    policy_cost=1.5,
    value_cost=0.2,
    entropy_cost=0.04,
    outer_discount=0.8,
    outer_lambda=0.9,
    num_channels=2,
    policy_width=3,
    value_width=5,
)
"""Differs from the defaults wherever a test could take a setting for another."""


def rows(folder):
    """Returns the rows of a run's metrics, texts by column."""
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))
