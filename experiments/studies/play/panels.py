"""Pictures of players at work: each game with its player's name, and with what the player thinks of it.

These thoughts are an arrow from the head for each move, the longer and the more opaque the more probable, and below
the board the running value estimate beside the player's hyperparameters.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pygame

from envs import drawing
from envs.drawing import Color
from envs.snake import MOVES, State

ARROW_COLOR: Color = (255, 214, 102)
VALUE_COLOR: Color = (104, 196, 255)
FAINT_COLOR: Color = (142, 150, 172)

SCALE = 2  # of what is drawn to what is shown: shrinking smooths the edges
TITLE_HEIGHT, LINE_HEIGHT, PAD = 32, 16, 16  # sums of multiples of 16, which video codecs want
FEWEST_LINES = 4  # below a board, so that the value's line has some height
ROOM = (1600, 960)  # on a screen, for a grid
NARROWEST = 208  # board, below which texts would not fit
LOWEST = 96  # board, below which the margins would leave two rows of cells no room
LEAST_PROBABILITY = 0.01  # of a move that gets an arrow
LONGEST_HISTORY = 120  # values in a line


class Thoughts(NamedTuple):
    """What a player thinks of its game.

    Attributes:
      probabilities: float [A], of the actions; None where the game is over.
      values: the estimates in the game's last steps, at most `LONGEST_HISTORY`.
      hyperparameters: of the player, by name; none if it is no agent, which then makes no estimates either.
    """

    probabilities: np.ndarray | None
    values: Sequence[float]
    hyperparameters: Mapping[str, float]


def board_size(num_rows: int, num_cols: int, grid: tuple[int, int]) -> tuple[int, int]:
    """Returns the width and height of a board's picture: the natural ones, or smaller so that a grid fits a screen.

    A grid of very many panels is larger than a screen: below some size nobody could read them.

    Args:
      num_rows: of the board.
      num_cols: of the board.
      grid: rows and columns of panels.
    """
    return _fit_screen(drawing.natural_size(num_rows, num_cols), grid)


def picture_size(shape: tuple[int, ...], grid: tuple[int, int]) -> tuple[int, int]:
    """Returns the width and height at which an environment's own picture is shown, likewise.

    Args:
      shape: of the picture, height and width first.
      grid: rows and columns of panels.
    """
    scale = drawing.LONGEST_SIDE / max(shape[:2])
    return _fit_screen((max(round(shape[1] * scale), NARROWEST), max(round(shape[0] * scale), 1)), grid)


def _fit_screen(size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    below = LINE_HEIGHT * FEWEST_LINES + PAD
    room = (ROOM[0] / grid[1] / width, (ROOM[1] / grid[0] - TITLE_HEIGHT - below) / height)
    shrink = min(1.0, max(min(room), NARROWEST / width))
    return round(width * shrink / 16) * 16, max(round(height * shrink / 16) * 16, LOWEST)


def draw_panel(
    name: str, state: State, thoughts: Thoughts, size: tuple[int, int], overlay: bool = True
) -> pygame.Surface:
    """Draws a game with its player's name above.

    Args:
      name: of the player.
      state: of one game.
      thoughts: to draw on the board and below it.
      size: of the board's picture; see `board_size`.
      overlay: whether to draw them, or to leave their place empty.

    Returns:
      A picture of that width, and higher.
    """
    picture = drawing.draw(state, size)
    if overlay and thoughts.probabilities is not None:
        _draw_arrows(picture, state, thoughts.probabilities)
    return _join([_draw_title(name, size[0]), picture, *_draw_below(thoughts, size[0], overlay)], down=True)


def draw_rendered(
    name: str, rendered: np.ndarray, thoughts: Thoughts, size: tuple[int, int], overlay: bool = True
) -> pygame.Surface:
    """Draws an environment's own picture with its player's name above.

    Args:
      name: of the player.
      rendered: uint8 [height, width, 3].
      thoughts: to draw below it.
      size: of the picture; see `picture_size`.
      overlay: whether to draw them, or to leave their place empty.

    Returns:
      A picture of that width, and higher.
    """
    height, width, _ = rendered.shape
    scale = min(size[0] / width, size[1] / height)
    shown = pygame.transform.scale(
        pygame.image.frombuffer(rendered.tobytes(), (width, height), "RGB"), (width * scale, height * scale)
    )
    picture = pygame.Surface(size)
    picture.fill(drawing.BACKGROUND_COLOR)
    picture.blit(shown, ((size[0] - shown.get_width()) // 2, (size[1] - shown.get_height()) // 2))
    return _join([_draw_title(name, size[0]), picture, *_draw_below(thoughts, size[0], overlay)], down=True)


def tile(panels: Sequence[pygame.Surface], num_cols: int) -> pygame.Surface:
    """Lays panels out in rows of `num_cols`."""
    rows = [_join(panels[start : start + num_cols], down=False) for start in range(0, len(panels), num_cols)]
    return _join(rows, down=True)


def draw_table(picture: pygame.Surface, rows: Sequence[tuple[str, str]]) -> None:
    """Draws a table of two columns over the middle of a picture."""
    width, height = NARROWEST - PAD, LINE_HEIGHT * len(rows) + 2 * PAD
    table = pygame.Surface((width, height))
    table.fill(drawing.BACKGROUND_COLOR)
    pygame.draw.rect(table, FAINT_COLOR, table.get_rect(), 1)
    for line, (name, meaning) in enumerate(rows):
        table.blit(_text(name, 16, drawing.TEXT_COLOR), (PAD, PAD + line * LINE_HEIGHT))
        table.blit(_text(meaning, 16, FAINT_COLOR), (width // 2, PAD + line * LINE_HEIGHT))
    picture.blit(table, ((picture.get_width() - width) // 2, (picture.get_height() - height) // 2))


def _join(parts: Sequence[pygame.Surface], down: bool) -> pygame.Surface:
    """Puts pictures below one another, or side by side."""
    widths, heights = zip(*(part.get_size() for part in parts), strict=True)
    joined = pygame.Surface((max(widths), sum(heights)) if down else (sum(widths), max(heights)))
    joined.fill(drawing.BACKGROUND_COLOR)
    place = 0
    for part, width, height in zip(parts, widths, heights, strict=True):
        joined.blit(part, (0, place) if down else (place, 0))
        place += height if down else width
    return joined


def _draw_title(name: str, width: int) -> pygame.Surface:
    strip = pygame.Surface((width, TITLE_HEIGHT))
    strip.fill(drawing.BACKGROUND_COLOR)
    label = _text(name, 21, drawing.TEXT_COLOR)
    strip.blit(label, ((width - label.get_width()) // 2, TITLE_HEIGHT - label.get_height()))
    return strip


def _draw_arrows(picture: pygame.Surface, state: State, probabilities: np.ndarray) -> None:
    """Draws on a board's picture where the head may go next, no farther than the board's margin."""
    num_rows, num_cols = state.body.shape
    layout = drawing.fit(num_rows, num_cols, picture.get_size())
    row, col = divmod(int(state.head), num_cols)
    canvas = pygame.Surface((3 * layout.cell * SCALE, 3 * layout.cell * SCALE), pygame.SRCALPHA)
    canvas.fill((*ARROW_COLOR, 0))  # what the edges are smoothed with
    for move, probability in zip(MOVES, probabilities.tolist(), strict=True):
        if probability >= LEAST_PROBABILITY:
            _draw_arrow(canvas, move[::-1], probability, layout.cell * SCALE)
    arrows = pygame.transform.smoothscale(canvas, (3 * layout.cell, 3 * layout.cell))
    x, y = layout.center(row, col)
    picture.set_clip((0, layout.top - layout.margin, *picture.get_size()))
    picture.blit(arrows, (x - canvas.get_width() // (2 * SCALE), y - canvas.get_height() // (2 * SCALE)))


def _draw_arrow(canvas: pygame.Surface, ahead: np.ndarray, probability: float, cell: int) -> None:
    """Draws an arrow from the rim of the head in the canvas's middle."""
    across = ahead[::-1] * [-1, 1]
    tip = 0.72 + 0.6 * probability
    outline = [(0.46, 0.07), (tip - 0.2, 0.07), (tip - 0.2, 0.17), (tip, 0.0)]
    outline += [(forth, -aside) for forth, aside in reversed(outline[:-1])]
    points = [canvas.get_width() / 2 + cell * (forth * ahead + aside * across) for forth, aside in outline]
    pygame.draw.polygon(canvas, (*ARROW_COLOR, round(70 + 185 * probability)), [point.tolist() for point in points])


def _draw_below(thoughts: Thoughts, width: int, overlay: bool) -> list[pygame.Surface]:
    """Returns the strip below a board, the same size whatever is in it; none where there never is anything."""
    if not thoughts.hyperparameters:
        return []
    height = LINE_HEIGHT * max(FEWEST_LINES, len(thoughts.hyperparameters)) + PAD
    strip = pygame.Surface((width, height))
    strip.fill(drawing.BACKGROUND_COLOR)
    if not overlay:
        return [strip]
    margin = min(PAD, width // 20)
    lines = [
        (_text(name, 16, FAINT_COLOR), _text(f"{value:.4g}", 16, drawing.TEXT_COLOR))
        for name, value in thoughts.hyperparameters.items()
    ]
    widest = max(name.get_width() + number.get_width() for name, number in lines)
    right = min(max(width // 2, width - 210), width - 2 * margin - widest)
    if thoughts.values:
        strip.blit(_draw_values(thoughts.values, (right - 2 * margin, height - PAD)), (margin, 0))
    for line, (name, number) in enumerate(lines):
        strip.blit(name, (right, line * LINE_HEIGHT))
        strip.blit(number, (width - margin - number.get_width(), line * LINE_HEIGHT))
    return [strip]


def _draw_values(values: Sequence[float], size: tuple[int, int]) -> pygame.Surface:
    """Draws the values as a line that ends in the present one, over a faint line at zero."""
    width, height = size[0] * SCALE, size[1] * SCALE
    chart = pygame.Surface((width, height))
    chart.fill(drawing.CELL_COLORS[0])
    low, high = min(0.0, *values), max(1.0, *values)
    top, bottom = (LINE_HEIGHT + 4) * SCALE, height - 4 * SCALE
    xs = np.linspace(0, width - 6 * SCALE, LONGEST_HISTORY)[: len(values)]
    ys = bottom - (np.array([0.0, *values]) - low) / (high - low) * (bottom - top)
    pygame.draw.line(chart, FAINT_COLOR, (0, ys[0]), (width, ys[0]))
    points = np.stack([xs, ys[1:]], axis=1).tolist()
    if len(points) > 1:
        pygame.draw.lines(chart, VALUE_COLOR, False, points, 2 * SCALE)
    pygame.draw.circle(chart, VALUE_COLOR, points[-1], 3 * SCALE)
    chart = pygame.transform.smoothscale(chart, size)
    label = _text(f"value {values[-1]:.2f}", 16, VALUE_COLOR)
    if 4 + label.get_width() <= size[0]:  # half a number would be another one
        chart.blit(label, (4, 3))
    return chart


def _text(text: str, height: int, color: Color) -> pygame.Surface:
    pygame.font.init()
    return pygame.transform.smoothscale_by(pygame.font.Font(None, height * SCALE).render(text, True, color), 1 / SCALE)
