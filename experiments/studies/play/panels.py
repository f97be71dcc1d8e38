"""Pictures of players at work: each game with its player's name, and with what the player thinks of it.

These thoughts are an arrow for each move, the longer and the more opaque the more probable, and below the game the
running value estimate beside the player's hyperparameters.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pygame

from envs.drawing import BACKGROUND_COLOR, CELL_COLORS, LONGEST_SIDE, TEXT_COLOR, Color

ARROW_COLOR: Color = (255, 214, 102)
VALUE_COLOR: Color = (104, 196, 255)
FAINT_COLOR: Color = (142, 150, 172)

SCALE = 2  # of what is drawn to what is shown: shrinking smooths the edges
TITLE_HEIGHT, LINE_HEIGHT, PAD = 32, 16, 16  # sums of multiples of 16, which video codecs want
FEWEST_LINES = 4  # below a game, so that the value's line has some height
ROOM = (1600, 960)  # on a screen, for a grid
NARROWEST, LOWEST = 208, 96  # game, below which texts would not fit, nor anything be seen
LEAST_PROBABILITY = 0.01  # of a move that gets an arrow
LONGEST_HISTORY = 120  # values in a line


class Panel(NamedTuple):
    """What is shown of a player."""

    name: str
    game: np.ndarray  # the environment's picture, uint8 [height, width, 3]
    arrows: np.ndarray | None  # float [A, 2, 2], from where to where in that picture each action leads, if anywhere
    probabilities: np.ndarray | None  # float [A], of the actions, where there are so many
    values: Sequence[float]  # the estimates in the game's last steps, at most `LONGEST_HISTORY`
    hyperparameters: Mapping[str, float]  # none of who is no agent, and then makes no estimates either


def game_size(shape: tuple[int, ...], grid: tuple[int, int]) -> tuple[int, int]:
    """Returns the width and height at which pictures of a shape are shown: small ones larger, and all to fit a screen.

    A grid of very many panels is larger than a screen: below some size nobody could read them.
    """
    scale = max(1.0, LONGEST_SIDE / max(shape[:2]))
    height, width = max(round(shape[0] * scale), 1), max(round(shape[1] * scale), NARROWEST)
    below = LINE_HEIGHT * FEWEST_LINES + PAD
    room = (ROOM[0] / grid[1] / width, (ROOM[1] / grid[0] - TITLE_HEIGHT - below) / height)
    shrink = min(1.0, max(min(room), NARROWEST / width))
    return round(width * shrink / 16) * 16, max(round(height * shrink / 16) * 16, LOWEST)


def draw(panels: Sequence[Panel], grid: tuple[int, int], size: tuple[int, int], overlay: bool) -> pygame.Surface:
    """Draws panels row by row in a grid, each game of a size; without an overlay the place of the thoughts is empty."""
    num_lines = max(len(panel.hyperparameters) for panel in panels)
    width, bottom = size[0], TITLE_HEIGHT + size[1]
    height = bottom + (LINE_HEIGHT * max(FEWEST_LINES, num_lines) + PAD if num_lines else 0)
    picture = pygame.Surface((grid[1] * width, grid[0] * height))
    picture.fill(BACKGROUND_COLOR)
    for index, panel in enumerate(panels):
        row, col = divmod(index, grid[1])
        place = picture.subsurface((col * width, row * height, width, height))
        label = _text(panel.name, 21, TEXT_COLOR)
        place.blit(label, ((width - label.get_width()) // 2, TITLE_HEIGHT - label.get_height()))
        _draw_game(place.subsurface((0, TITLE_HEIGHT, *size)), panel, overlay)
        if overlay and panel.hyperparameters:
            _draw_below(place.subsurface((0, bottom, width, height - bottom)), panel)
    return picture


def draw_table(picture: pygame.Surface, rows: Mapping[str, str]) -> None:
    """Draws a table of two columns over the middle of a picture."""
    width, height = NARROWEST - PAD, LINE_HEIGHT * len(rows) + 2 * PAD
    place = pygame.Rect((picture.get_width() - width) // 2, (picture.get_height() - height) // 2, width, height)
    pygame.draw.rect(picture, BACKGROUND_COLOR, place)
    pygame.draw.rect(picture, FAINT_COLOR, place, 1)
    for line, (name, meaning) in enumerate(rows.items()):
        top = place.top + PAD + line * LINE_HEIGHT
        picture.blit(_text(name, 16, TEXT_COLOR), (place.left + PAD, top))
        picture.blit(_text(meaning, 16, FAINT_COLOR), (place.left + width // 2, top))


def _draw_game(place: pygame.Surface, panel: Panel, overlay: bool) -> None:
    size = np.array(panel.game.shape[1::-1])
    scale = min(place.get_size() / size)
    corner = (place.get_size() - size * scale) // 2
    resize = pygame.transform.smoothscale if scale < 1 else pygame.transform.scale  # small pictures keep their pixels
    picture = pygame.image.frombuffer(panel.game.tobytes(), size.tolist(), "RGB")
    place.blit(resize(picture, np.round(size * scale)), corner)
    if overlay and panel.arrows is not None and panel.probabilities is not None:
        _draw_arrows(place, corner + scale * panel.arrows, panel.probabilities)


def _draw_arrows(place: pygame.Surface, arrows: np.ndarray, probabilities: np.ndarray) -> None:
    """Draws where the actions lead, each arrow nearly as far as it may go if its action is certain."""
    rim = 0.2 * np.abs(arrows[:, 1] - arrows[:, 0]).max() + 1  # half of the arrowheads' width
    low, high = np.floor(arrows.min((0, 1)) - rim), np.ceil(arrows.max((0, 1)) + rim)
    canvas = pygame.Surface(SCALE * (high - low), pygame.SRCALPHA)
    canvas.fill((*ARROW_COLOR, 0))  # what the edges are smoothed with
    for (start, end), probability in zip(SCALE * (arrows - low), probabilities.tolist(), strict=True):
        if probability >= LEAST_PROBABILITY:
            across = (end - start)[::-1] * [-1, 1]
            tip = 0.3 + 0.7 * probability
            half = [(0.0, 0.08), (tip - 0.23, 0.08), (tip - 0.23, 0.2)]
            outline = [*half, (tip, 0.0), *((ahead, -aside) for ahead, aside in reversed(half))]
            points = [(start + ahead * (end - start) + aside * across).tolist() for ahead, aside in outline]
            pygame.draw.polygon(canvas, (*ARROW_COLOR, round(70 + 185 * probability)), points)
    place.blit(pygame.transform.smoothscale(canvas, high - low), low)


def _draw_below(place: pygame.Surface, panel: Panel) -> None:
    width, height = place.get_size()
    margin = min(PAD, width // 20)
    names = [_text(name, 16, FAINT_COLOR) for name in panel.hyperparameters]
    numbers = [_text(f"{value:.4g}", 16, TEXT_COLOR) for value in panel.hyperparameters.values()]
    widest = max(name.get_width() + number.get_width() for name, number in zip(names, numbers, strict=True))
    right = min(max(width // 2, width - 210), width - 2 * margin - widest)
    if panel.values:
        place.blit(_chart(panel.values, (right - 2 * margin, height - PAD)), (margin, 0))
    for line, (name, number) in enumerate(zip(names, numbers, strict=True)):
        place.blit(name, (right, line * LINE_HEIGHT))
        place.blit(number, (width - margin - number.get_width(), line * LINE_HEIGHT))


def _chart(values: Sequence[float], size: tuple[int, int]) -> pygame.Surface:
    """Draws the values as a line that ends in the present one, over a faint line at zero."""
    width, height = size[0] * SCALE, size[1] * SCALE
    chart = pygame.Surface((width, height))
    chart.fill(CELL_COLORS[0])
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
