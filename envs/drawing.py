"""Pictures of Snake: one function from a state to a picture, whatever shows or keeps it; none needs a screen.

The board is drawn at twice its size and then shrunk, which smooths every edge.
"""

import functools
import os
from typing import NamedTuple

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # before the import: it would greet on stdout

import jax
import numpy as np
import pygame

from envs.snake import State

Color = tuple[int, int, int]

BACKGROUND_COLOR: Color = (22, 24, 33)
CELL_COLORS: tuple[Color, Color] = ((35, 39, 53), (43, 48, 65))  # a chequerboard, for counting cells
HEAD_COLOR: Color = (158, 232, 92)
TAIL_COLOR: Color = (32, 108, 116)
FRUIT_COLOR: Color = (240, 76, 86)
SHINE_COLOR: Color = (246, 174, 180)
LEAF_COLOR: Color = (104, 190, 96)
STEM_COLOR: Color = (140, 100, 70)
EYE_COLOR: Color = (250, 252, 255)
PUPIL_COLOR: Color = (20, 26, 36)
TEXT_COLOR: Color = (226, 230, 240)

SCALE = 2  # of the canvas to the picture
LONGEST_SIDE = 480  # of a board at its natural size
MARGIN = 16
STATUS_HEIGHT = 48
NARROWEST = 352  # in a picture below this width the margin and the status line shrink with it


class Layout(NamedTuple):
    """Where the board lies in a picture, in pixels.

    Attributes:
      width: of the picture.
      height: of the picture; the status line takes the top of it.
      cell: the side of a cell.
      left: of the board.
      top: of the board.
      margin: around the board; nothing of the status line lies in it.
    """

    width: int
    height: int
    cell: int
    left: int
    top: int
    margin: int

    def center(self, row: int, col: int) -> tuple[int, int]:
        """Returns the x and y of a cell's centre."""
        return self.left + self.cell * col + self.cell // 2, self.top + self.cell * row + self.cell // 2


def natural_size(num_rows: int, num_cols: int) -> tuple[int, int]:
    """Returns the width and height of a board's picture unless told otherwise, multiples of 16 as video codecs want."""
    cell = LONGEST_SIDE // max(num_rows, num_cols)
    width = max(num_cols * cell + 2 * MARGIN, NARROWEST)
    height = num_rows * cell + MARGIN + STATUS_HEIGHT
    return -(-width // 16) * 16, -(-height // 16) * 16


def fit(num_rows: int, num_cols: int, size: tuple[int, int]) -> Layout:
    """Places the largest board that a picture of this width and height has room for, below the status line."""
    width, height = size
    margin, status_height = round(MARGIN * _shrink(width)), round(STATUS_HEIGHT * _shrink(width))
    room_width, room_height = width - 2 * margin, height - margin - status_height
    cell = min(room_width // num_cols, room_height // num_rows)
    if cell < 1:
        raise ValueError(f"size must have room for {num_rows}x{num_cols} cells, got {width}x{height} pixels")
    left = (width - num_cols * cell) // 2
    top = status_height + (room_height - num_rows * cell) // 2
    return Layout(width, height, cell, left, top, margin)


def draw(state: State, size: tuple[int, int] | None = None) -> pygame.Surface:
    """Draws one game.

    Args:
      state: of one game, of JAX or NumPy arrays.
      size: the picture's width and height in pixels; `natural_size` of the board if not given.

    Returns:
      A new picture.

    Raises:
      ValueError: if `size` has no room for the board.
    """
    state = jax.device_get(state)
    num_rows, num_cols = state.body.shape
    layout = fit(num_rows, num_cols, size or natural_size(num_rows, num_cols))
    picture = pygame.Surface((layout.width, layout.height))
    picture.fill(BACKGROUND_COLOR)
    board = _empty_board(num_rows, num_cols, layout.cell * SCALE)
    canvas = _canvas(board.get_size())
    canvas.blit(board, (0, 0))
    if state.length < num_rows * num_cols:
        _draw_fruit(canvas, state, layout.cell * SCALE)
    _draw_snake(canvas, state, layout.cell * SCALE)
    place = picture.subsurface((layout.left, layout.top, num_cols * layout.cell, num_rows * layout.cell))
    pygame.transform.smoothscale(canvas, place.get_size(), place)
    _draw_status(picture, state, layout)
    return picture


def pixels(picture: pygame.Surface) -> np.ndarray:
    """Returns a picture as an array of its own, uint8 [height, width, 3]."""
    width, height = picture.get_size()
    return np.frombuffer(bytearray(pygame.image.tobytes(picture, "RGB")), np.uint8).reshape(height, width, 3)


class Window:
    """A window on the screen that shows pictures, each in its own size."""

    def __init__(self, caption: str) -> None:
        pygame.display.init()
        pygame.display.set_caption(caption)
        self._clock = pygame.time.Clock()

    def show(self, picture: pygame.Surface, frames_per_second: int) -> None:
        """Shows a picture, not sooner than a frame's time after the one before."""
        screen = pygame.display.get_surface()
        if screen is None or screen.get_size() != picture.get_size():
            screen = pygame.display.set_mode(picture.get_size())
        screen.blit(picture, (0, 0))
        pygame.event.pump()
        self._clock.tick(frames_per_second)
        pygame.display.flip()

    def close(self) -> None:
        """Closes the window."""
        pygame.display.quit()


@functools.lru_cache(maxsize=16)
def _empty_board(num_rows: int, num_cols: int, cell: int) -> pygame.Surface:
    board = pygame.Surface((num_cols * cell, num_rows * cell))
    for row in range(num_rows):
        for col in range(num_cols):
            board.fill(CELL_COLORS[(row + col) % 2], (col * cell, row * cell, cell, cell))
    return board


@functools.lru_cache(maxsize=16)
def _canvas(size: tuple[int, int]) -> pygame.Surface:
    """Returns a surface to draw on, kept for the next picture: a new one of this size is dearer than the drawing."""
    return pygame.Surface(size)


def _draw_fruit(canvas: pygame.Surface, state: State, cell: int) -> None:
    row, col = divmod(int(state.fruit), state.body.shape[1])
    x, y = (col + 0.5) * cell, (row + 0.54) * cell
    pygame.draw.circle(canvas, FRUIT_COLOR, (x, y), 0.34 * cell)
    pygame.draw.circle(canvas, SHINE_COLOR, (x - 0.12 * cell, y - 0.13 * cell), 0.07 * cell)
    stem = [(x - 0.03 * cell, y - 0.26 * cell), (x + 0.03 * cell, y - 0.26 * cell), (x + 0.06 * cell, y - 0.44 * cell)]
    pygame.draw.polygon(canvas, STEM_COLOR, stem)
    pygame.draw.ellipse(canvas, LEAF_COLOR, (x + 0.03 * cell, y - 0.44 * cell, 0.24 * cell, 0.13 * cell))


def _draw_snake(canvas: pygame.Surface, state: State, cell: int) -> None:
    """Draws the body from the tail to the head: a band that grows wider and brighter, with round bends."""
    length = int(state.length)
    path = np.argsort(state.body, axis=None)[-length:]  # the snake's cells: free ones are 0
    centers = (np.stack([path % state.body.shape[1], path // state.body.shape[1]], axis=1) + 0.5) * cell
    pieces = max(2, 200 // length)  # a cell; the shorter the snake, the steeper its gradient
    places = np.arange((length - 1) * pieces + 1) / pieces
    points = np.stack([np.interp(places, np.arange(length), axis) for axis in centers.T], axis=1)
    progress = (places + 1) / length
    radii = cell * np.interp(progress, [0.0, 0.5, 1.0], [0.16, 0.34, 0.38])
    colors = (TAIL_COLOR + progress[:, None] * np.subtract(HEAD_COLOR, TAIL_COLOR)).astype(int).tolist()
    # The disks come first: what shows of them beside the band is the bends' outer corners and the tail's end.
    for center, color, radius in zip(centers.tolist(), colors[::pieces], radii[::pieces], strict=True):
        pygame.draw.circle(canvas, color, center, radius)
    across = np.diff(points, axis=0)[:, ::-1] * [-1, 1] * pieces / cell  # unit vectors
    starts, ends = across * radii[:-1, None], across * radii[1:, None]
    corners = [points[:-1] - starts, points[:-1] + starts, points[1:] + ends, points[1:] - ends]
    for color, polygon in zip(colors[:-1], np.stack(corners, axis=1).tolist(), strict=True):
        pygame.draw.polygon(canvas, color, polygon)
    _draw_head(canvas, state, centers, cell)


def _draw_head(canvas: pygame.Surface, state: State, centers: np.ndarray, cell: int) -> None:
    """Draws the head and its eyes, which look along the last move, and before the first one towards the fruit."""
    head = centers[-1]
    num_cols = state.body.shape[1]
    fruit = (np.array([state.fruit % num_cols, state.fruit // num_cols]) + 0.5) * cell
    gaze = head - centers[-2] if len(centers) > 1 else fruit - head
    ahead = gaze / np.hypot(*gaze)
    across = ahead[::-1] * [-1, 1]
    pygame.draw.circle(canvas, HEAD_COLOR, head, 0.44 * cell)
    for side in (-1, 1):
        eye = head + cell * (0.15 * ahead + 0.22 * side * across)
        if state.crashed:
            arms = 0.09 * cell * np.array([[1, 1], [-1, -1], [1, -1], [-1, 1]])
            pygame.draw.line(canvas, PUPIL_COLOR, eye + arms[0], eye + arms[1], max(1, cell // 18))
            pygame.draw.line(canvas, PUPIL_COLOR, eye + arms[2], eye + arms[3], max(1, cell // 18))
        else:
            pygame.draw.circle(canvas, EYE_COLOR, eye, 0.14 * cell)
            pygame.draw.circle(canvas, PUPIL_COLOR, eye + 0.045 * cell * ahead, 0.08 * cell)


def _draw_status(picture: pygame.Surface, state: State, layout: Layout) -> None:
    pygame.font.init()
    font = pygame.font.Font(None, 23 * SCALE)
    shrink = _shrink(layout.width)
    length = int(state.length)
    texts = [f"score {length - 1}", f"length {length}", f"steps {int(state.step_count)}"]
    for place, text in zip((0.0, 0.5, 1.0), texts, strict=True):
        label = pygame.transform.smoothscale_by(font.render(text, True, TEXT_COLOR), shrink / SCALE)
        room = layout.width - 2 * MARGIN * shrink - label.get_width()
        picture.blit(label, (MARGIN * shrink + place * room, (STATUS_HEIGHT * shrink - label.get_height()) / 2))


def _shrink(width: int) -> float:
    """Returns the size of the margin and the status line in a picture of this width, 1 in a wide one."""
    return min(1.0, width / NARROWEST)
