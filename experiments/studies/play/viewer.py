"""The window in which a match is watched, or played by a person, and what its keys do."""

from typing import NamedTuple

import jax
import numpy as np
import pygame

from envs import drawing
from envs.snake import DOWN, LEFT, MOVES, RIGHT, UP, State
from experiments.config.ranges import Range, UsageError
from experiments.studies.play import panels
from experiments.studies.play.games import FREE
from experiments.studies.play.match import Match

FRAMES_PER_SECOND = 60  # of the window, however slow the games are: keys are answered at once
SPEED = Range("in [0.5, 60]", lambda value: 0.5 <= value <= 60)
SPEED_FACTOR = 1.25  # of a press
MAX_TURNS = 2
KEYS = (
    *(("space", "pause, go on"), ("right", "one step"), ("up, down", "faster, slower"), ("O", "thoughts")),
    *(("R", "restart"), ("H", "these keys"), ("Q", "quit")),
)
KEYS_OF_A_PERSON = (("arrows", "steer"), *(row for row in KEYS if row[0] in ("space", "R", "H", "Q")))
MOVE_KEYS = {pygame.K_UP: UP, pygame.K_RIGHT: RIGHT, pygame.K_DOWN: DOWN, pygame.K_LEFT: LEFT}


class Controls(NamedTuple):
    """What the keys have set.

    Attributes:
      speed: steps a second.
      paused: whether the games stand still.
      overlay: whether the players' thoughts are shown.
      help: whether the keys are shown.
      num_single_steps: to play while paused.
      heading: the last move of a person's snake, which goes on that way; None before the first of a game.
      turns: a person's next moves, at most `MAX_TURNS`: who presses two arrows between two steps means both.
      restart: whether all games are to start anew.
      quit: whether to close the window.
    """

    speed: float
    paused: bool = False
    overlay: bool = True
    help: bool = False
    num_single_steps: int = 0
    heading: int | None = None
    turns: tuple[int, ...] = ()
    restart: bool = False
    quit: bool = False


def press(controls: Controls, key: int, human: bool, backwards: int | None) -> Controls:
    """Returns what a key changes.

    Args:
      controls: before.
      key: as pygame numbers it.
      human: whether the arrows steer a snake.
      backwards: the move that the snake cannot make now, since it cannot turn on the spot; None if it can.
    """
    if human and key in MOVE_KEYS:
        move = MOVE_KEYS[key]
        last = controls.turns[-1:]
        ignored = (*last, opposite(*last)) if last else (backwards,)
        return controls if move in ignored else controls._replace(turns=(*controls.turns, move)[:MAX_TURNS])
    if key == pygame.K_SPACE:
        return controls._replace(paused=not controls.paused)
    if key == pygame.K_RIGHT:
        return controls._replace(paused=True, num_single_steps=controls.num_single_steps + 1)
    if key in (pygame.K_UP, pygame.K_DOWN):
        speed = controls.speed * (SPEED_FACTOR if key == pygame.K_UP else 1 / SPEED_FACTOR)
        return controls._replace(speed=speed) if SPEED.accepts(speed) else controls
    if key == pygame.K_o and not human:
        return controls._replace(overlay=not controls.overlay)
    if key == pygame.K_h:
        return controls._replace(help=not controls.help)
    if key == pygame.K_r:
        return controls._replace(restart=True, heading=None, turns=())
    return controls._replace(quit=controls.quit or key == pygame.K_q)


def opposite(move: int) -> int:
    """Returns the move that takes a move back."""
    return int(np.argmax((-MOVES[move] == MOVES).all(axis=1)))


def move_onto_neck(state: State) -> int | None:
    """Returns the move of one game's snake from its head to the cell behind; None where it is one cell long."""
    if state.length == 1:
        return None
    num_cols = state.body.shape[1]
    neck = divmod(int(np.argmax(state.body == state.length - 1)), num_cols)
    step_back = np.subtract(neck, divmod(int(state.head), num_cols))
    return int(np.argmax((step_back == MOVES).all(axis=1)))


class Viewer:
    """A window onto a match.

    Args:
      match: to show; of one game where a person plays.
      speed: steps a second, to begin with.
      human: whether a person steers, with the arrow keys.

    Attributes:
      controls: what the keys have set.
      match: what is shown.
      picture: what the window shows.

    Raises:
      UsageError: if there is no screen.
    """

    def __init__(self, match: Match, speed: float, human: bool) -> None:
        self.controls = Controls(speed, overlay=not human)
        self.match = match
        self._human = human
        self._next_step = 0.0
        try:
            self._window = drawing.Window(match.title)
            if pygame.display.get_driver() == "offscreen":  # what SDL falls back to; nobody would see anything
                raise pygame.error("SDL found none")
            self._refresh()
            self._window.show(self.picture, FRAMES_PER_SECOND)
        except pygame.error as error:
            raise UsageError(f"no screen ({error}); --record=FILE.gif or --record=FILE.mp4 needs none") from error

    def tick(self, now: float) -> bool:
        """Answers the keys, plays what is due and shows a frame.

        Args:
          now: in seconds, from any start.

        Returns:
          Whether the window stays open.
        """
        before = self.controls
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.controls = self.controls._replace(quit=True)
            elif event.type == pygame.KEYDOWN:
                self.controls = press(self.controls, event.key, self._human, self._backwards())
        if self.controls.restart:
            self.controls = self.controls._replace(restart=False)
            self.match.restart()
            self._refresh()
        if self._due(now):
            # From when it was due, so that the window's frames do not slow the games; but nothing is caught up.
            next_step = self._next_step + 1 / self.controls.speed
            self._next_step = next_step if next_step > now else now + 1 / self.controls.speed
            self._step()
        if self.controls != before:
            self._refresh()
        self._window.show(self.picture, FRAMES_PER_SECOND)
        return not self.controls.quit

    def close(self) -> None:
        """Closes the window."""
        self._window.close()

    def _due(self, now: float) -> bool:
        if self.controls.num_single_steps:
            return True
        waiting = self._human and self.controls.heading is None and not self.controls.turns
        return not (self.controls.paused or waiting) and now >= self._next_step

    def _backwards(self) -> int | None:
        """Returns the move that a person's snake cannot make now."""
        if self.controls.restart or self.match.ended[0]:
            return None  # the next snake is one cell long
        return move_onto_neck(jax.tree.map(lambda leaf: leaf[0], self.match.state))

    def _step(self) -> None:
        controls = self.controls
        heading = controls.turns[0] if controls.turns else controls.heading
        self.match.step(FREE if heading is None else heading)
        over = self._human and bool(self.match.ended[0])
        self.controls = controls._replace(
            num_single_steps=max(controls.num_single_steps - 1, 0),
            heading=None if over else heading,
            turns=() if over else controls.turns[1:],
        )
        self._refresh()

    def _refresh(self) -> None:
        self.picture = self.match.draw(self.controls.overlay)
        if self.controls.help:
            panels.draw_table(self.picture, KEYS_OF_A_PERSON if self._human else KEYS)
        state = "paused" if self.controls.paused else f"{self.controls.speed:.3g} steps a second"
        pygame.display.set_caption(f"{self.match.title} · {state} · H shows the keys")
