"""Players at their games: what the window and the recordings show, one step at a time."""

from collections import deque

import jax
import numpy as np
import pygame

from envs.snake import State
from experiments.play import games, panels
from experiments.play.games import FREE, WAIT, Games, Rules
from experiments.play.panels import Thoughts
from experiments.play.players import Players


class Match:
    """One game for each player, side by side.

    Args:
      cast: the N players.
      grid: rows and columns of the picture, N in all.
      greedy: whether agents play their most probable move instead of sampling.
      seed: of the games.

    Attributes:
      state: of the games, [N, ...], of NumPy arrays.
      ended: bool [N], which games are over.
    """

    def __init__(self, cast: Players, grid: tuple[int, int], greedy: bool, seed: int) -> None:
        self._cast = cast
        self._grid = grid
        self._rules = Rules(cast.snake, cast.policy, greedy)
        self._params = jax.device_put(cast.params)
        self._seed = seed
        self._size = panels.board_size(cast.snake.num_rows, cast.snake.num_cols, grid)
        self._round = -1
        self.restart()

    def restart(self) -> None:
        """Starts every game anew, each on another board than before."""
        self._round += 1
        num_games = len(self._cast.names)
        self._values: list[deque[float]] = [deque(maxlen=panels.LONGEST_HISTORY) for _ in range(num_games)]
        new = games.start(self._rules, num_games, self._params, np.int32(self._seed), np.int32(self._round))
        self._take(new, np.ones(num_games, bool))

    def step(self, orders: np.ndarray | int = FREE) -> None:
        """Plays a move in every game; a game that has ended starts anew instead.

        Args:
          orders: int [N], or one for all: a move, `games.FREE` or `games.WAIT`.
        """
        orders = np.broadcast_to(np.int32(orders), len(self._cast.names))
        self._take(games.step(self._rules, self._params, self._games, orders), orders != WAIT)

    def draw(self, overlay: bool) -> pygame.Surface:
        """Returns the picture of all games, with what the players think of them if `overlay`."""
        pictures = []
        for index, (name, tuned) in enumerate(zip(self._cast.names, self._cast.tuned, strict=True)):
            state = State(*(leaf[index] for leaf in self.state))
            thoughts = Thoughts(self._probabilities[index], self._values[index], tuned) if overlay else None
            pictures.append(panels.draw_panel(name, state, thoughts, self._size))
        return panels.tile(pictures, self._grid[1])

    def _take(self, new: Games, moved: np.ndarray) -> None:
        """Goes on from these games, and brings what is shown of them here in one transfer.

        Args:
          new: the games.
          moved: bool [N], which of them are not as they were.
        """
        self._games = new
        self.state, self.ended, self._probabilities, values = jax.device_get(new[:-1])
        for index in np.flatnonzero(moved):
            if self.state.step_count[index] == 0:
                self._values[index].clear()
            if not np.isnan(values[index]):
                self._values[index].append(float(values[index]))
