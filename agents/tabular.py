"""The agent on a tabular environment, sampled and exact: the truth that estimates of a meta-gradient are held against.

`exact_problem` is the inner problem in the limit of infinitely many environments. A batch is then a distribution of
data, and the update follows the expectation of the actor-critic gradient over rollouts of T steps. That gradient is
linear in the lambda-returns, whose expectations given step, state and action follow by recursion, so nothing is
approximated. Its horizon gradients are the limits of the sampled ones as the number B of environments grows; as there,
the data are constants. `return_gradients` holds nothing constant: it differentiates the true discounted return, which
expected updates lead to, the data's dependence on the parameters included. `truth` computes both in double precision,
whatever JAX is set to, and `study_agent` is the problem to study estimators on.

Critics have a limit too, that of learning for so long that they are right. An agent with an outer critic has its limit
in the exact problem: the true values of the policy under the outer discount. `converged_problem` puts the agent's own
critic in the same place, under the tuned discount.
"""

from typing import NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents import actor_critic, rollouts
from agents.actor_critic import LearnerState
from agents.agent import Actor, Agent, inner_problem
from agents.hyperparameters import actor_critic_hyperparameters
from agents.networks import Predictions, tabular_network
from envs import processes, tabular
from envs.tabular import Tabular
from metagrad import hyperparameters, windows
from metagrad.hyperparameters import Hyperparameters, MetaParameters


class ExpectedRollout(NamedTuple):
    """The distribution of a rollout's data, as if of infinitely many environments.

    Attributes:
      states: float [T, S], the probabilities of the state that each step's action is taken in.
      policy: float [S, A], the policy that the actions are sampled from.
    """

    states: chex.Array
    policy: chex.Array


class Truth(NamedTuple):
    """The true meta-gradients of each horizon 1, ..., n; trees like `eta`, of float64 [n].

    Attributes:
      horizon_gradients: of the outer loss through expected updates with the data held constant: the limit of the
        sampled `g_k` as B grows. Points downhill.
      return_gradients: of the true return, see `return_gradients`. Points uphill.
    """

    horizon_gradients: MetaParameters
    return_gradients: MetaParameters


def expected_targets(
    mdp: Tabular, values: chex.Array, rollout: ExpectedRollout, hyper: Hyperparameters
) -> actor_critic.Targets:
    """Computes the expectations of `actor_critic.targets` given step, state and action.

        G_t(s, a) = r(s, a) + gamma sum_s' P(s' | s, a) ((1 - lambda) v(s') + lambda sum_a' b(a' | s') G_{t+1}(s', a'))

    The sum is over states that are not terminal; `b` is the policy that collected the data. After the last step,
    `v(s')` stands for what would have followed.

    Args:
      mdp: the environment.
      values: float [S].
      rollout: the data.
      hyper: `discount` and `lambda`, float [] each.

    Returns:
      The targets, float [T, S, A] each, differentiable in values and hyperparameters.
    """
    going_on = jnp.asarray(tabular.going_on(mdp))
    # Of states alone, which is A times less to go through at each step; actions follow for all steps at once.
    on = jnp.einsum("sa,sax->sx", rollout.policy, going_on)
    rewards = jnp.sum(rollout.policy * mdp.rewards, -1)

    def body(following: chex.Array, _: None) -> tuple[chex.Array, chex.Array]:
        mixed = (1.0 - hyper["lambda"]) * values + hyper["lambda"] * following
        return rewards + hyper["discount"] * (on @ mixed), mixed

    _, mixed = jax.lax.scan(body, values, length=rollout.states.shape[0], reverse=True)
    returns = mdp.rewards + hyper["discount"] * jnp.einsum("sax,tx->tsa", going_on, mixed)
    return actor_critic.Targets(returns, returns - values[:, None])


def expected_loss(
    predictions: Predictions, rollout: ExpectedRollout, targets: actor_critic.Targets, costs: Hyperparameters
) -> tuple[chex.Array, dict[str, chex.Array]]:
    """Computes the expectation of `actor_critic.loss` over rollouts.

    The value term lacks the variance of the lambda-returns, a constant that no gradient sees.

    Args:
      predictions: of all states, a policy with logits [S, A], and values [S].
      rollout: the data.
      targets: float [T, S, A] each, constants for the gradient in `predictions`.
      costs: as in `actor_critic.loss`.

    Returns:
      The loss, float [], and its terms.
    """
    frequencies = rollout.states[:, :, None] * rollout.policy / rollout.states.shape[0]
    log_policy = jax.nn.log_softmax(predictions.policy.logits)
    errors = targets.returns - predictions.value[:, None]
    negative_entropies = jnp.sum(jnp.exp(log_policy) * log_policy, -1)
    terms = {
        "policy": -jnp.sum(frequencies * targets.advantages * log_policy),
        "value": jnp.sum(frequencies * errors**2) / 2.0,
        "entropy": jnp.mean(rollout.states @ negative_entropies),
    }
    return actor_critic.weigh(terms, costs), terms


def exact_problem(agent: Agent) -> windows.InnerProblem:
    """States the agent's learning with infinitely many environments as an inner problem without any noise.

    The actor's state is the distribution of the environments' states, float [S], and a batch an `ExpectedRollout`. The
    agent's `num_envs`, an `update` of its own and the keys play no part. With an outer critic, the outer loss takes its
    advantages from what that critic learns in the end: the true values of the policy that collected the data, under
    the outer discount.

    Args:
      agent: the agent, whose environment is a `Tabular`.

    Returns:
      The problem. Everything in it can be differentiated, `collect` included.

    Raises:
      TypeError: if the environment is another.
    """
    mdp = _environment(agent)

    def update(
        learner: LearnerState, eta: MetaParameters, rollout: ExpectedRollout
    ) -> tuple[LearnerState, dict[str, chex.Array]]:
        hyper = hyperparameters.hyperparameters(agent.tuning, eta)
        predictions, pullback = jax.vjp(lambda params: _predictions(agent, params), learner.params)
        values = predictions.value if agent.exact_targets else jax.lax.stop_gradient(predictions.value)
        constants = expected_targets(mdp, values, rollout, hyper)
        slope, terms = jax.grad(expected_loss, has_aux=True)(predictions, rollout, constants, hyper)
        return actor_critic.descend(agent.optimizer, learner, pullback(slope)[0], hyper), terms

    def collect(
        learner: LearnerState, eta: MetaParameters, states: chex.Array, key: chex.PRNGKey
    ) -> tuple[chex.Array, ExpectedRollout]:
        del key
        policy = jax.nn.softmax(_predictions(agent, learner.params).policy.logits)
        *along, end = tabular.state_distributions(mdp, policy, states, agent.rollout_length)
        return end, ExpectedRollout(jnp.stack(along), policy)

    def outer_loss(learner: LearnerState, rollout: ExpectedRollout) -> chex.Array:
        predictions = _predictions(agent, learner.params)
        values = predictions.value
        if agent.outer_critic is not None:
            values = tabular.state_values(mdp, rollout.policy, agent.outer_hyperparameters["discount"])
        constants = expected_targets(mdp, values, rollout, agent.outer_hyperparameters)
        return expected_loss(predictions, rollout, jax.lax.stop_gradient(constants), agent.outer_hyperparameters)[0]

    return windows.InnerProblem(update, collect, outer_loss)


def converge_critic(agent: Agent, learner: LearnerState, eta: MetaParameters) -> LearnerState:
    """Sets the critic to the true values of the policy under the tuned discount.

    Args:
      agent: the agent, whose environment is a `Tabular` and whose network a `tabular_network`.
      learner: whose policy to evaluate.
      eta: meta-parameters.

    Returns:
      The learner with the same policy, differentiable in policy and eta.
    """
    discount = hyperparameters.hyperparameters(agent.tuning, eta)["discount"]
    policy = jax.nn.softmax(_predictions(agent, learner.params).policy.logits)
    values = tabular.state_values(_environment(agent), policy, discount)
    return learner._replace(params={**learner.params, "value": {"table": values}})


def converged_problem(agent: Agent) -> windows.InnerProblem:
    """States the exact problem of an agent whose critic converges after every update of the policy.

    The update as a map is differentiated as everywhere: from the second update of a window on, the meta-gradient sees
    that the critic moves with policy and discount. A window starts from the critic that it is given.

    Args:
      agent: as in `converge_critic`. No value cost is needed.

    Returns:
      The problem.
    """
    problem = exact_problem(agent)

    def update(
        learner: LearnerState, eta: MetaParameters, rollout: ExpectedRollout
    ) -> tuple[LearnerState, dict[str, chex.Array]]:
        learner, terms = problem.update(learner, eta, rollout)
        return converge_critic(agent, learner, eta), terms

    return problem._replace(update=update)


def exact_start(agent: Agent, learner: LearnerState, states: chex.Array) -> windows.Position:
    """Starts a window of the exact problem.

    Args:
      agent: the agent, whose environment is a `Tabular`.
      learner: `x_0`.
      states: float [S], the distribution of the states that the environments are in when `tau_0` starts.

    Returns:
      The position, `tau_0` included.
    """
    return windows.Position(learner, *exact_problem(agent).collect(learner, {}, states, None))


def sampled_start(agent: Agent, learner: LearnerState, states: chex.Array, key: chex.PRNGKey) -> windows.Position:
    """Starts a window of the sampled problem, independently drawn from where `exact_start` starts.

    Args:
      agent: the agent, whose environment is a `Tabular`.
      learner: `x_0`.
      states: float [S], the distribution that the B environments' states are drawn from.
      key: for the states and `tau_0`.

    Returns:
      The position, `tau_0` included.

    Raises:
      ValueError: if the agent has an outer critic.
    """
    if agent.outer_critic is not None:
        raise ValueError("agent must have no outer critic: sampled windows do not know where its learning stands")
    states_key, rollout_key = jax.random.split(key)
    drawn = jax.random.choice(states_key, states.shape[0], (agent.num_envs,), p=states).astype(jnp.int32)
    actor = Actor(rollouts.start_from(agent.env, drawn), None)
    return windows.Position(learner, *inner_problem(agent).collect(learner, {}, actor, rollout_key))


def return_gradients(
    agent: Agent,
    horizon: int,
    eta: MetaParameters,
    start: windows.Position,
    problem: windows.InnerProblem | None = None,
) -> MetaParameters:
    """Computes what a meta-gradient is after, `d/d eta J(theta_k(eta))` for k = 1, ..., n.

    `J` is the discounted return of an episode under the outer discount, and theta_k is reached by k expected updates.
    Nothing after `start` is held constant: theta_k also moves with the data that the parameters before it collect.

    Args:
      agent: the agent, whose environment is a `Tabular`.
      horizon: n, at least 1.
      eta: meta-parameters, a tree of floats.
      start: of the problem, a constant.
      problem: whose updates to do; by default those of `exact_problem`.

    Returns:
      The gradients, like `eta` with a leading axis n. They point uphill, where those of an outer loss point downhill.
    """
    mdp, problem = _environment(agent), problem or exact_problem(agent)

    def expected_return(eta: MetaParameters) -> chex.Array:
        def body(position: windows.Position, _: None) -> tuple[windows.Position, chex.Array]:
            learner, _ = problem.update(position.learner_state, eta, position.batch)
            actor, batch = problem.collect(learner, eta, position.actor_state, None)
            value = tabular.discounted_return(mdp, batch.policy, agent.outer_hyperparameters["discount"])
            return windows.Position(learner, actor, batch), value

        return jax.lax.scan(body, start, length=horizon)[1]

    return jax.jacfwd(expected_return)(eta)


def truth(agent: Agent, learner: LearnerState, states: chex.Array, eta: MetaParameters, horizon: int) -> Truth:
    """Computes the true meta-gradients in double precision, in a process of any precision. Not to be jitted.

    Args:
      agent: the agent, whose environment is a `Tabular`.
      learner: `x_0`.
      states: float [S], as in `exact_start`.
      eta: meta-parameters.
      horizon: n, at least 1.

    Returns:
      The truth for these very inputs, as NumPy arrays.
    """
    inputs = jax.tree.map(np.asarray, (learner, states, eta))
    with jax.enable_x64(True):
        learner, states, eta = jax.tree.map(
            lambda leaf: jnp.asarray(leaf, jnp.float64 if np.issubdtype(leaf.dtype, np.floating) else None), inputs
        )

        @jax.jit
        def compute(learner: LearnerState, states: chex.Array, eta: MetaParameters) -> Truth:
            start = exact_start(agent, learner, states)
            # The exact problem ignores the key.
            gradients, _, _ = windows.horizon_gradients(exact_problem(agent), horizon, eta, start, jax.random.key(0))
            return Truth(gradients, return_gradients(agent, horizon, eta, start))

        return jax.tree.map(np.asarray, compute(learner, states, eta))


def study_agent(num_envs: int) -> Agent:
    """Builds the agent whose meta-gradients are studied: tables, plain gradient descent, a chain with a distractor.

    The discount starts just below the chain's threshold of 0.63, so the agent takes what is at hand, where the outer
    loss would have it walk to the end. The learning rate is large enough to curve the path of the parameters: with few
    environments the meta-gradients are biased, by about a fifth with 4 and by less than a tenth with 16.

    Args:
      num_envs: B.

    Returns:
      The agent; it tunes the discount and lambda.
    """
    mdp = processes.chain(length=3, distractor_reward=0.4)
    costs = {"policy_cost": 1.0, "value_cost": 0.25, "entropy_cost": 0.02}
    initial = {"discount": 0.6, "lambda": 0.8, "learning_rate": 8.0} | costs
    return Agent(
        env=mdp,
        network=tabular_network(mdp.num_states, mdp.num_actions),
        optimizer=optax.identity(),
        meta_optimizer=optax.adam(1e-2),
        tuning=hyperparameters.tune(actor_critic_hyperparameters(initial), ["discount", "lambda"]),
        estimator=None,
        outer_hyperparameters={"discount": 0.99, "lambda": 0.95, "policy_cost": 1.0},
        outer_critic=None,
        num_envs=num_envs,
        rollout_length=6,
    )


def _environment(agent: Agent) -> Tabular:
    if not isinstance(agent.env, Tabular):
        raise TypeError(f"the agent's environment must be a Tabular, got {type(agent.env).__name__}")
    return agent.env


def _predictions(agent: Agent, params: hk.Params) -> Predictions:
    return agent.network.apply(params, jnp.eye(_environment(agent).num_states))
