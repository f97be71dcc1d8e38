"""The training loop of one seed, inside one compiled program. The loop over seeds is `experiments.runs.training`.

Inner updates and meta-updates alternate as `metagrad.windows` says. Everything that repeats, episode statistics and
checks for numbers that are not finite included, happens inside one program; the host sees one summary an interval.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from agents import actor_critic, outer_critic, rollouts
from agents.networks import Network
from agents.outer_critic import CriticState, OuterCritic
from envs.environment import Environment
from metagrad import meta_parameters, windows
from metagrad.estimators import Estimator
from metagrad.meta_parameters import Hyperparameters, MetaParameters, Tuning


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

    @property
    def updates_per_window(self) -> int:
        """Inner updates from one meta-update to the next; one where nothing is tuned."""
        return self.estimator.updates if self.estimator else 1

    @property
    def steps_per_window(self) -> int:
        """Environment steps of a window."""
        rollouts_of_window = self.estimator.rollouts if self.estimator else 1
        return rollouts_of_window * self.num_envs * self.rollout_length


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


QUANTITIES = (
    *("observation", "action_mask", "reward", "truncated", "outer_critic"),
    *("loss/policy", "loss/value", "loss/entropy", "optimizer", "parameters", "meta_grad", "meta_parameters"),
)
"""What is looked at in training, in the order of computing: a rollout, the update that learns from it, a meta-update.

The environment's functions are the first: `observation` and `reward` must be finite, `truncated` must keep to the time
limit, and an `action_mask` must allow something at an episode's start.
"""


class TrainingState(NamedTuple):
    """All that training changes; enough to go on from.

    Attributes:
      position: learner, actor and the batch that the next update uses.
      eta: meta-parameters.
      meta_optimizer_state: of the meta-parameters.
      key: for everything random that is still to come.
      num_updates: int32 [], inner updates so far.
    """

    position: windows.Position
    eta: MetaParameters
    meta_optimizer_state: optax.OptState
    key: chex.PRNGKey
    num_updates: chex.Array


class Summary(NamedTuple):
    """What happened in an interval of training, of one seed.

    Attributes:
      num_updates: int32 [], inner updates.
      num_episodes: int32 [], episodes that ended.
      return_sum: float [], of the returns of these episodes.
      length_sum: float [], of their lengths in steps.
      loss_sums: float [] each, every loss term added up over the updates.
      meta_gradient: of the interval's last window, before clipping; empty where nothing is tuned.
      first_nonfinite: int32 [] for each of `QUANTITIES` that there is (`meta_grad/NAME` for each meta-gradient): the
        number of the update (counted from the start of training) at which it first was NaN or infinite, or not what it
        may be, or -1. A rollout counts to the update that learns from it.
    """

    num_updates: chex.Array
    num_episodes: chex.Array
    return_sum: chex.Array
    length_sum: chex.Array
    loss_sums: dict[str, chex.Array]
    meta_gradient: MetaParameters
    first_nonfinite: dict[str, chex.Array]


def inner_problem(agent: Agent) -> windows.InnerProblem:
    """States the agent's learning as an inner problem that `metagrad` can differentiate."""
    collect_rollout = rollouts.collect(agent.env, agent.network, agent.rollout_length)

    def update(
        learner: actor_critic.LearnerState, eta: MetaParameters, batch: Batch
    ) -> tuple[actor_critic.LearnerState, tuple[Summary, dict[str, chex.Array]]]:
        rollout = batch.rollout
        hyper = meta_parameters.hyperparameters(agent.tuning, eta)
        learner, terms = actor_critic.update(
            agent.network, agent.optimizer, learner, hyper, rollout, agent.exact_targets
        )
        right = _rollout_is_right(agent, batch) | {f"loss/{name}": jnp.isfinite(term) for name, term in terms.items()}
        right |= {"optimizer": _is_finite(learner.optimizer_state), "parameters": _is_finite(learner.params)}
        ended = rollout.terminated | rollout.truncated
        summary = Summary(
            num_updates=jnp.int32(1),
            num_episodes=jnp.sum(ended, dtype=jnp.int32),
            return_sum=jnp.sum(rollout.episode_return, where=ended),
            length_sum=jnp.sum(rollout.episode_length, where=ended, dtype=float),
            loss_sums=terms,
            meta_gradient={},
            first_nonfinite={},
        )
        return learner, (summary, right)

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

    return windows.InnerProblem(update, collect, outer_loss)


def init(agent: Agent, key: chex.PRNGKey) -> TrainingState:
    """Initialises one seed and collects its first batch.

    Args:
      agent: the agent.
      key: the seed's key; everything random in its training derives from it.

    Returns:
      The state before the first update.
    """
    actor_key, learner_key, rollout_key, training_key, critic_key = jax.random.split(key, 5)
    environments = rollouts.start(agent.env, agent.num_envs, actor_key)
    learner = actor_critic.init(agent.network, agent.optimizer, environments.observation, learner_key)
    critic = None
    if agent.outer_critic is not None:
        critic = outer_critic.init(agent.outer_critic, environments.observation, critic_key)
    eta = meta_parameters.initial_meta_parameters(agent.tuning)
    actor, batch = inner_problem(agent).collect(learner, eta, Actor(environments, critic), rollout_key)
    return TrainingState(
        position=windows.Position(learner, actor, batch),
        eta=eta,
        meta_optimizer_state=agent.meta_optimizer.init(eta),
        key=training_key,
        num_updates=jnp.int32(0),
    )


def train(agent: Agent, state: TrainingState, num_windows: chex.Numeric) -> tuple[TrainingState, Summary]:
    """Trains one seed for some windows, or up to the first in which something is not finite.

    Args:
      agent: the agent.
      state: where to go on from.
      num_windows: int32 []; not static, so intervals of any length share one compiled program.

    Returns:
      The next state and the interval's summary. If a seed diverged, its state is that before the window in which it
      did, to the bit, with fewer updates; the summary includes that window and says by `first_nonfinite` what broke.
    """

    def body(carry: tuple[chex.Array, TrainingState, Summary]) -> tuple[chex.Array, TrainingState, Summary]:
        windows_left, state, so_far = carry
        before = state._replace(key=jax.random.clone(state.key))
        following, window = train_window(state)
        healthy = jnp.all(jnp.stack(list(window.first_nonfinite.values())) < 0)
        state = jax.tree.map(partial(jnp.where, healthy), following, before)
        state = state._replace(key=jax.random.clone(state.key))  # one of two, of which only one goes on
        return jnp.where(healthy, windows_left - 1, 0), state, _join(so_far, window)

    train_window = jax.jit(partial(_train_window, agent))  # so that it is traced once, not for its shapes and again
    _, shape = jax.eval_shape(train_window, state)
    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape)
    nothing = nothing._replace(first_nonfinite=jax.tree.map(lambda leaf: leaf - 1, nothing.first_nonfinite))
    start = (jnp.asarray(num_windows, jnp.int32), state, nothing)
    _, state, summary = jax.lax.while_loop(lambda carry: carry[0] > 0, body, start)
    return state, summary


def _train_window(agent: Agent, state: TrainingState) -> tuple[TrainingState, Summary]:
    """Goes through one window and, where there is an estimator, moves the meta-parameters at its end."""
    problem = inner_problem(agent)
    key, window_key = jax.random.split(state.key)
    if agent.estimator:
        gradient, position, (summaries, right) = agent.estimator.estimate(
            problem, state.eta, state.position, window_key
        )
        step, meta_optimizer_state = agent.meta_optimizer.update(gradient, state.meta_optimizer_state, state.eta)
        eta = optax.apply_updates(state.eta, step)
        summary = jax.tree.map(lambda updates: jnp.sum(updates, 0, updates.dtype), summaries)
    else:
        gradient, eta, meta_optimizer_state = {}, state.eta, state.meta_optimizer_state
        position, (summary, right) = windows.advance(problem, eta, state.position, window_key)
        right = jax.tree.map(jnp.atleast_1d, right)
    # The next window's first rollout too: what it spoils would be blamed for it.
    rollout_is_right = _rollout_is_right(agent, position.batch)
    if position.actor_state.outer_critic is not None:
        rollout_is_right["outer_critic"] &= _is_finite(position.actor_state.outer_critic)
    spoilt = ~jnp.all(jnp.stack(list(rollout_is_right.values())))
    at_end = {f"meta_grad/{name}": _is_finite(value) for name, value in gradient.items()}
    if agent.estimator:
        at_end["meta_parameters"] = _is_finite((eta, meta_optimizer_state))
    last = state.num_updates + summary.num_updates
    first_nonfinite = {
        name: _first_wrong(jnp.append(updates, rollout_is_right.get(name, True)), state.num_updates + 1)
        for name, updates in right.items()
    } | {name: _first_wrong((is_right | spoilt)[None], last) for name, is_right in at_end.items()}
    state = TrainingState(position, eta, meta_optimizer_state, key, last)
    return state, summary._replace(meta_gradient=gradient, first_nonfinite=first_nonfinite)


def _rollout_is_right(agent: Agent, batch: Batch) -> dict[str, chex.Array]:
    """Tells what is as it may be in a rollout and in what the outer critic made of it, bool [] each."""
    rollout = batch.rollout
    right = {
        "observation": _is_finite((rollout.observation, rollout.bootstrap_observation)),
        "reward": _is_finite(rollout.reward),
        "truncated": jnp.all(~rollout.truncated | (rollout.episode_length >= agent.env.time_limit)),
    }
    mask = getattr(rollout.observation, "action_mask", None)
    if mask is not None:
        right["action_mask"] = jnp.all(jnp.any(mask, -1) | (rollout.episode_length > 1))
    if batch.outer_targets is not None:
        right["outer_critic"] = _is_finite(batch.outer_targets)
    return right


def _is_finite(tree: Any) -> chex.Array:
    """Tells whether every number of a tree is finite, bool []."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves] or [jnp.bool_(True)]))


def _first_wrong(right: chex.Array, first: chex.Array) -> chex.Array:
    """Returns the number of the first update that is not right, of updates numbered from `first`; -1 without one."""
    return jnp.where(jnp.all(right), -1, first + jnp.argmin(right)).astype(jnp.int32)


def _join(earlier: Summary, later: Summary) -> Summary:
    """Summarises two intervals, one after the other, as one."""
    added = jax.tree.map(jnp.add, earlier, later)
    first_nonfinite = jax.tree.map(
        lambda first, second: jnp.where(first >= 0, first, second), earlier.first_nonfinite, later.first_nonfinite
    )
    return added._replace(meta_gradient=later.meta_gradient, first_nonfinite=first_nonfinite)
