"""What the agents ask of an environment, and the automatic reset.

An environment is a frozen description (board size, time limit, ...) whose methods are pure functions of a state,
named after Gymnasium's functional API. `step` joins them into one transition and starts a new episode
as soon as one ends, so that a batch of environments never waits.
"""

from typing import Any, NamedTuple, Protocol, TypeVar

import chex
import jax
import jax.numpy as jnp

State = TypeVar("State")


class Environment(Protocol[State]):
    """Pure functions over one environment's state; `jax.vmap` makes a batch of them.

    A state is a tree of arrays, always of the same shapes and dtypes. An environment whose actions are real numbers has
    `action_size`, their number D, in place of `num_actions`; an action is a float [D] then.

    An environment may also have a method `render`, from a state of NumPy arrays to a picture, uint8 [height, width, 3],
    with which it can be watched. One whose actions lead somewhere in that picture may have `arrows`, from such a state
    to the (x, y) where an arrow for each action begins, and as far as which it may go, float [num_actions, 2, 2].
    """

    @property
    def num_actions(self) -> int:
        """Number of discrete actions, at least 2; an action is an int32 in [0, num_actions)."""

    @property
    def time_limit(self) -> int:
        """Steps, below 2^31, before which no episode is truncated; one that may be cut at any step says 1."""

    def initial(self, key: chex.PRNGKey) -> State:
        """Draws the first state of an episode, which is not terminal."""

    def transition(self, state: State, action: chex.Array, key: chex.PRNGKey) -> State:
        """Returns the state that follows `state` after `action`."""

    def observation(self, state: State) -> Any:
        """Returns what the agent sees of `state`: a tree of arrays, finite; uint8 are taken for pixels, 0 to 255.

        It may have a field `action_mask`, bool [num_actions], which allows at least one action in a first state. Where
        it forbids all, as in a dead end of Snake, all are as likely.
        """

    def reward(self, state: State, action: chex.Array, next_state: State) -> chex.Array:
        """Returns the reward of a transition, float [], finite."""

    def terminal(self, state: State) -> chex.Array:
        """Tells whether the episode ended in `state`: nothing of value follows. bool []."""

    def truncated(self, state: State) -> chex.Array:
        """Tells whether the episode is truncated at `state`: value goes on, unless `state` is terminal. bool []."""


def some_action(environment: Any) -> chex.Array:
    """Returns an action as an environment takes it: an int32 [], or a float [D]."""
    if hasattr(environment, "action_size"):
        return jnp.zeros(environment.action_size)
    return jnp.int32(0)


class TimeStep(NamedTuple):
    """The outcome of one `step`.

    Attributes:
      observation: what to act on next: of the new episode's first state where the old episode has ended.
      last_observation: of the state that the action led to, before any reset; the value of this one is
        what a truncated episode is bootstrapped with.
      reward: float [], of the transition.
      terminated: bool [], the episode ended in a terminal state, whose value is zero.
      truncated: bool [], the episode was cut in a state that is not terminal.
    """

    observation: Any
    last_observation: Any
    reward: chex.Array
    terminated: chex.Array
    truncated: chex.Array


def step(
    environment: Environment[State], state: State, action: chex.Array, key: chex.PRNGKey
) -> tuple[State, TimeStep]:
    """Takes one transition and, where it ends the episode, resets.

    Args:
      environment: whose functions to use.
      state: of one environment.
      action: int32 [], in [0, num_actions), or float [action_size].
      key: for the transition and the first state of a new episode.

    Returns:
      The state to go on from (a fresh one after an end), and the time step.
    """
    transition_key, reset_key = jax.random.split(key)
    next_state = environment.transition(state, action, transition_key)
    terminated = environment.terminal(next_state)
    truncated = jnp.logical_and(environment.truncated(next_state), jnp.logical_not(terminated))
    first_state = environment.initial(reset_key)
    ended = terminated | truncated
    continued_state = jax.tree.map(lambda new, old: jnp.where(ended, new, old), first_state, next_state)
    timestep = TimeStep(
        observation=environment.observation(continued_state),
        last_observation=environment.observation(next_state),
        reward=environment.reward(state, action, next_state),
        terminated=terminated,
        truncated=truncated,
    )
    return continued_state, timestep
