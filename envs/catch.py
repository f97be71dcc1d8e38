"""The game Catch as pure functions, after bsuite's: a paddle on the lowest row, under a ball that falls.

The ball starts in a random column of the highest row and falls by one row a step. When it reaches the lowest row the
episode ends, with a reward of 1 if the paddle is there and of -1 if not (Osband et al., 2020, "Behaviour Suite for
Reinforcement Learning").
"""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

CELL = 32
"""Pixels of a cell's side in a picture."""


class State(NamedTuple):
    """One game.

    Attributes:
      ball_row: int32 [], in [0, rows).
      ball_col: int32 [], in [0, columns).
      paddle: int32 [], its column.
    """

    ball_row: chex.Array
    ball_col: chex.Array
    paddle: chex.Array


@dataclasses.dataclass(frozen=True)
class Catch:
    """The rules of the game on one size of board.

    Attributes:
      num_rows: rows of the board, at least 2.
      num_cols: columns of the board, at least 1.

    Raises:
      ValueError: if a size is out of its range.
    """

    num_rows: int = 10
    num_cols: int = 5

    def __post_init__(self) -> None:
        for name, least in (("num_rows", 2), ("num_cols", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")

    @property
    def num_actions(self) -> int:
        """Three: left, stay, right."""
        return 3

    @property
    def time_limit(self) -> int:
        """As good as none: every episode ends by itself."""
        return np.iinfo(np.int32).max

    def initial(self, key: chex.PRNGKey) -> State:
        """Draws a first state: the ball's column, all equally likely; the paddle is in the middle."""
        ball_col = jax.random.randint(key, (), 0, self.num_cols, jnp.int32)
        return State(ball_row=jnp.int32(0), ball_col=ball_col, paddle=jnp.int32(self.num_cols // 2))

    def transition(self, state: State, action: chex.Array, key: chex.PRNGKey) -> State:
        """Moves the paddle, which the walls stop, and lets the ball fall; `action` is 0 left, 1 stay, 2 right."""
        del key
        paddle = jnp.clip(state.paddle + action - 1, 0, self.num_cols - 1)
        return State(ball_row=state.ball_row + 1, ball_col=state.ball_col, paddle=paddle)

    def observation(self, state: State) -> chex.Array:
        """Returns the board, float32 [rows, columns, 1]: 1 where the ball or the paddle is, else 0."""
        rows, cols = np.indices((self.num_rows, self.num_cols))
        ball = (rows == state.ball_row) & (cols == state.ball_col)
        paddle = (rows == self.num_rows - 1) & (cols == state.paddle)
        return (ball | paddle).astype(jnp.float32)[..., None]

    def reward(self, state: State, action: chex.Array, next_state: State) -> chex.Array:
        """Returns 1 for a ball caught, -1 for one missed, 0 while it falls, float32 []."""
        del state, action
        caught = jnp.where(next_state.ball_col == next_state.paddle, 1.0, -1.0)
        return jnp.where(self.terminal(next_state), caught, 0.0)

    def terminal(self, state: State) -> chex.Array:
        """Tells whether the ball has reached the lowest row, bool []."""
        return state.ball_row == self.num_rows - 1

    def truncated(self, state: State) -> chex.Array:
        """No episode is truncated, bool []."""
        del state
        return jnp.bool_(False)

    def render(self, state: State) -> np.ndarray:
        """Draws one game, uint8 [CELL * rows, CELL * columns, 3]: the ball is red, the paddle white."""
        cells = np.full((self.num_rows, self.num_cols, 3), (35, 39, 53), np.uint8)
        cells[-1, state.paddle] = (226, 230, 240)
        cells[state.ball_row, state.ball_col] = (240, 76, 86)
        return cells.repeat(CELL, 0).repeat(CELL, 1)
