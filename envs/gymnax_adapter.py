"""The environments of gymnax (Lange, 2022) as `environment.Environment`, by their pure `reset_env` and `step_env`.

gymnax's own `step` resets at ends as well; here `environment.step` does, which draws the same keys, so both give the
same transitions. A state that gymnax calls truncated and not terminated goes on in value.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import gymnax
import jax
import jax.numpy as jnp
from gymnax.environments import spaces


class State(NamedTuple):
    """One game.

    Attributes:
      inner: gymnax's own state.
      observation: what gymnax returned with it.
      reward: float32 [], of the step that led here; 0 in a first state.
      terminated: bool [], whether that step ended the episode.
    """

    inner: Any
    observation: Any
    reward: chex.Array
    terminated: chex.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Gymnax:
    """One of gymnax's environments with its default parameters; hashable by identity.

    Attributes:
      name: one of `gymnax.registered_envs`.

    Raises:
      ValueError: if there is none of this name, or its actions are not a finite number.
    """

    name: str
    _env: Any = dataclasses.field(init=False, repr=False)
    _params: Any = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        env, params = gymnax.make(self.name)
        if not isinstance(env.action_space(params), spaces.Discrete):
            raise ValueError(f"the actions of {self.name} are not a finite number")
        object.__setattr__(self, "_env", env)
        object.__setattr__(self, "_params", params)

    @property
    def num_actions(self) -> int:
        """Number of discrete actions."""
        return int(self._env.action_space(self._params).n)

    @property
    def time_limit(self) -> int:
        """Steps after which an episode is truncated."""
        return int(self._params.max_steps_in_episode)

    def initial(self, key: chex.PRNGKey) -> State:
        """Draws the first state of an episode."""
        observation, inner = self._env.reset_env(key, self._params)
        first = State(inner, observation, jnp.float32(0.0), jnp.bool_(False))
        # gymnax's first states hold Python's numbers, which have no dtype of their own.
        later = jax.eval_shape(self.transition, first, jnp.int32(0), key)
        return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), first, later)

    def transition(self, state: State, action: chex.Array, key: chex.PRNGKey) -> State:
        """Returns the state that follows `state` after `action`."""
        observation, inner, reward, terminated, _ = self._env.step_env(key, state.inner, action, self._params)
        return State(inner, observation, jnp.asarray(reward, jnp.float32), jnp.asarray(terminated, bool))

    def observation(self, state: State) -> Any:
        """Returns gymnax's observation."""
        return state.observation

    def reward(self, state: State, action: chex.Array, next_state: State) -> chex.Array:
        """Returns the reward of the step to `next_state`, float32 []."""
        del state, action
        return next_state.reward

    def terminal(self, state: State) -> chex.Array:
        """Tells whether gymnax calls the episode terminated, bool []."""
        return state.terminated

    def truncated(self, state: State) -> chex.Array:
        """Tells whether the time limit cut an episode that is not terminated, bool []."""
        return ~state.terminated & self._env.is_truncated(state.inner, self._params)
