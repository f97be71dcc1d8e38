"""Builds the agent that a `Config` describes, and many seeds of it in one program."""

from functools import partial
from typing import Any

import chex
import haiku as hk
import jax
import optax

from agents import fitting, networks, training
from agents.networks import Network, ValueNetwork, actor_critic_network, value_network
from agents.outer_critic import OuterCritic
from agents.training import Agent, TrainingState
from envs.environment import Environment
from experiments.config import estimators
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.config.validation import make_environment
from experiments.runs.layout import over_leading_axis
from metagrad import meta_parameters
from metagrad.estimators import Estimator

# The inner optimizers are differentiated, so the square root's slope must stay finite where a gradient is zero. RMSProp
# is as Optax and arXiv 2211.10550 have it: decay 0.9, and 1e-8 under the root.
INNER_OPTIMIZERS = {
    "adam": optax.scale_by_adam(eps_root=1e-10),
    "rmsprop": optax.scale_by_rms(),
}


def make_estimator(config: Config) -> Estimator | None:
    """Returns the estimator of validated settings; None for `none`."""
    decay = config.mixing_decay if config.mixing_weights == "geometric" else 1.0
    return estimators.make(config.estimator, config.horizon, decay)


def make_meta_learning_rate(config: Config) -> optax.ScalarOrSchedule:
    """Returns the meta-learning rate: a number, or a function of the meta-updates so far.

    Where it falls, it falls as 1 / updates in the end, as Robbins and Monro (1951) ask: its sum is infinite, so that
    the meta-parameters can go anywhere, and the sum of its squares, and with it the noise that they gather, is not.
    """
    if not config.meta_learning_rate_halving:
        return config.meta_learning_rate
    meta_updates = config.meta_learning_rate_halving / config.updates_per_window
    return lambda count: config.meta_learning_rate / (1.0 + count / meta_updates)


def make_agent(config: Config, network: Network | None = None) -> Agent:
    """Returns the agent of validated settings.

    Args:
      config: the settings.
      network: in place of one that is chosen by the observations; the outer critic then is a second copy of it, of
        which only the value is used.

    Raises:
      UsageError: if the environment or the network does not fit.
    """
    env = make_environment(config)
    try:
        network, critic_network = _networks(config, env, network)
    except ValueError as error:
        raise UsageError(f"`environment`={config.environment}: {error}") from error
    outer = {"discount": config.outer_discount, "lambda": config.outer_lambda, "policy_cost": 1.0}
    if config.outer_value_cost:
        outer["value_cost"] = config.outer_value_cost
    if config.outer_entropy_cost:
        outer["entropy_cost"] = config.outer_entropy_cost
    critic = OuterCritic(
        critic_network,
        optax.chain(INNER_OPTIMIZERS[config.optimizer], optax.scale_by_learning_rate(config.learning_rate)),
    )
    tuned = () if config.estimator == "none" else config.meta_params
    agent = Agent(
        env=env,
        network=network,
        optimizer=INNER_OPTIMIZERS[config.optimizer],
        meta_optimizer=optax.chain(
            optax.clip_by_global_norm(config.meta_gradient_clip), optax.adam(make_meta_learning_rate(config))
        ),
        tuning=meta_parameters.tune(config.hyperparameters(), tuned),
        estimator=make_estimator(config),
        outer_hyperparameters=outer,
        outer_critic=critic if config.outer_critic else None,
        num_envs=config.num_envs,
        rollout_length=config.rollout_length,
        exact_targets=config.exact_targets,
    )
    if estimators.is_own_code(config.estimator):
        try:
            fitting.check_estimator(agent)
        except ValueError as error:
            raise UsageError(f"`estimator`={config.estimator}: {error}") from error
    return agent


def _networks(config: Config, env: Environment, own: Network | None) -> tuple[Network, ValueNetwork]:
    """Returns the agent's network, and the outer critic's.

    Raises:
      ValueError: if there is no network for the environment's observations, or the own one does not fit.
    """
    if own is not None:
        fitting.check_network(own, env)
        return own, ValueNetwork(own.init, partial(_value, own))
    fitting.check_action_mask(env)
    num_axes = networks.observation_axes(fitting.observation_shape(env))
    chosen = actor_critic_network(
        env.num_actions,
        config.num_channels,
        config.policy_width,
        config.value_width,
        config.shared_torso,
        num_axes=num_axes,
        hidden_layers=config.hidden_layers,
    )
    if config.hidden_layers > 1:  # a copy of all of it, as the committed runs of the `published` preset have it
        return chosen, ValueNetwork(chosen.init, partial(_value, chosen))
    return chosen, value_network(config.num_channels, config.value_width, num_axes=num_axes)


def _value(network: Network, params: hk.Params, observation: Any) -> chex.Array:
    return network.apply(params, observation).value


def init_seeds(agent: Agent, config: Config) -> TrainingState:
    """Initialises every seed of a run; each depends on its own number alone, not on how many there are.

    Returns:
      The seeds' states, with a leading axis of `num_seeds`.
    """
    return jax.jit(over_leading_axis(partial(init_seed, agent)))(config.seed + jax.numpy.arange(config.num_seeds))


def init_seed(agent: Agent, seed: chex.Numeric) -> TrainingState:
    """Initialises one seed, an int32 []."""
    return training.init(agent, jax.random.key(seed))
