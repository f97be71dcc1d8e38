"""Hyperparameters of your own: Adam's b1, tuned beside the entropy cost; and a network of the state as discount.

    python examples/own_hyperparameter.py

The commands take them as well:
    python -m experiments.train --agent=examples.own_hyperparameter:momentum --meta_params=b1 --logdir=runs/b1
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from agents import actor_critic
from agents.agent import Agent
from agents.fitting import observation_shape
from experiments.config.settings import Config
from experiments.runs.training import Result, train
from metagrad import REAL, UNIT, Hyperparameter


def momentum(agent: Agent) -> Agent:
    """Has Adam's `b1` for a hyperparameter: of what Optax injects, the update takes those that there are."""
    optimizer = optax.inject_hyperparams(optax.scale_by_adam)(b1=0.9, eps_root=1e-10)
    return dataclasses.replace(agent, optimizer=optimizer).with_hyperparameters({"b1": Hyperparameter(0.9, UNIT)})


def discount_of_state(agent: Agent, units: int = 4, discount: float = 0.97) -> Agent:
    """Discounts by a small network of the state, whose weights are the hyperparameter; it says `discount` at first."""
    size = sum(leaf.size for leaf in jax.tree.leaves(_grid(observation_shape(agent.env))))
    weights = {
        "hidden": jax.random.normal(jax.random.key(0), (size, units)) / jnp.sqrt(size),
        "output": jnp.zeros(units),
        "bias": jnp.log(discount / (1.0 - discount)),
    }

    def update(learner, hyper, rollout):
        grids = _grid(rollout.observation)
        states = grids.reshape(*rollout.reward.shape, size).astype(rollout.reward.dtype)
        network = hyper["discount_of_state"]
        log_odds = jnp.tanh(states @ network["hidden"]) @ network["output"] + network["bias"]
        hyper = {**hyper, "discount": jax.nn.sigmoid(log_odds)}
        return actor_critic.update(agent.network, agent.optimizer, learner, hyper, rollout)

    agent = dataclasses.replace(agent, update=update)
    return agent.with_hyperparameters({"discount_of_state": Hyperparameter(weights, REAL)})


def _grid(observation):
    return getattr(observation, "grid", observation)


def main(**settings) -> dict[str, Result]:
    """Trains agents with each on Catch, and prints how far their hyperparameters moved."""
    shared = {"environment": "catch", "num_seeds": 2, "num_env_steps": 64_000}
    chosen = {"momentum": ("entropy_cost", "b1"), "discount_of_state": ("discount_of_state",)}
    results = {
        name: train(Config(**shared | {"agent": f"{__name__}:{name}", "meta_params": tuned} | settings))
        for name, tuned in chosen.items()
    }
    for result in results.values():
        for column, values in result.metrics.items():
            if column.startswith("hyper/"):
                print(f"{column}: from {values[0].mean():.4f} to {values[-1].mean():.4f}")
    return results


if __name__ == "__main__":
    main()
