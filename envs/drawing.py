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

from envs.snake import MOVES, State

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
LONGEST_SIDE = 480  # of a board
MARGIN = 16
STATUS_HEIGHT = 48
NARROWEST = 352  # picture, in which the status line has room

_CLOCK = pygame.time.Clock()  # of the window


class Layout(NamedTuple):
    """Where the board lies in a picture below the status line, in pixels."""

    width: int  # of the picture, a multiple of 16 as video codecs want, like the height
    height: int
    cell: int  # side of a cell
    left: int  # of the board
    top: int

    def center(self, row: int, col: int) -> tuple[int, int]:
        """Returns the x and y of a cell's centre."""
        return self.left + self.cell * col + self.cell // 2, self.top + self.cell * row + self.cell // 2


def layout(num_rows: int, num_cols: int) -> Layout:
    """Places a board in a picture."""
    cell = LONGEST_SIDE // max(num_rows, num_cols)
    width = max(num_cols * cell + 2 * MARGIN, NARROWEST)
    height = num_rows * cell + MARGIN + STATUS_HEIGHT
    width, height = -(-width // 16) * 16, -(-height // 16) * 16
    spare = height - MARGIN - STATUS_HEIGHT - num_rows * cell
    return Layout(width, height, cell, (width - num_cols * cell) // 2, STATUS_HEIGHT + spare // 2)


def draw(state: State) -> pygame.Surface:
    """Returns a new picture of one game, whose state may be of JAX or NumPy arrays."""
    state = jax.device_get(state)
    num_rows, num_cols = state.body.shape
    place = layout(num_rows, num_cols)
    picture = pygame.Surface((place.width, place.height))
    picture.fill(BACKGROUND_COLOR)
    board, canvas = _board_and_canvas(num_rows, num_cols, place.cell * SCALE)
    canvas.blit(board, (0, 0))
    if state.length < num_rows * num_cols:
        _draw_fruit(canvas, state, place.cell * SCALE)
    _draw_snake(canvas, state, place.cell * SCALE)
    shown = picture.subsurface((place.left, place.top, num_cols * place.cell, num_rows * place.cell))
    pygame.transform.smoothscale(canvas, shown.get_size(), shown)
    _draw_status(picture, state)
    return picture


def arrows(state: State) -> np.ndarray:
    """Returns where the moves lead in a game's picture, float [4, 2, 2].

    Of each move, the (x, y) where an arrow begins, at the head's rim, and as far as which it may go, within the margin:
    it would hide the status line.
    """
    place = layout(*state.body.shape)
    ahead = place.cell * MOVES[:, ::-1]
    ends = place.center(*divmod(int(state.head), state.body.shape[1])) + np.stack([0.46 * ahead, 1.32 * ahead], axis=1)
    ends[..., 1] = np.maximum(ends[..., 1], place.top - MARGIN)
    return ends


def pixels(picture: pygame.Surface) -> np.ndarray:
    """Returns a picture as an array of its own, uint8 [height, width, 3]."""
    # `pygame.surfarray` takes several times as long.
    content = np.frombuffer(bytearray(pygame.image.tobytes(picture, "RGB")), np.uint8)
    return content.reshape(picture.get_height(), picture.get_width(), 3)


def show(picture: pygame.Surface, caption: str, frames_per_second: int) -> None:
    """Shows a picture on the screen, in a window of its size, not sooner than a frame's time after the one before."""
    pygame.display.init()
    screen = pygame.display.get_surface()
    if screen is None or screen.get_size() != picture.get_size():
        screen = pygame.display.set_mode(picture.get_size())
    pygame.display.set_caption(caption)
    screen.blit(picture, (0, 0))
    pygame.event.pump()
    _CLOCK.tick(frames_per_second)
    pygame.display.flip()


def close_window() -> None:
    """Closes the window, if there is one."""
    pygame.display.quit()


@functools.lru_cache(maxsize=16)
def _board_and_canvas(num_rows: int, num_cols: int, cell: int) -> tuple[pygame.Surface, pygame.Surface]:
    """Returns an empty board, and a surface to draw on: a new one for each picture is dearer than the drawing."""
    board, canvas = (pygame.Surface((num_cols * cell, num_rows * cell)) for _ in range(2))
    for row, col in np.ndindex(num_rows, num_cols):
        board.fill(CELL_COLORS[(row + col) % 2], (col * cell, row * cell, cell, cell))
    return board, canvas


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
    fruit = (np.array(divmod(int(state.fruit), state.body.shape[1])[::-1]) + 0.5) * cell
    gaze = head - centers[-2] if len(centers) > 1 else fruit - head
    ahead = gaze / np.hypot(*gaze)
    across = ahead[::-1] * [-1, 1]
    pygame.draw.circle(canvas, HEAD_COLOR, head, 0.44 * cell)
    for side in (-1, 1):
        eye = head + cell * (0.15 * ahead + 0.22 * side * across)
        if state.crashed:
            for arm in 0.09 * cell * np.array([[1, 1], [1, -1]]):
                pygame.draw.line(canvas, PUPIL_COLOR, eye + arm, eye - arm, max(1, cell // 18))
        else:
            pygame.draw.circle(canvas, EYE_COLOR, eye, 0.14 * cell)
            pygame.draw.circle(canvas, PUPIL_COLOR, eye + 0.045 * cell * ahead, 0.08 * cell)


def _draw_status(picture: pygame.Surface, state: State) -> None:
    pygame.font.init()
    font = pygame.font.Font(None, 23 * SCALE)
    length = int(state.length)
    texts = [f"score {length - 1}", f"length {length}", f"steps {int(state.step_count)}"]
    for place, text in zip((0.0, 0.5, 1.0), texts, strict=True):
        label = pygame.transform.smoothscale_by(font.render(text, True, TEXT_COLOR), 1 / SCALE)
        room = picture.get_width() - 2 * MARGIN - label.get_width()
        picture.blit(label, (MARGIN + place * room, (STATUS_HEIGHT - label.get_height()) / 2))
