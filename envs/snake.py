"""The game Snake as pure functions over a small state, after Jumanji's `Snake-v1`.

A snake of length one starts on a random cell. Each step moves its head by one cell and its body after it; a
fruit makes it one cell longer and a new fruit appears on a free cell. The cell that the tail is about to leave is
free to move into. The episode ends when the head leaves the board or hits the body, or when the snake fills the
board; after `time_limit` steps it is truncated, or ends as well if asked to.

A cell is numbered `row * num_cols + col`. Everything is written as comparisons over the whole board instead of
scattered writes: a vmapped batch then is a few fused loops.
"""

import dataclasses
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

UP, RIGHT, DOWN, LEFT = range(4)
MOVES = np.array([[-1, 0], [0, 1], [1, 0], [0, -1]], np.int32)  # (rows, columns) of each action

SMALLEST_BOARD, LARGEST_BOARD = 2, 32
FEATURES = ("body", "head", "tail", "fruit", "body_order")


class State(NamedTuple):
    """One game.

    Attributes:
      body: int32 [rows, cols], 0 on a free cell; on the snake, 1 at the tail up to `length` at the head.
      head: int32 [], the head's cell.
      fruit: int32 [], the fruit's cell; on a full board, which has no room for one, a cell of the snake.
      length: int32 [], of the snake in cells; `length - 1` fruits have been eaten.
      step_count: int32 [], transitions since the start.
      crashed: bool [], the last move was fatal. The snake is then left where it was before that move.
    """

    body: chex.Array
    head: chex.Array
    fruit: chex.Array
    length: chex.Array
    step_count: chex.Array
    crashed: chex.Array


class Observation(NamedTuple):
    """What an agent sees.

    Attributes:
      grid: float [rows, cols, 5], the maps named in `FEATURES`, each in [0, 1]: body (the head and the tail
        included), head, tail, fruit, and the body's order from 1 / length at the tail to 1 at the head.
      action_mask: bool [4], the moves that do not crash.
    """

    grid: chex.Array
    action_mask: chex.Array


@dataclasses.dataclass(frozen=True)
class Snake:
    """The rules of the game on one size of board; hashable, so that jitted functions may be cached on it.

    Attributes:
      num_rows: rows of the board, in [2, 32].
      num_cols: columns of the board, in [2, 32].
      time_limit: steps after which an episode is truncated, in [1, 2147483647].
      masked: whether agents are told which moves crash; else they have to find out.
      time_limit_terminates: whether the time limit ends an episode, as a crash does, and truncates none.

    Raises:
      ValueError: if a size or the time limit is out of its range.
    """

    num_rows: int = 12
    num_cols: int = 12
    time_limit: int = 4_000
    masked: bool = True
    time_limit_terminates: bool = False

    def __post_init__(self) -> None:
        for name in ("num_rows", "num_cols"):
            if not SMALLEST_BOARD <= getattr(self, name) <= LARGEST_BOARD:
                raise ValueError(f"{name} must be in [{SMALLEST_BOARD}, {LARGEST_BOARD}], got {getattr(self, name)}")
        if not 1 <= self.time_limit < 2**31:
            raise ValueError(f"time_limit must be in [1, {2**31 - 1}], got {self.time_limit}")

    @property
    def num_actions(self) -> int:
        """Four: up, right, down, left."""
        return len(MOVES)

    @property
    def num_cells(self) -> int:
        """Cells of the board."""
        return self.num_rows * self.num_cols

    def initial(self, key: chex.PRNGKey) -> State:
        """Draws a first state: a head and a fruit on two different cells, all pairs equally likely."""
        head, fruit_rank = _draw_below(jnp.array([self.num_cells, self.num_cells - 1]), key)
        return State(
            body=(self._cells() == head).astype(jnp.int32),
            head=head,
            fruit=fruit_rank + (fruit_rank >= head),  # of the free cells in order, which skip the head's
            length=jnp.int32(1),
            step_count=jnp.int32(0),
            crashed=jnp.bool_(False),
        )

    def transition(self, state: State, action: chex.Array, key: chex.PRNGKey) -> State:
        """Moves the snake by one cell.

        Args:
          state: of one game that has not ended.
          action: int32 [], 0 up, 1 right, 2 down, 3 left.
          key: for the cell of a new fruit.

        Returns:
          The state after the move.
        """
        head = state.head + jnp.asarray(MOVES @ [self.num_cols, 1], jnp.int32)[action]
        crashed = ~self.action_mask(state)[action]
        eaten = head == state.fruit
        length = state.length + eaten
        body = jnp.where(eaten, state.body, jnp.maximum(state.body - 1, 0))
        body = jnp.where(self._cells() == head, length, body)
        new_fruit = eaten & (length < self.num_cells)
        fruit = jnp.where(new_fruit, self._random_free_cell(key, body), state.fruit)
        moved = State(body, head, fruit, length, state.step_count, crashed)
        stayed = state._replace(crashed=crashed)
        next_state = jax.tree.map(lambda old, new: jnp.where(crashed, old, new), stayed, moved)
        return next_state._replace(step_count=state.step_count + 1)

    def observation(self, state: State) -> Any:
        """Returns the feature maps and the action mask of one state, an `Observation`; unmasked, the maps alone."""
        cells = self._cells()
        maps = (
            state.body > 0,
            cells == state.head,
            state.body == 1,
            (cells == state.fruit) & (state.body == 0),
            state.body / state.length,
        )
        grid = jnp.stack([feature.astype(jnp.float32) for feature in maps], axis=-1)
        return Observation(grid, self.action_mask(state)) if self.masked else grid

    def reward(self, state: State, action: chex.Array, next_state: State) -> chex.Array:
        """Returns 1 for a fruit eaten, else 0, float32 []."""
        del action
        return (next_state.length - state.length).astype(jnp.float32)

    def terminal(self, state: State) -> chex.Array:
        """Tells whether the snake has crashed, fills the board or is out of time where that ends a game, bool []."""
        ended = state.crashed | (state.length == self.num_cells)
        return ended | (state.step_count >= self.time_limit) if self.time_limit_terminates else ended

    def truncated(self, state: State) -> chex.Array:
        """Tells whether the time limit cut a game that could go on, bool []."""
        return ~self.terminal(state) & (state.step_count >= self.time_limit)

    def action_mask(self, state: State) -> chex.Array:
        """Returns which moves stay on the board and off the body, where the tail counts as gone; bool [4]."""
        row, col = jnp.divmod(state.head, self.num_cols)
        rows, cols = row + MOVES[:, 0], col + MOVES[:, 1]
        inside = (rows >= 0) & (rows < self.num_rows) & (cols >= 0) & (cols < self.num_cols)
        occupied = state.body.at[rows, cols].get(mode="clip") > 1
        return inside & ~occupied

    def render(self, state: State) -> np.ndarray:
        """Draws one game of NumPy arrays, uint8 [height, width, 3]."""
        from envs import drawing  # not above: what trains needs no pygame

        return drawing.pixels(drawing.draw(state))

    def arrows(self, state: State) -> np.ndarray:
        """Returns where in the picture the moves lead, from the (x, y) at the head's rim on, float [4, 2, 2]."""
        from envs import drawing

        return drawing.arrows(state)

    def _cells(self) -> np.ndarray:
        return np.arange(self.num_cells, dtype=np.int32).reshape(self.num_rows, self.num_cols)

    def _random_free_cell(self, key: chex.PRNGKey, body: chex.Array) -> chex.Array:
        """Draws a random rank among the free cells and finds first its row, then its column.

        One running sum over the whole board would do too, but makes a whole step one and a half times as slow.
        """
        free = body == 0
        row_counts = jnp.sum(free, axis=1)
        row_ends = jnp.cumsum(row_counts)
        rank = _draw_below(jnp.maximum(row_ends[-1], 1), key)
        row = jnp.argmax(row_ends > rank)
        col = jnp.argmax(jnp.cumsum(free[row]) > rank - row_ends[row] + row_counts[row])
        return (row * self.num_cols + col).astype(jnp.int32)


def _draw_below(ends: chex.Array, key: chex.PRNGKey) -> chex.Array:
    """Draws whole numbers from 0 up to some ends, which they do not reach; int32 like these.

    From 32 bits a number, so that with ends up to 1,024 its probability is off by less than 1 part in 4 million.
    `jax.random.randint` draws twice the bits, by two further keys, and makes a whole step 1.1 times as slow.
    """
    return (jax.random.bits(key, ends.shape, jnp.uint32) % ends.astype(jnp.uint32)).astype(jnp.int32)
