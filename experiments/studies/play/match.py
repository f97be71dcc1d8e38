"""Players at their games: what the window and the recordings show, one step at a time."""

from collections import deque
from typing import Any

import jax
import numpy as np
import pygame

from envs.snake import Snake
from experiments.config.ranges import UsageError
from experiments.studies.play import games, panels
from experiments.studies.play.games import FREE, WAIT, Games, Rules
from experiments.studies.play.panels import Thoughts
from experiments.studies.play.players import Players


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
      title: what is played.
    """

    def __init__(self, cast: Players, grid: tuple[int, int], greedy: bool, seed: int) -> None:
        self._cast = cast
        self._grid = grid
        self._env = cast.env
        self._rules = Rules(cast.env, cast.policy, greedy)
        self._params = jax.device_put(cast.params)
        self._seed = seed
        self.title = type(cast.env).__name__
        self._round = -1
        self.restart()
        if isinstance(cast.env, Snake):
            self._size = panels.board_size(cast.env.num_rows, cast.env.num_cols, grid)
        else:
            self._size = panels.picture_size(self._render(0).shape, grid)

    def restart(self) -> None:
        """Starts every game anew, each on another board than before."""
        self._round += 1
        num_games = len(self._cast.names)
        self._values: list[deque[float]] = [deque(maxlen=panels.LONGEST_HISTORY) for _ in range(num_games)]
        self.ended = np.ones(num_games, bool)
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
        """Returns the picture of all games, of one size whether or not with what the players think (`overlay`)."""
        pictures = []
        for index, (name, hyper) in enumerate(zip(self._cast.names, self._cast.hyperparameters, strict=True)):
            probabilities = None if self.ended[index] else self._probabilities[index]
            thoughts = Thoughts(probabilities, self._values[index], hyper)
            if isinstance(self._env, Snake):
                pictures.append(panels.draw_panel(name, self._state_of(index), thoughts, self._size, overlay))
            else:
                pictures.append(panels.draw_rendered(name, self._render(index), thoughts, self._size, overlay))
        return panels.tile(pictures, self._grid[1])

    def _state_of(self, index: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[index], self.state)

    def _render(self, index: int) -> np.ndarray:
        """Returns the environment's own picture of a game.

        Raises:
          UsageError: if it is none.
        """
        picture = np.asarray(self._env.render(self._state_of(index)))  # type: ignore[attr-defined]
        if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
            raise UsageError(
                f"render of {self.title} must return uint8 [height, width, 3], and returned "
                f"{picture.dtype}{list(picture.shape)}"
            )
        return picture

    def _take(self, new: Games, moved: np.ndarray) -> None:
        """Goes on from these games, and brings what is shown of them here in one transfer.

        Args:
          new: the games.
          moved: bool [N], which of them are not as they were.
        """
        before = self.ended
        self._games = new
        self.state, self.ended, self._probabilities, values = jax.device_get(new[:-1])
        for index in np.flatnonzero(moved):
            if before[index]:  # its end was shown, and now its beginning is
                self._values[index].clear()
            if values is not None:
                self._values[index].append(float(values[index]))
