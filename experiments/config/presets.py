"""Settings to start from, by the names that `--preset` knows them by."""

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, dict[str, Any]] = {
    "quick": {},
    "paper": {
        "num_seeds": 8,
        "board_size": "12",
        "num_envs": 128,
        "num_env_steps": 25_600_000,
        "discount": 0.99,
        "lambda_": 0.95,
    },
    "published": {
        "board_size": "6",
        "action_mask": False,
        "time_limit": 500,
        "time_limit_terminates": True,
        "num_envs": 512,
        "rollout_length": 5,
        "num_env_steps": 75_008_000,
        "hidden_layers": 2,
        "optimizer": "rmsprop",
        "learning_rate": 5e-4,
        "meta_params": ("discount",),
        "meta_learning_rate": 3e-3,
        "meta_learning_rate_halving": 0,
        "meta_gradient_clip": 0.1,
        "discount": 0.8,
        "lambda_": 0.95,
        "value_cost": 1.0,  # of half the squared error, theirs 0.5 of all of it
        "entropy_cost": 0.01,
        "outer_discount": 0.999,  # theirs is 1, which is out of our range
        "outer_lambda": 1.0,
    },
}
"""Settings by preset: minutes on two CPU cores, the paper's board for an accelerator, or the agents of arXiv 2211.10550
on their game, whose differences from ours results/published_game.md names."""
