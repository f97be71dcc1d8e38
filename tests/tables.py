"""An agent on tables, which compiles in moments: for how parts are put together, whatever the network and the game."""

from functools import partial

import jax
import numpy as np
import optax

from agents.agent import Agent, learning
from agents.hyperparameters import actor_critic_hyperparameters
from agents.networks import ValueNetwork, tabular_network
from agents.outer_critic import OuterCritic
from agents.training import TrainingState, init
from envs.tabular import Tabular
from metagrad import from_weights, hyperparameters

NUM_STATES, NUM_ACTIONS = 5, 3
NUM_ENVS, LENGTH = 4, 6
INNER = {
    "discount": 0.6,
    "lambda": 0.5,
    "policy_cost": 1.0,
    "value_cost": 0.5,
    "entropy_cost": 0.02,
    "learning_rate": 0.5,
}
OUTER = {"discount": 0.95, "lambda": 0.9, "policy_cost": 1.0}


def process(termination=0.15, num_states=NUM_STATES, num_actions=NUM_ACTIONS):
    """A random process whose last state is terminal and entered with one probability from everywhere.

    As `--environment=tables:process` it has the commands train a network that is not a table, yet compiles quickly.
    """
    rng = np.random.default_rng(0)
    going_on = rng.dirichlet(np.ones(num_states - 1), (num_states, num_actions)) * (1.0 - termination)
    return Tabular(
        transitions=np.concatenate([going_on, np.full((num_states, num_actions, 1), termination)], -1),
        rewards=rng.normal(size=(num_states, num_actions)),
        is_terminal=np.arange(num_states) == num_states - 1,
        start=np.append(np.full(num_states - 1, 1.0 / (num_states - 1)), 0.0),
    )


def critic(optimizer=None):
    """An outer critic that is a table."""
    network = ValueNetwork(
        lambda key, observation: {"table": {"v": 0.1 * np.arange(NUM_STATES, dtype=np.float32)}},
        lambda params, observation: observation @ params["table"]["v"],
    )
    return OuterCritic(network, optimizer or optax.adam(0.1))


def agent(termination=0.15, weights=(), **changes):
    """The agent; it tunes discount and entropy cost, if it has weights."""
    settings = {
        "env": process(termination),
        "network": tabular_network(NUM_STATES, NUM_ACTIONS, scale=0.7),
        "optimizer": optax.scale_by_adam(eps_root=1e-8),
        "meta_optimizer": optax.sgd(0.5, momentum=0.9),
        "tuning": hyperparameters.tune(actor_critic_hyperparameters(INNER), ["discount", "entropy_cost"]),
        "estimator": from_weights(weights) if weights else None,
        "outer_hyperparameters": OUTER,
        "outer_critic": critic(),
        "num_envs": NUM_ENVS,
        "rollout_length": LENGTH,
    }
    return Agent(**settings | changes)


def start(agent: Agent, seed: int = 0) -> TrainingState:
    """Returns the agent's first state, by one program: each operation by itself would be compiled too."""
    return jax.jit(partial(init, learning(agent)))(jax.random.key(seed))
