"""Builds the agent that a `Config` describes, and many seeds of it in one program."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import chex
import haiku as hk
import jax
import numpy as np
import optax

from agents import agent as agent_lib
from agents import fitting, networks, training
from agents.agent import Agent
from agents.hyperparameters import BIJECTIONS, actor_critic_hyperparameters
from agents.networks import Network, ValueNetwork, actor_critic_network, value_network
from agents.outer_critic import OuterCritic
from agents.training import Learning, TrainingState
from envs.environment import Environment
from experiments.config import agents, estimators, own_code
from experiments.config.own_code import is_own_code
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.config.validation import make_environment
from experiments.runs.layout import over_leading_axis
from metagrad import hyperparameters

NOTHING: Mapping[str, Any] = MappingProxyType({})

# The inner optimizers are differentiated, so the square root's slope must stay finite where a gradient is zero. RMSProp
# is as Optax and arXiv 2211.10550 have it: decay 0.9, and 1e-8 under the root.
INNER_OPTIMIZERS = {
    "adam": optax.scale_by_adam(eps_root=1e-10),
    "rmsprop": optax.scale_by_rms(),
}


def _make_meta_learning_rate(config: Config) -> optax.ScalarOrSchedule:
    """Returns the meta-learning rate: a number, or a function of the meta-updates so far.

    Where it falls, it falls as 1 / updates in the end, as Robbins and Monro (1951) ask: its sum is infinite, so that
    the meta-parameters can go anywhere, and the sum of its squares, and with it the noise that they gather, is not.
    """
    if not config.meta_learning_rate_halving:
        return config.meta_learning_rate
    meta_updates = config.meta_learning_rate_halving / config.updates_per_window
    return lambda count: config.meta_learning_rate / (1.0 + count / meta_updates)


def make_agent(config: Config) -> Agent | Learning:
    """Returns the agent of validated settings, or what their agent's factory makes of it.

    Raises:
      UsageError: if the environment, or code of the user's own, does not fit.
    """
    agent = _actor_critic(config)
    made = _own_agent(config, agent) if is_own_code(config.agent) else agent
    if config.estimator != "none" and config.estimator not in estimators.WEIGHTED:
        try:
            fitting.check_estimator(learning_of(made))
        except ValueError as error:
            raise UsageError(f"`estimator`={config.estimator}: {error}") from error
    return made


def require_agent(config: Config) -> Agent:
    """Makes an agent whose parts are known, as studies and players need them.

    Raises:
      UsageError: as `make_agent`, or if the agent's factory returns what can only be trained.
    """
    made = make_agent(config)
    if not isinstance(made, Agent):
        raise UsageError(f"`agent`={config.agent}: returned a Learning, which can only be trained; this needs an Agent")
    return made


def _actor_critic(config: Config) -> Agent:
    """Returns the agent that settings describe; with a factory for another, it may lack a network that fits."""
    env = make_environment(config)
    network: Network | None = None
    critic: OuterCritic | None = None
    try:
        network, critic_network = _networks(config, env)
        critic = _outer_critic(config, critic_network)
    except ValueError as error:
        if not is_own_code(config.agent):
            raise UsageError(f"`environment`={config.environment}: {error}") from error
    outer = {"discount": config.outer_discount, "lambda": config.outer_lambda, "policy_cost": 1.0}
    if config.outer_value_cost:
        outer["value_cost"] = config.outer_value_cost
    if config.outer_entropy_cost:
        outer["entropy_cost"] = config.outer_entropy_cost
    tuned = [name for name in config.meta_params if name in BIJECTIONS and config.estimator != "none"]
    return Agent(
        env=env,
        network=network,  # type: ignore[arg-type]
        optimizer=INNER_OPTIMIZERS[config.optimizer],
        meta_optimizer=make_meta_optimizer(config),
        tuning=hyperparameters.tune(actor_critic_hyperparameters(config.hyperparameters()), tuned),
        estimator=config.make_estimator(),
        outer_hyperparameters=outer,
        outer_critic=critic if config.outer_critic else None,
        num_envs=config.num_envs,
        rollout_length=config.rollout_length,
        exact_targets=config.exact_targets,
        target_value_cost=config.bootstrap_value_cost,
    )


def _own_agent(config: Config, agent: Agent) -> Agent | Learning:
    """Returns what the agent's factory makes of the agent that the other settings describe.

    An outer critic that it leaves as it was, beside a network of its own, becomes a copy of that network.
    """
    try:
        made = own_code.call(config.agent, agents.NAMES, agent, **agents.options(config.agent_options))
        if isinstance(made, Learning):
            made = made._replace(estimator=agent.estimator, meta_optimizer=agent.meta_optimizer)
            if config.own_hyperparameters:
                raise ValueError("returned a Learning, whose eta starts where it says, not from `hyperparameters`")
        elif isinstance(made, Agent):
            made = dataclasses.replace(made, estimator=agent.estimator, meta_optimizer=agent.meta_optimizer)
            if (made.num_envs, made.rollout_length) != (agent.num_envs, agent.rollout_length):
                raise ValueError("must leave num_envs and rollout_length as they are, which are counted as steps")
            if made.network is None:
                raise ValueError("needs a network, since there is none for such observations")
            fitting.check_network(made.network, made.env)
            if config.outer_critic and made.network is not agent.network and made.outer_critic is agent.outer_critic:
                copy = ValueNetwork(made.network.init, partial(_value, made.network))
                made = dataclasses.replace(made, outer_critic=_outer_critic(config, copy))
            first = agents.first_values(config.own_hyperparameters)
            if not first.keys() <= made.tuning.hyperparameters.keys():
                raise ValueError(f"`hyperparameters` must be among its {', '.join(made.tuning.hyperparameters)}")
            described = made.tuning.hyperparameters
            for name, value in first.items():
                if len(jax.tree.leaves(described[name].initial)) != 1 or np.ndim(described[name].initial):
                    raise ValueError(f"`hyperparameters`={name}:{value} must be of a single number, and {name} is none")
            if not set(config.meta_params) <= described.keys():
                raise ValueError(f"`meta_params` must be among its {', '.join(described)}")
            tuned = () if config.estimator == "none" else config.meta_params
            started = made.tuning.starting_from(first).hyperparameters
            made = dataclasses.replace(made, tuning=hyperparameters.tune(started, tuned))
        else:
            raise ValueError(f"must return an Agent or a Learning, and returned {made!r}")
        fitting.check_learning(learning_of(made))
    except ValueError as error:
        raise UsageError(f"`agent`={config.agent}: {error}") from error
    return made


def _outer_critic(config: Config, network: ValueNetwork) -> OuterCritic:
    step = optax.chain(INNER_OPTIMIZERS[config.optimizer], optax.scale_by_learning_rate(config.learning_rate))
    return OuterCritic(network, step)


def make_meta_optimizer(config: Config) -> optax.GradientTransformation:
    """Returns the meta-optimizer: Adam behind a clip."""
    return optax.chain(
        optax.clip_by_global_norm(config.meta_gradient_clip), optax.adam(_make_meta_learning_rate(config))
    )


def _networks(config: Config, env: Environment) -> tuple[Network, ValueNetwork]:
    """Returns the agent's network, and the outer critic's.

    Raises:
      ValueError: if there is no network for the environment's observations.
    """
    fitting.check_action_mask(env)
    num_axes = networks.observation_axes(fitting.observation_shape(env))
    continuous = hasattr(env, "action_size")
    chosen = actor_critic_network(
        getattr(env, "action_size" if continuous else "num_actions"),
        config.num_channels,
        config.policy_width,
        config.value_width,
        config.shared_torso,
        num_axes=num_axes,
        hidden_layers=config.hidden_layers,
        continuous=continuous,
    )
    if config.hidden_layers > 1:  # a copy of all of it, as the committed runs of the `published` preset have it
        return chosen, ValueNetwork(chosen.init, partial(_value, chosen))
    return chosen, value_network(config.num_channels, config.value_width, num_axes=num_axes)


def _value(network: Network, params: hk.Params, observation: Any) -> chex.Array:
    return network.apply(params, observation).value


def learning_of(agent: Agent | Learning, initial: Mapping[str, chex.Numeric] = NOTHING) -> Learning:
    """Returns what an agent has training know of it; `initial` replaces the first values of some hyperparameters."""
    if isinstance(agent, Learning):
        assert not initial
        return agent
    return agent_lib.learning(dataclasses.replace(agent, tuning=agent.tuning.starting_from(initial)))


def init_seeds(learning: Learning, config: Config) -> TrainingState:
    """Initialises every seed of a run; each depends on its own number alone, not on how many there are.

    Returns:
      The seeds' states, with a leading axis of `num_seeds`.
    """
    return jax.jit(over_leading_axis(partial(init_seed, learning)))(config.seed + jax.numpy.arange(config.num_seeds))


def init_seed(learning: Learning, seed: chex.Numeric) -> TrainingState:
    """Initialises one seed, an int32 []."""
    return training.init(learning, jax.random.key(seed))
