"""`python -m experiments.train` with an agent on tables, which compiles in moments: for processes that are killed."""

import optax
import tables

from experiments import train
from experiments.runs import command_line
from experiments.runs import training as loop
from experiments.runs.building import make_weights

FLAGS = {
    "seed": 5,
    "num_seeds": 2,
    "estimator": "mixing",
    "horizon": 2,
    "meta_params": ("discount", "entropy_cost"),
    "num_envs": tables.NUM_ENVS,
    "rollout_length": tables.LENGTH,
}
"""The settings that the agent has by itself, and a seed."""


def make_agent(config):
    """Stands in for the one of `experiments.runs.building`."""
    return tables.agent(weights=make_weights(config), meta_optimizer=optax.adam(0.05))


if __name__ == "__main__":
    loop.make_agent = make_agent
    command_line.run(train.main, train.define_flags(), "the same command goes on from here")
