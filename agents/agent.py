"""The advantage actor-critic agent in its environment, as something that learns: all its parts, put together.

Each part may be replaced by your own, the inner update with its loss, the network and the hyperparameters too. `report`
says what of it is logged, the columns of `metrics.csv`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import rlax

from agents import actor_critic, outer_critic, rollouts, training
from agents.networks import Network
from agents.outer_critic import CriticState, OuterCritic
from agents.training import Learning, Summary
from envs.environment import Environment
from metagrad import hyperparameters, windows
from metagrad.estimators import Estimator
from metagrad.hyperparameters import Hyperparameter, Hyperparameters, MetaParameters, Tuning

Update = Callable[
    [actor_critic.LearnerState, Hyperparameters, rollouts.Rollout],
    tuple[actor_critic.LearnerState, dict[str, chex.Array]],
]
"""From (learner, hyperparameters, rollout) to the next learner and what is logged, float [] by name."""


@dataclasses.dataclass(frozen=True)
class Agent:
    """Everything about an agent that training does not change.

    Attributes:
      env: the environment.
      network: policy and value function.
      optimizer: gives the direction of an inner update, without a learning rate.
      meta_optimizer: a complete optimizer of the meta-parameters.
      tuning: the hyperparameters and which of them are tuned.
      estimator: of the meta-gradient, or None to leave every hyperparameter as it is.
      outer_hyperparameters: of the outer loss, see `actor_critic.outer_loss`.
      outer_critic: whose advantages the outer loss takes, or None to take those of the agent's own critic.
      num_envs: B, environments of one seed.
      rollout_length: T, steps of a rollout.
      exact_targets: see `actor_critic.update`.
      update: the inner update, or None for `actor_critic.update`.
      target_value_cost: weight of half the squared difference of values, beside the policies' divergence, in the
        distance of bootstrapped meta-gradients.
    """

    env: Environment
    network: Network
    optimizer: optax.GradientTransformation
    meta_optimizer: optax.GradientTransformation
    tuning: Tuning
    estimator: Estimator | None
    outer_hyperparameters: Hyperparameters
    outer_critic: OuterCritic | None
    num_envs: int
    rollout_length: int
    exact_targets: bool = True
    update: Update | None = None
    target_value_cost: float = 0.0

    def with_hyperparameters(self, more: Mapping[str, Hyperparameter]) -> "Agent":
        """Returns the same agent with more hyperparameters, none of which is tuned yet."""
        described = {**self.tuning.hyperparameters, **more}
        return dataclasses.replace(self, tuning=self.tuning._replace(hyperparameters=described))


class Actor(NamedTuple):
    """What collects the data and judges them; never differentiated.

    Attributes:
      environments: where they stand.
      outer_critic: its state, or None without one.
    """

    environments: rollouts.ActorState
    outer_critic: CriticState | None


class Batch(NamedTuple):
    """What one inner update learns from and one outer loss is evaluated on, `tau` in the equations.

    Attributes:
      rollout: the data.
      outer_targets: of the outer loss, by the outer critic from before it learned from this rollout, or None.
    """

    rollout: rollouts.Rollout
    outer_targets: actor_critic.Targets | None


class Metrics(NamedTuple):
    """What an update reports.

    Attributes:
      num_episodes: int32 [], episodes that ended in the rollout.
      return_sum: float [], of the returns of these episodes.
      length_sum: float [], of their lengths in steps.
      loss: float [] by name, the terms of the loss before their costs, or what else your own update reports.
    """

    num_episodes: chex.Array
    return_sum: chex.Array
    length_sum: chex.Array
    loss: dict[str, chex.Array]


def inner_problem(agent: Agent) -> windows.InnerProblem:
    """States the agent's learning as an inner problem that `metagrad` can differentiate."""
    collect_rollout = rollouts.collect(agent.env, agent.network, agent.rollout_length)
    learn = agent.update or partial(
        actor_critic.update, agent.network, agent.optimizer, exact_targets=agent.exact_targets
    )

    def update(
        learner: actor_critic.LearnerState, eta: MetaParameters, batch: Batch
    ) -> tuple[actor_critic.LearnerState, Metrics]:
        rollout = batch.rollout
        learner, terms = learn(learner, hyperparameters.hyperparameters(agent.tuning, eta), rollout)
        ended = rollout.terminated | rollout.truncated
        return learner, Metrics(
            num_episodes=jnp.sum(ended, dtype=jnp.int32),
            return_sum=jnp.sum(rollout.episode_return, where=ended),
            length_sum=jnp.sum(rollout.episode_length, where=ended, dtype=float),
            loss=terms,
        )

    def collect(
        learner: actor_critic.LearnerState, eta: MetaParameters, actor: Actor, key: chex.PRNGKey
    ) -> tuple[Actor, Batch]:
        environments, rollout = collect_rollout(learner.params, actor.environments, key)
        if agent.outer_critic is None:
            return actor._replace(environments=environments), Batch(rollout, None)
        assert actor.outer_critic is not None, "the actor was started without the outer critic's state"
        critic, outer_targets = outer_critic.learn(
            agent.outer_critic, actor.outer_critic, rollout, agent.outer_hyperparameters
        )
        return Actor(environments, critic), Batch(rollout, outer_targets)

    def outer_loss(learner: actor_critic.LearnerState, batch: Batch) -> chex.Array:
        return actor_critic.outer_loss(
            agent.network, agent.outer_hyperparameters, learner, batch.rollout, batch.outer_targets
        )

    def descend(
        learner: actor_critic.LearnerState, eta: MetaParameters, gradient: actor_critic.LearnerState
    ) -> actor_critic.LearnerState:
        values = hyperparameters.hyperparameters(agent.tuning, eta)
        return actor_critic.descend(agent.optimizer, learner, gradient.params, values)

    def distance(learner: actor_critic.LearnerState, target: actor_critic.LearnerState, batch: Batch) -> chex.Array:
        here, there = (agent.network.apply(each.params, batch.rollout.observation) for each in (learner, target))
        divergence = jnp.mean(there.policy.kl_divergence(here.policy))
        if not agent.target_value_cost:
            return divergence
        return divergence + agent.target_value_cost * jnp.mean(rlax.l2_loss(there.value - here.value))

    def log_prob(learner: actor_critic.LearnerState, batch: Batch) -> chex.Array:
        policy = agent.network.apply(learner.params, batch.rollout.observation).policy
        return jnp.sum(policy.log_prob(batch.rollout.action))

    return windows.InnerProblem(update, collect, outer_loss, descend, distance, log_prob, partial(_outcome, agent))


def _outcome(agent: Agent, start: windows.Position) -> Callable[[Batch], chex.Array]:
    """Tells how much more episodes return than was expected where they, or the rollout, began.

    It is expected by the critic of the window's start, corrected by how much that one erred on the first batch.
    Uncorrected, its error would count once an episode, and short episodes, which are many, would seem better or
    worse than they are.
    """
    critic = agent.outer_critic
    params = start.learner_state.params if critic is None else start.actor_state.outer_critic.params
    value = partial(_value, agent.network) if critic is None else critic.network.apply
    hyper = {"discount": agent.outer_hyperparameters["discount"], "lambda": 0.0}

    def surprise(rollout: rollouts.Rollout) -> tuple[chex.Array, chex.Array]:
        """Returns the sum of the temporal differences, and the number of episodes.

        With a discount of one, it is what episodes return less the value where they began.
        """
        values, following = value(params, rollout.observation), value(params, rollout.bootstrap_observation)
        ended = (rollout.terminated | rollout.truncated)[:-1]
        differences = actor_critic.targets(values, following, rollout, hyper).advantages
        return jnp.sum(differences), agent.num_envs + jnp.sum(ended)

    before, num_before = surprise(start.batch.rollout)

    def outcome_of(batch: Batch) -> chex.Array:
        total, number = surprise(batch.rollout)
        return (total - number * before / num_before) / batch.rollout.reward.size

    return outcome_of


def _value(network: Network, params: hk.Params, observation: Any) -> chex.Array:
    return network.apply(params, observation).value


def learning(agent: Agent) -> Learning:
    """States all of an agent's training."""
    return Learning(
        problem=inner_problem(agent),
        start=partial(start, agent),
        eta=hyperparameters.initial_meta_parameters(agent.tuning),
        estimator=agent.estimator,
        meta_optimizer=agent.meta_optimizer,
        report=partial(report, agent),
        rules=partial(rules, agent),
    )


def start(agent: Agent, key: chex.PRNGKey) -> tuple[windows.Position, chex.PRNGKey]:
    """Starts a seed: environments, learner and critic, and a first batch; see `Learning.start`."""
    actor_key, learner_key, rollout_key, training_key, critic_key = jax.random.split(key, 5)
    environments = rollouts.start(agent.env, agent.num_envs, actor_key)
    learner = actor_critic.init(agent.network, agent.optimizer, environments.observation, learner_key)
    critic = None
    if agent.outer_critic is not None:
        critic = outer_critic.init(agent.outer_critic, environments.observation, critic_key)
    eta = hyperparameters.initial_meta_parameters(agent.tuning)
    actor, batch = inner_problem(agent).collect(learner, eta, Actor(environments, critic), rollout_key)
    return windows.Position(learner, actor, batch), training_key


RULES = ("observation", "action_mask", "reward", "truncated", "outer_critic")
"""What an environment is held to: `observation` and `reward` must be finite, `truncated` must keep to the time limit,
and an `action_mask` must allow something at an episode's start. The outer critic must stay finite."""


def rules(agent: Agent, batch: Batch, actor: Actor | None) -> dict[str, chex.Array]:
    """Tells which of the `RULES` are kept, bool [] each; see `Learning.rules`."""
    rollout = batch.rollout
    mask = getattr(rollout.observation, "action_mask", None)
    kept = {
        "observation": _is_finite((rollout.observation, rollout.bootstrap_observation)),
        "action_mask": jnp.bool_(True) if mask is None else jnp.all(jnp.any(mask, -1) | (rollout.episode_length > 1)),
        "reward": _is_finite(rollout.reward),
        "truncated": jnp.all(~rollout.truncated | (rollout.episode_length >= agent.env.time_limit)),
        "outer_critic": _is_finite((batch.outer_targets, actor and actor.outer_critic)),
    }
    return {name: kept[name] for name in RULES}


def _is_finite(tree: Any) -> chex.Array:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves] or [jnp.bool_(True)]))


def report(agent: Agent, eta: MetaParameters, summary: Summary) -> dict[str, Any]:
    """Makes the columns of `metrics.csv`; see `Learning.report`. A mean of nothing is NaN."""
    metrics = summary.metrics
    values = hyperparameters.hyperparameters(agent.tuning, eta)
    with np.errstate(invalid="ignore"):
        made = {
            "episode_return": metrics.return_sum / metrics.num_episodes,
            "episode_length": metrics.length_sum / metrics.num_episodes,
        }
        losses = {f"loss/{name}": total / summary.num_updates for name, total in metrics.loss.items()}
    for prefix, tree in (("hyper", values), ("meta_grad", summary.meta_gradient)):
        for name in agent.tuning.tuned if agent.estimator else ():
            made |= training.columns(f"{prefix}/{name}", jax.tree.map(np.asarray, tree[name]))
    return made | losses
