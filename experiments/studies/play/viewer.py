"""The window in which a match is watched, or played by a person, and what its keys do."""

import time

import pygame

from envs import drawing
from envs.snake import DOWN, LEFT, RIGHT, UP
from experiments.config.ranges import UsageError
from experiments.studies.play import panels
from experiments.studies.play.games import FREE, Match
from experiments.studies.play.ranges import RANGES

FRAMES_PER_SECOND = 60  # of the window, however slow the games are: keys are answered at once
SPEED_FACTOR = 1.25  # of a press
MAX_TURNS = 2  # who presses two arrows between two steps means both
KEYS = {"space": "pause, go on", "R": "restart", "H": "these keys", "Q": "quit"}
KEYS_OF_A_PERSON = {"arrows": "steer", **KEYS}
KEYS_OF_A_SPECTATOR = {"right": "one step", "up, down": "faster, slower", "O": "thoughts", **KEYS}
MOVE_KEYS = {pygame.K_UP: UP, pygame.K_RIGHT: RIGHT, pygame.K_DOWN: DOWN, pygame.K_LEFT: LEFT}
OPPOSITE = {None: None, UP: DOWN, DOWN: UP, LEFT: RIGHT, RIGHT: LEFT}


def watch(match: Match, speed: float, human: bool) -> None:
    """Shows a match in a window until that is closed; see `Viewer`."""
    viewer = Viewer(match, speed, human)
    try:
        while viewer.tick(time.monotonic()):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        drawing.close_window()


class Viewer:
    """A window onto a match.

    Args:
      match: to show; of one game of Snake where a person plays.
      speed: steps a second, to begin with.
      human: whether a person steers, with the arrow keys.

    Raises:
      UsageError: if there is no screen.
    """

    def __init__(self, match: Match, speed: float, human: bool) -> None:
        self._match = match
        self._speed = speed
        self._human = human
        self._paused = self._help = False
        self._overlay = not human
        self._next_step = 0.0
        self._heading: int | None = None  # of a person's snake, which goes on that way; None before a game's first move
        self._turns: list[int] = []  # a person's next moves
        try:
            self._draw()
            self._show()
            if pygame.display.get_driver() == "offscreen":  # what SDL falls back to; nobody would see anything
                raise pygame.error("SDL found none")
        except pygame.error as error:
            raise UsageError(f"no screen ({error}); `record`=FILE.gif or `record`=FILE.mp4 needs none") from error

    def tick(self, now: float) -> bool:
        """Answers the keys, plays what is due and shows a frame.

        Args:
          now: in seconds, from any start.

        Returns:
          Whether the window stays open.
        """
        events = [event for event in pygame.event.get() if event.type in (pygame.KEYDOWN, pygame.QUIT)]
        for event in events:
            if event.type == pygame.QUIT or event.key == pygame.K_q:
                return False
            self._press(event.key)
        waiting = self._human and self._heading is None and not self._turns
        due = not (self._paused or waiting) and now >= self._next_step
        if due:
            # From when it was due, so that the window's frames do not slow the games; but nothing is caught up.
            next_step = self._next_step + 1 / self._speed
            self._next_step = next_step if next_step > now else now + 1 / self._speed
            self._step()
        if due or events:
            self._draw()
        self._show()
        return True

    def _press(self, key: int) -> None:
        if self._human and key in MOVE_KEYS:
            self._turn(MOVE_KEYS[key])
        elif key == pygame.K_SPACE:
            self._paused = not self._paused
        elif key == pygame.K_RIGHT:
            self._paused = True
            self._step()
        elif key in (pygame.K_UP, pygame.K_DOWN):
            speed = self._speed * (SPEED_FACTOR if key == pygame.K_UP else 1 / SPEED_FACTOR)
            self._speed = speed if RANGES["speed"].accepts(speed) else self._speed
        elif key == pygame.K_o and not self._human:
            self._overlay = not self._overlay
        elif key == pygame.K_h:
            self._help = not self._help
        elif key == pygame.K_r:
            self._match.restart()
            self._heading, self._turns = None, []

    def _turn(self, move: int) -> None:
        """Notes a person's move, unless it repeats the one before or would turn the snake into its neck."""
        before = self._turns[-1] if self._turns else self._heading
        has_no_neck = not self._turns and self._match.state.length[0] == 1
        if len(self._turns) < MAX_TURNS and (has_no_neck or move not in (before, OPPOSITE[before])):
            self._turns.append(move)

    def _step(self) -> None:
        self._heading = self._turns.pop(0) if self._turns else self._heading
        self._match.step(FREE if self._heading is None else self._heading)
        if self._match.ended[0]:
            self._heading, self._turns = None, []

    def _draw(self) -> None:
        self._picture = self._match.draw(self._overlay)
        if self._help:
            panels.draw_table(self._picture, KEYS_OF_A_PERSON if self._human else KEYS_OF_A_SPECTATOR)

    def _show(self) -> None:
        state = "paused" if self._paused else f"{self._speed:.3g} steps a second"
        drawing.show(self._picture, f"{self._match.title} · {state} · H shows the keys", FRAMES_PER_SECOND)
