"""A tabular environment, whose every expectation is a sum: the testbed where the truth is computable.

It is an `environment.Environment` like any other, so an agent runs on it unchanged. Beside it stand the exact
functions of a policy, a table [S, A] of probabilities: the process of states with its resets, the distribution of
states along a rollout, state values and the discounted return. All are differentiable in the policy.

Terminal states are states too, left by the automatic reset as soon as they are entered. The tables are NumPy's, in
double precision; what is computed with them has the precision that JAX is set to.
"""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Tabular:
    """A Markov decision process with S states and A actions; hashable by identity. An environment state is int32 [].

    Attributes:
      transitions: float64 [S, A, S], probabilities of the next state. Those of terminal states are never used.
      rewards: float64 [S, A], of an action in a state, wherever it leads.
      is_terminal: bool [S], where episodes end.
      start: float64 [S], probabilities of an episode's first state; no terminal state among them.

    Raises:
      ValueError: if shapes do not fit each other, if probabilities are negative or do not sum to one, or if a terminal
        state is a first state.
    """

    transitions: np.ndarray
    rewards: np.ndarray
    is_terminal: np.ndarray
    start: np.ndarray

    def __post_init__(self) -> None:
        states, actions = self.rewards.shape
        shapes = {"transitions": (states, actions, states), "is_terminal": (states,), "start": (states,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {getattr(self, name).shape}")
        for name in ("transitions", "start"):
            probabilities = getattr(self, name)
            if probabilities.min() < 0.0 or not np.allclose(probabilities.sum(-1), 1.0, rtol=0.0, atol=1e-12):
                raise ValueError(f"{name} must be probabilities that sum to one")
        if self.start[self.is_terminal].any():
            raise ValueError("start must be zero in terminal states")

    @property
    def num_states(self) -> int:
        """S, terminal states included."""
        return self.rewards.shape[0]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.rewards.shape[1]

    @property
    def time_limit(self) -> int:
        """As good as none."""
        return np.iinfo(np.int32).max

    def initial(self, key: chex.PRNGKey) -> chex.Array:
        """Draws a first state, int32 []."""
        return _draw(key, jnp.asarray(_cumulative(self.start)))

    def transition(self, state: chex.Array, action: chex.Array, key: chex.PRNGKey) -> chex.Array:
        """Draws the state that follows `state` after `action`, int32 []."""
        return _draw(key, jnp.asarray(_cumulative(self.transitions))[state, action])

    def observation(self, state: chex.Array) -> chex.Array:
        """Returns the state's indicator, float [S]."""
        return jax.nn.one_hot(state, self.num_states)

    def reward(self, state: chex.Array, action: chex.Array, next_state: chex.Array) -> chex.Array:
        """Returns the reward of `action` in `state`, float []."""
        del next_state
        return jnp.asarray(self.rewards)[state, action]

    def terminal(self, state: chex.Array) -> chex.Array:
        """Tells whether episodes end in `state`, bool []."""
        return jnp.asarray(self.is_terminal)[state]

    def truncated(self, state: chex.Array) -> chex.Array:
        """Tells that no episode is truncated, bool []."""
        return jnp.zeros_like(state, bool)


def going_on(mdp: Tabular) -> np.ndarray:
    """Returns the probabilities that an action leads to a state and the episode goes on there, float64 [S, A, S]."""
    return mdp.transitions * ~mdp.is_terminal


def reset_process(mdp: Tabular, policy: chex.Array) -> chex.Array:
    """Computes the Markov chain of the states that actions are taken in, with episodes following each other.

        M(s, s') = sum_a pi(a | s) (P(s' | s, a) + P(terminal | s, a) start(s')),    s' not terminal

    Args:
      mdp: the process.
      policy: float [S, A], probabilities of the actions.

    Returns:
      Float [S, S], each row a distribution over the states that are not terminal.
    """
    on = going_on(mdp)
    ended = 1.0 - on.sum(-1, keepdims=True)
    return jnp.einsum("sa,sat->st", policy, on + ended * mdp.start)


def state_distributions(mdp: Tabular, policy: chex.Array, states: chex.Array, length: int) -> chex.Array:
    """Computes the distributions of states along a rollout.

    Args:
      mdp: the process.
      policy: float [S, A].
      states: float [S], the distribution at the rollout's start.
      length: T, the steps of the rollout.

    Returns:
      Float [T + 1, S]: entry t is the distribution after t steps, the last the one that the next rollout starts from.
    """
    process = reset_process(mdp, policy)

    def body(states: chex.Array, _: None) -> tuple[chex.Array, chex.Array]:
        return states @ process, states

    end, along = jax.lax.scan(body, states, length=length)
    return jnp.concatenate([along, end[None]])


def state_values(mdp: Tabular, policy: chex.Array, discount: chex.Numeric) -> chex.Array:
    """Solves the Bellman equation of a policy.

        v(s) = sum_a pi(a | s) (r(s, a) + discount sum_s' P(s' | s, a) v(s')),    zero in terminal states

    Args:
      mdp: the process.
      policy: float [S, A].
      discount: in [0, 1), or 1 where every episode ends.

    Returns:
      The values, float [S].
    """
    on = jnp.einsum("sa,sat->st", policy, going_on(mdp))
    rewards = jnp.sum(policy * mdp.rewards, -1)
    values = jnp.linalg.solve(jnp.eye(mdp.num_states) - discount * on, rewards)
    return jnp.where(mdp.is_terminal, 0.0, values)


def discounted_return(mdp: Tabular, policy: chex.Array, discount: chex.Numeric) -> chex.Array:
    """Computes the expected discounted return of an episode, `J = sum_s start(s) v(s)`, float []."""
    return mdp.start @ state_values(mdp, policy, discount)


def _cumulative(probabilities: np.ndarray) -> np.ndarray:
    """Returns running sums whose last is one to the bit, so that no draw falls behind it."""
    sums = np.cumsum(probabilities, -1)
    return sums / sums[..., -1:]


def _draw(key: chex.PRNGKey, cumulative: chex.Array) -> chex.Array:
    """Draws an index from cumulative probabilities [S]; much cheaper than a random number for each state."""
    return jnp.sum(jax.random.uniform(key, dtype=cumulative.dtype) >= cumulative, dtype=jnp.int32)
