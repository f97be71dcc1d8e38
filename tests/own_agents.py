"""Agents of your own, made of the one that the settings describe, for `--agent=own_agents:NAME`."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from agents import training
from agents.networks import Network, Predictions
from agents.policies import Categorical
from examples import own_hyperparameter
from metagrad import InnerProblem, Position, from_weights


def with_network(agent, value_axis=False, fails=False, dtype=None):
    """One with a network for the stairs, which takes no notice of their mask."""

    def apply(params, observation):
        grid = observation.grid.astype(params["value"].dtype)
        value = grid @ params["value"] * (1 / 0 if fails else 1)
        return Predictions(Categorical(grid @ params["logits"]), value if value_axis else value[..., 0])

    dtype = dtype and jnp.dtype(dtype)
    network = Network(lambda *_: {"value": jnp.zeros((5, 1), dtype), "logits": jnp.zeros((5, 3), dtype)}, apply)
    return dataclasses.replace(agent, network=network)


def scalar(agent):
    """No agent of the library's at all: a number that learns the mean of noise; its step size and a matrix are eta."""

    def update(x, eta, data):
        following = x - jnp.exp(eta["log_rate"]) * (x - data.mean()) + 0.0 * eta["matrix"].sum()
        return following, {"error": jnp.square(x - 1.0)}

    def collect(x, eta, actor, key):
        return actor, 1.0 + jax.random.normal(key, (agent.num_envs * agent.rollout_length,))

    def start(key):
        batch_key, training_key = jax.random.split(key)
        x = jnp.float32(0.0)
        return Position(x, (), collect(x, {}, (), batch_key)[1]), training_key

    def report(eta, summary):
        returns = -summary.metrics["error"] / summary.num_updates
        return (
            {"episode_return": returns}
            | training.columns("hyper", eta)
            | training.columns("meta_grad", summary.meta_gradient)
        )

    problem = InnerProblem(update, collect, lambda x, data: jnp.mean(jnp.square(x - data)))
    eta = {"log_rate": jnp.float32(-3.0), "matrix": jnp.zeros((2, 3))}
    return training.Learning(problem, start, eta, None, optax.identity(), report)


def single_step(agent):
    """Another estimator than the settings say."""
    return dataclasses.replace(agent, estimator=from_weights((1.0,)))


def longer(agent):
    """Takes more steps than are counted."""
    return dataclasses.replace(agent, rollout_length=2 * agent.rollout_length)


def clashing(agent):
    """Reports columns of more than one number a seed."""
    own = scalar(agent)
    return own._replace(report=lambda eta, summary: own.report(eta, summary) | {"all": eta["matrix"]})


discount_of_state = own_hyperparameter.discount_of_state
"""An agent, under another name."""


def growing(agent):
    """Its update changes the learner's structure."""
    return dataclasses.replace(agent, update=lambda learner, hyper, rollout: ((learner, 1.0), {}))


def talkative(agent):
    """Its update reports arrays."""
    own = scalar(agent)
    update = own.problem.update
    return own._replace(
        problem=own.problem._replace(update=lambda *inputs: (update(*inputs)[0], {"all": jnp.zeros(3)}))
    )


def nothing(agent):
    """Returns no agent."""
