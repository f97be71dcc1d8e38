"""The Discounting Chain in expectation: horizon gradients, and learning curves without any noise of sampling.

Both critics are at their limits (see `agents.tabular`), as in the study of Bonnet, Midgley and Laterre: what is left
between them is the discount that they are for. Gradients are told uphill and for an episode, `-T` times those of the
outer loss, which is a mean over the T steps of an episode: in the units of the return's own gradient.
"""

from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.special import logit

from agents import actor_critic, networks, tabular
from agents.agent import Agent
from agents.hyperparameters import actor_critic_hyperparameters
from agents.outer_critic import OuterCritic
from envs import processes
from envs.tabular import Tabular
from metagrad import estimators, hyperparameters, windows
from metagrad.estimators import Weights, from_weights
from metagrad.hyperparameters import MetaParameters
from metagrad.windows import InnerProblem, Position

REWARD_STEPS = processes.BSUITE_REWARD_STEPS
BONUS_CHAIN = 3
"""The paper's: the chain that pays after 30 steps has the bonus."""

INITIAL_DISCOUNT, OUTER_DISCOUNT = 0.95, 1.0
"""The paper's."""

LEARNING_RATE = 50.0
"""A hundred times the paper's, so that 400 updates do what 40,000 would: without noise, steps may be long."""

META_LEARNING_RATE = 0.1
"""The paper's, for an inner update: an estimator that moves the discount every n updates moves it n times as far."""

INNER_CRITIC, OUTER_CRITIC, RETURN = CRITERIA = ("inner_critic", "outer_critic", "return")
"""What the meta-gradient is of: the outer loss with either critic, or the true return."""

ESTIMATORS: dict[str, Weights] = {"single_step": estimators.single_step(), "mixing": estimators.mixing(5)}


def environment() -> Tabular:
    """Returns the process that is studied."""
    return processes.discounting_chain(BONUS_CHAIN, REWARD_STEPS)


def make_agent(lambda_: float, criterion: str, weights: Weights) -> Agent:
    """Builds an agent of tables, with plain gradient descent and rollouts of an episode, that tunes its discount.

    Lambda is that of both losses; there is an outer critic if that is the criterion, one of `CRITERIA`.
    """
    mdp = environment()
    initial = {
        "discount": INITIAL_DISCOUNT,
        "lambda": lambda_,
        "policy_cost": 1.0,
        # With the learning rate, critics take half of their error away where all environments pass at one of the steps.
        "value_cost": 1.0,
        "entropy_cost": 0.005,
        "learning_rate": LEARNING_RATE,
    }
    critic = OuterCritic(networks.tabular_critic(mdp.num_states), optax.sgd(LEARNING_RATE))
    return Agent(
        env=mdp,
        network=networks.tabular_network(mdp.num_states, mdp.num_actions),
        optimizer=optax.identity(),
        # As the policy settles, gradients shrink by powers of ten within a hundred updates: a long memory of their size
        # would freeze the discount, and so would the epsilon that is usual.
        meta_optimizer=optax.adam(META_LEARNING_RATE * max(len(weights), 1), b2=0.95, eps=1e-20),
        tuning=hyperparameters.tune(actor_critic_hyperparameters(initial), ["discount"]),
        estimator=from_weights(weights) if weights else None,
        outer_hyperparameters={"discount": OUTER_DISCOUNT, "lambda": lambda_, "policy_cost": 1.0},
        outer_critic=critic if criterion == OUTER_CRITIC else None,
        num_envs=32,
        rollout_length=REWARD_STEPS[-1],
    )


def horizon_gradients(
    lambda_: float, discounts: Sequence[float], horizon: int, ages: Sequence[int]
) -> list[dict[str, Any]]:
    """Computes the meta-gradients of the discount at horizons 1, ..., n, for some discounts of agents at some ages.

    An age is the number of updates since the uniform policy, `num_updates` of what is returned for each age and each
    discount. It has under each of `CRITERIA` float64 [n], uphill, of an episode's return by the discount's log-odds;
    and under `chains`, float64 [C], the policy's probabilities of choosing each chain.
    """
    agents = {criterion: make_agent(lambda_, criterion, ()) for criterion in CRITERIA}
    agent = agents[INNER_CRITIC]

    @jax.jit
    def compute(eta: MetaParameters, age: chex.Array) -> dict[str, chex.Array]:
        start = advance(tabular.converged_problem(agent), eta, uniform_start(agent, eta), age)
        gradients = {
            criterion: _gradients(agents[criterion], criterion, horizon, eta, start)[0]["discount"]
            for criterion in CRITERIA
        }
        return gradients | {"chains": start.batch.policy[0]}

    with jax.enable_x64(True):
        moved = [{"discount": jnp.asarray(logit(discount) - logit(INITIAL_DISCOUNT))} for discount in discounts]
        return [
            {"lambda": lambda_, "num_updates": age, "discount": discount}
            | jax.tree.map(np.asarray, compute(eta, jnp.asarray(age)))
            for age in ages
            for discount, eta in zip(discounts, moved, strict=True)
        ]


def learn(lambda_: float, estimator: str, criterion: str, num_updates: int) -> dict[str, Any]:
    """Trains an agent in expectation, by one of `ESTIMATORS` or with a discount that is `fixed`.

    Returns what there was before the first update of each of N windows: `updates` so far, a list of int; `discount`,
    `episode_return` and `bonus_probability`, that of choosing the chain with the bonus, float64 [N] each.
    """
    weights = ESTIMATORS.get(estimator, ())
    agent = make_agent(lambda_, criterion, weights)
    problem = tabular.converged_problem(agent)

    def body(carry: tuple[Position, MetaParameters, optax.OptState], _: None) -> tuple[tuple, tuple]:
        position, eta, meta_state = carry
        discount = hyperparameters.hyperparameters(agent.tuning, eta)["discount"]
        seen = discount, position.batch.policy[0]
        if not weights:
            return (advance(problem, eta, position, 1), eta, meta_state), seen
        gradients, position = _gradients(agent, criterion, len(weights), eta, position)
        downhill = jax.tree.map(jnp.negative, windows.combine(weights, gradients))
        step, meta_state = agent.meta_optimizer.update(downhill, meta_state, eta)
        return (position, optax.apply_updates(eta, step), meta_state), seen

    @jax.jit
    def run() -> tuple[chex.Array, chex.Array]:
        eta = hyperparameters.initial_meta_parameters(agent.tuning)
        carry = (uniform_start(agent, eta), eta, agent.meta_optimizer.init(eta))
        return jax.lax.scan(body, carry, length=num_updates // max(len(weights), 1))[1]

    with jax.enable_x64(True):
        discount, chains = map(np.asarray, run())
    return {
        "lambda": lambda_,
        "estimator": estimator,
        "criterion": criterion,
        "updates": list(range(0, num_updates, max(len(weights), 1))),
        "discount": discount,
        "episode_return": chains @ chain_rewards(),
        "bonus_probability": chains[:, BONUS_CHAIN],
    }


def chain_rewards() -> np.ndarray:
    """Returns what each chain pays, float [C]."""
    return 1.0 + processes.BONUS * (np.arange(len(REWARD_STEPS)) == BONUS_CHAIN)


def uniform_start(agent: Agent, eta: MetaParameters) -> Position:
    """Starts from the uniform policy, with the critic converged, and all environments at an episode's start."""
    mdp = environment()
    learner = actor_critic.init(agent.network, agent.optimizer, jnp.eye(mdp.num_states), jax.random.key(0))
    learner = tabular.converge_critic(agent, learner, eta)
    return tabular.exact_start(agent, learner, jnp.asarray(mdp.start))


def advance(problem: InnerProblem, eta: MetaParameters, position: Position, num_updates: chex.Numeric) -> Position:
    """Does some updates of an exact problem, which ignores the key."""

    def body(_: int, position: Position) -> Position:
        return windows.advance(problem, eta, position, jax.random.key(0))[0]

    return jax.lax.fori_loop(0, num_updates, body, position)


def _gradients(
    agent: Agent, criterion: str, horizon: int, eta: MetaParameters, start: Position
) -> tuple[MetaParameters, Position]:
    """Returns the gradients of horizons 1, ..., n, uphill and for an episode, and the window's end."""
    problem = tabular.converged_problem(agent)
    if criterion == RETURN:
        return tabular.return_gradients(agent, horizon, eta, start, problem), advance(problem, eta, start, horizon)
    gradients, end, _ = windows.horizon_gradients(problem, horizon, eta, start, jax.random.key(0))
    return jax.tree.map(lambda leaf: -agent.rollout_length * leaf, gradients), end
