"""Snake for Gymnasium: `metagrad/Snake-v0`, alone or as a vector of games that one JAX program plays.

Importing this module registers it, and so does naming the module to Gymnasium:

    gymnasium.make("envs.gymnasium_snake:metagrad/Snake-v0", render_mode="human")
    gymnasium.make_vec("envs.gymnasium_snake:metagrad/Snake-v0", num_envs=1024)

Actions are 0 up, 1 right, 2 down, 3 left. An observation is the float32 array [num_rows, num_cols, 5] of the maps
named in `envs.snake.FEATURES`. `info` holds the `score` (fruits eaten) and the `action_mask`, int8 [4], 1 for
the moves that do not crash, as `action_space.sample` takes it.
"""

import functools
from typing import Any, ClassVar

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from envs import drawing
from envs.snake import FEATURES, Observation, Snake, State

Infos = dict[str, Any]
ID = "metagrad/Snake-v0"
FRAMES_PER_SECOND = 16  # a power of two: at others MoviePy, which RecordVideo calls, rounds the last frame away


Moved = tuple[State, Observation, jax.Array, jax.Array, jax.Array]
"""What `gymnasium.Env.step` returns, the state in front and no infos."""


@functools.partial(jax.jit, static_argnums=0)
def _reset(snake: Snake, key_data: np.ndarray) -> tuple[State, Observation]:
    state = snake.initial(_key(key_data))
    return state, snake.observation(state)


@functools.partial(jax.jit, static_argnums=0)
def _step(snake: Snake, state: State, action: np.ndarray, key_data: np.ndarray) -> Moved:
    return _play(snake, state, action, _key(key_data), after_end=state)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _reset_batch(
    snake: Snake, num_envs: int, key_data: np.ndarray, going_on: tuple[np.ndarray, State] | None
) -> tuple[State, Observation]:
    """Starts every game anew, but for those that go on: where an array is true, from these states."""
    states = jax.vmap(snake.initial)(jax.random.split(_key(key_data), num_envs))
    if going_on is not None:
        where, old_states = going_on
        states = jax.vmap(_choose)(jnp.asarray(where), old_states, states)
    return states, jax.vmap(snake.observation)(states)


@functools.partial(jax.jit, static_argnums=0)
def _step_batch(snake: Snake, states: State, actions: np.ndarray, key_data: np.ndarray) -> Moved:
    def step(state: State, action: jax.Array, key: jax.Array) -> Moved:
        transition_key, reset_key = jax.random.split(key)
        return _play(snake, state, action, transition_key, after_end=snake.initial(reset_key))

    return jax.vmap(step)(states, jnp.asarray(actions), jax.random.split(_key(key_data), len(actions)))


def _play(snake: Snake, state: State, action: jax.Array | np.ndarray, key: jax.Array, after_end: State) -> Moved:
    """Plays a move; where the game has ended, pays nothing and goes to `after_end`."""
    ended = snake.terminal(state) | snake.truncated(state)
    moved = snake.transition(state, action, key)
    reward = jnp.where(ended, 0.0, snake.reward(state, action, moved))
    state = _choose(ended, after_end, moved)
    return state, snake.observation(state), reward, snake.terminal(state), snake.truncated(state)


def _choose(condition: jax.Array, chosen: State, other: State) -> State:
    return jax.tree.map(lambda left, right: jnp.where(condition, left, right), chosen, other)


def _key(key_data: np.ndarray) -> jax.Array:
    return jax.random.wrap_key_data(jnp.asarray(key_data), impl="threefry2x32")


def _draw_key_data(generator: np.random.Generator) -> np.ndarray:
    """Draws a JAX key's content, so that Gymnasium's generator stays the one source of chance."""
    return generator.integers(2**32, size=2, dtype=np.uint32)


def _spaces(snake: Snake) -> tuple[spaces.Box, spaces.Discrete]:
    """Returns the spaces of one game's observations and actions."""
    shape = (snake.num_rows, snake.num_cols, len(FEATURES))
    return spaces.Box(0.0, 1.0, shape, np.float32), spaces.Discrete(snake.num_actions)


def _started(state: State | None) -> State:
    if state is None:
        raise gymnasium.error.ResetNeeded("reset() comes before step() and render()")
    return state


def _check_render_mode(render_mode: str | None, known: list[str]) -> None:
    if render_mode is not None and render_mode not in known:
        raise ValueError(f"render_mode must be None or one of {known}, got {render_mode!r}")


class SnakeEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One game of Snake; `reset` starts it, and starts it anew after its end.

    Until then a step after the end warns, changes nothing and pays nothing.

    Args:
      render_mode: None, "human" (a window that follows the game) or "rgb_array".
      num_rows: rows of the board, in [2, 32].
      num_cols: columns of the board, in [2, 32].
      time_limit: steps after which an episode is truncated, in [1, 2147483647].

    Raises:
      ValueError: if an argument is out of its range.
    """

    metadata: ClassVar[Infos] = {"render_modes": ["human", "rgb_array"], "render_fps": FRAMES_PER_SECOND}  # type: ignore[misc]

    def __init__(
        self, render_mode: str | None = None, num_rows: int = 12, num_cols: int = 12, time_limit: int = 4_000
    ) -> None:
        _check_render_mode(render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self._snake = Snake(num_rows, num_cols, time_limit)
        self._state: State | None = None  # before the first reset
        self._ended = False
        self.observation_space, self.action_space = _spaces(self._snake)

    def reset(self, *, seed: int | None = None, options: Infos | None = None) -> tuple[np.ndarray, Infos]:
        """Starts an episode; see `gymnasium.Env.reset`. There are no options."""
        super().reset(seed=seed, options=options)
        self._state, observation = _reset(self._snake, _draw_key_data(self.np_random))
        self._ended = False
        if self.render_mode == "human":
            self.render()
        return np.array(observation.grid), self._info(observation)

    def step(self, action: np.int64) -> tuple[np.ndarray, float, bool, bool, Infos]:
        """Plays a move; see `gymnasium.Env.step`. `ResetNeeded` before the first `reset`."""
        move = np.asarray(action)
        if move not in self.action_space:
            raise ValueError(f"action must be an integer in [0, {self._snake.num_actions}), got {action!r}")
        if self._ended:
            gymnasium.logger.warn("the episode has ended: step() does nothing until reset() starts the next one")
        self._state, observation, reward, terminated, truncated = _step(
            self._snake, _started(self._state), move.astype(np.int32), _draw_key_data(self.np_random)
        )
        self._ended = bool(terminated or truncated)
        if self.render_mode == "human":
            self.render()
        return np.array(observation.grid), float(reward), bool(terminated), bool(truncated), self._info(observation)

    def _info(self, observation: Observation) -> Infos:
        mask = np.array(observation.action_mask, np.int8)
        return {"score": int(_started(self._state).length) - 1, "action_mask": mask}

    def render(self) -> np.ndarray | None:
        """Returns a picture of the game, uint8 [height, width, 3], or shows it if `render_mode` is "human"."""
        if self.render_mode is None:
            gymnasium.logger.warn(f"render_mode must be one of {self.metadata['render_modes']} to render, got None")
            return None
        if self.render_mode == "rgb_array":
            return self._snake.render(_started(self._state))
        drawing.show(drawing.draw(_started(self._state)), "Snake", FRAMES_PER_SECOND)
        return None

    def close(self) -> None:
        """Closes the window if there is one."""
        if self.render_mode == "human":
            drawing.close_window()


class SnakeVectorEnv(gymnasium.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """Many games of Snake, played by one JAX program.

    A game that has ended starts anew in the next step (`AutoresetMode.NEXT_STEP`, which all of Gymnasium's vector
    wrappers take): that step ignores the action, pays no reward and returns the first observation.

    Args:
      num_envs: games side by side, at least 1.
      render_mode: None or "rgb_array".
      num_rows: rows of the board, in [2, 32].
      num_cols: columns of the board, in [2, 32].
      time_limit: steps after which an episode is truncated, in [1, 2147483647].
      max_episode_steps: the same, as `gymnasium.make_vec` calls it, at least 1; the smaller of the two counts.

    Raises:
      ValueError: if an argument is out of its range.
    """

    metadata: ClassVar[Infos] = {  # type: ignore[misc]
        "render_modes": ["rgb_array"],
        "render_fps": FRAMES_PER_SECOND,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        num_envs: int,
        render_mode: str | None = None,
        num_rows: int = 12,
        num_cols: int = 12,
        time_limit: int = 4_000,
        max_episode_steps: int | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        if max_episode_steps is not None:
            time_limit = min(time_limit, max_episode_steps)
        _check_render_mode(render_mode, self.metadata["render_modes"])
        self.num_envs = num_envs
        self.render_mode = render_mode
        self._snake = Snake(num_rows, num_cols, time_limit)
        self._states: State | None = None  # before the first reset
        self.single_observation_space, self.single_action_space = _spaces(self._snake)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: Infos | None = None) -> tuple[np.ndarray, Infos]:
        """Starts every episode; see `gymnasium.vector.VectorEnv.reset`.

        Args:
          seed: of all the games.
          options: with `reset_mask`, bool [num_envs] and somewhere true, the other games go on as they were.

        Returns:
          The observations and infos of all games.

        Raises:
          ValueError: if the mask is not such an array.
          gymnasium.error.ResetNeeded: if there is a mask before the first `reset`.
        """
        going_on = None
        if options and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"])
            if mask.dtype != bool or mask.shape != (self.num_envs,) or not mask.any():
                what = f"{self.num_envs} booleans, at least one of them True"
                raise ValueError(f"options['reset_mask'] must be {what}, got {mask.tolist()!s:.60}")
            going_on = ~mask, _started(self._states)
        super().reset(seed=seed, options=options)
        self._states, observation = _reset_batch(self._snake, self.num_envs, _draw_key_data(self.np_random), going_on)
        return np.array(observation.grid), self._infos(observation)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, Infos]:
        """Plays a move in every game; see `gymnasium.vector.VectorEnv.step`. `ResetNeeded` before the first `reset`."""
        actions = np.asarray(actions)
        if actions not in self.action_space:
            what = f"{self.num_envs} integers in [0, {self._snake.num_actions})"
            raise ValueError(f"actions must be {what}, got {actions.tolist()!s:.60}")
        self._states, observation, rewards, terminated, truncated = _step_batch(
            self._snake, _started(self._states), actions.astype(np.int32), _draw_key_data(self.np_random)
        )
        outcome = np.array(rewards, np.float64), np.array(terminated), np.array(truncated)
        return np.array(observation.grid), *outcome, self._infos(observation)

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Returns a picture of every game, each uint8 [height, width, 3]."""
        if self.render_mode is None:
            gymnasium.logger.warn(f"render_mode must be one of {self.metadata['render_modes']} to render, got None")
            return None
        games = zip(*jax.device_get(_started(self._states)), strict=True)
        return tuple(self._snake.render(State(*game)) for game in games)

    def _infos(self, observation: Observation) -> Infos:
        """Returns the infos as Gymnasium batches them: beside each entry, which of the games have it."""
        score = np.array(_started(self._states).length, int) - 1
        infos = {"score": score, "action_mask": np.array(observation.action_mask, np.int8)}
        return infos | {f"_{name}": np.ones(self.num_envs, bool) for name in infos}


gymnasium.register(
    ID, entry_point="envs.gymnasium_snake:SnakeEnv", vector_entry_point="envs.gymnasium_snake:SnakeVectorEnv"
)
