import time
from collections.abc import Iterator

import jax
import numpy as np
import pygame
import pytest

from envs import drawing
from envs.snake import DOWN, LEFT, MOVES, RIGHT, UP, Snake, State

BOARDS = [(6, 6), (12, 12), (20, 20), (3, 7), (9, 2)]


@pytest.fixture(autouse=True)
def no_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    pygame.quit()


def game(num_rows: int, num_cols: int, cells: list[tuple[int, int]], crashed: bool = False) -> State:
    """Returns a game whose snake covers these cells from the tail to the head; the fruit is on the last free cell."""
    body = np.zeros((num_rows, num_cols), np.int32)
    for place, cell in enumerate(cells):
        body[cell] = place + 1
    free = np.flatnonzero(body == 0)
    head = np.ravel_multi_index(cells[-1], body.shape)
    fruit = free[-1] if len(free) else head
    return State(body, head, fruit, np.int32(len(cells)), np.int32(17), np.bool_(crashed))


def winding(num_rows: int, num_cols: int, length: int) -> State:
    """Returns a game whose snake goes to and fro over the rows."""
    cells = [(row, col if row % 2 == 0 else num_cols - 1 - col) for row in range(num_rows) for col in range(num_cols)]
    return game(num_rows, num_cols, cells[:length])


def frame(state: State, size: tuple[int, int] | None = None) -> tuple[np.ndarray, drawing.Layout]:
    """Returns a picture's pixels and its layout."""
    picture = drawing.draw(state, size)
    return drawing.pixels(picture), drawing.fit(*state.body.shape, picture.get_size())


def color_at(image: np.ndarray, layout: drawing.Layout, row: float, col: float) -> tuple[int, ...]:
    """Returns the colour at a cell's centre, or between centres."""
    x, y = layout.left + (col + 0.5) * layout.cell, layout.top + (row + 0.5) * layout.cell
    return tuple(image[int(y), int(x)].tolist())


@pytest.mark.parametrize("size", [None, (300, 260), (800, 640)])
@pytest.mark.parametrize("board", BOARDS)
def test_every_cell_shows_what_is_on_it(board: tuple[int, int], size: tuple[int, int] | None) -> None:
    state = winding(*board, length=board[0] * board[1] // 2)
    image, layout = frame(state, size)
    for row in range(board[0]):
        for col in range(board[1]):
            cell, color = row * board[1] + col, color_at(image, layout, row, col)
            if cell == state.head:
                assert color == drawing.HEAD_COLOR
            elif cell == state.fruit:
                assert color == drawing.FRUIT_COLOR
            elif state.body[row, col]:
                share = state.body[row, col] / state.length
                expected = (1 - share) * np.array(drawing.TAIL_COLOR) + share * np.array(drawing.HEAD_COLOR)
                np.testing.assert_allclose(color, expected, atol=12)
            else:
                assert color == drawing.CELL_COLORS[(row + col) % 2]


def test_the_body_is_continuous_and_shows_its_course() -> None:
    image, layout = frame(winding(6, 6, length=18))
    for col in range(5):
        for row in range(3):
            assert color_at(image, layout, row, col + 0.5) not in drawing.CELL_COLORS
    assert color_at(image, layout, 0.5, 5) not in drawing.CELL_COLORS  # the bend at the end of the first row
    assert color_at(image, layout, 0.5, 2) in drawing.CELL_COLORS  # rows beside each other do not touch


def place_of_the_eyes(image: np.ndarray, layout: drawing.Layout, row: int, col: int) -> np.ndarray:
    """Returns the mean place of the eyes' pixels in the head's cell, (rows, columns) from its centre."""
    x, y = layout.center(row, col)
    half = layout.cell // 2
    patch = image[y - half : y + half, x - half : x + half]
    eyes = np.argwhere((patch == drawing.EYE_COLOR).all(axis=-1))
    return eyes.mean(axis=0) - half


@pytest.mark.parametrize("action", [UP, RIGHT, DOWN, LEFT])
def test_the_eyes_look_ahead(action: int) -> None:
    move = MOVES[action]
    head = (2, 2)
    image, layout = frame(game(5, 5, [tuple(head - move), head]))
    ahead = place_of_the_eyes(image, layout, *head) / layout.cell
    assert ahead @ move > 0.05
    assert abs(ahead @ move[::-1]) < 0.02


def test_a_new_snake_looks_at_the_fruit() -> None:
    image, layout = frame(game(5, 5, [(2, 4)]))  # the fruit is at (4, 4)
    assert place_of_the_eyes(image, layout, 2, 4)[0] > 0.05 * layout.cell


def test_a_crash_shuts_the_eyes() -> None:
    image, _ = frame(game(5, 5, [(2, 1), (2, 2)], crashed=True))
    assert not (image == drawing.EYE_COLOR).all(axis=-1).any()


def test_a_full_board_has_no_fruit() -> None:
    image, _ = frame(winding(4, 4, length=16)._replace(fruit=np.int32(0)))
    assert not (image == drawing.FRUIT_COLOR).all(axis=-1).any()


def test_the_status_line_tells_score_length_and_steps() -> None:
    state = winding(6, 6, length=5)
    before, layout = frame(state)
    later, _ = frame(state._replace(step_count=np.int32(18)))
    changed = (before != later).any(axis=-1)
    assert not changed[layout.top :].any()
    assert changed[: layout.top, 2 * layout.width // 3 :].any()
    assert not changed[: layout.top, : 2 * layout.width // 3].any()
    longer, _ = frame(winding(6, 6, length=6))
    changed = (before != longer).any(axis=-1)[: layout.top]
    assert changed[:, : layout.width // 3].any()
    assert changed[:, layout.width // 3 : 2 * layout.width // 3].any()


@pytest.mark.parametrize("width", [160, 352, 1000])
def test_the_status_line_fits_any_width(width: int) -> None:
    state = winding(32, 32, length=1024)._replace(step_count=np.int32(4_000))
    image, layout = frame(state, (width, 2 * width))
    written = (image[: layout.top] != drawing.BACKGROUND_COLOR).any(axis=(0, 2))
    margin = min(drawing.MARGIN, width // 25)
    assert not written[:margin].any()
    assert not written[1 - margin :].any()
    gaps = np.diff(np.flatnonzero(written))
    assert (gaps > 0.03 * width).sum() == 2  # three texts, apart from each other


def test_takes_the_states_of_the_environment() -> None:
    snake = Snake(4, 7)
    state = snake.initial(jax.random.key(0))
    image, layout = frame(state)
    assert color_at(image, layout, *divmod(int(state.head), 7)) == drawing.HEAD_COLOR


def test_pictures_have_the_size_asked_for() -> None:
    for size in [(320, 400), (401, 333)]:
        image, _ = frame(winding(5, 5, 3), size)
        assert image.shape == (size[1], size[0], 3)
        assert image.dtype == np.uint8
    for board in BOARDS:
        width, height = drawing.natural_size(*board)
        assert width % 16 == height % 16 == 0
        assert frame(winding(*board, 3))[0].shape == (height, width, 3)


def test_refuses_a_size_without_room() -> None:
    with pytest.raises(ValueError, match=r"^size must have room for 12x12 cells, got 12x200 pixels$"):
        drawing.draw(winding(12, 12, 3), (12, 200))


def test_pixels_are_an_array_of_their_own() -> None:
    picture = drawing.draw(winding(5, 5, 3))
    image = drawing.pixels(picture)
    image[:] = 0
    assert drawing.pixels(picture).any()


def test_drawing_needs_no_screen() -> None:
    pygame.display.quit()
    drawing.draw(winding(5, 5, 3))
    assert not pygame.display.get_init()


def test_a_window_shows_each_picture_in_its_size() -> None:
    window = drawing.Window("test")
    for board in [(5, 5), (3, 9)]:
        picture = drawing.draw(winding(*board, 3))
        window.show(picture, frames_per_second=1_000)
        screen = pygame.display.get_surface()
        np.testing.assert_array_equal(drawing.pixels(screen), drawing.pixels(picture))
    assert pygame.display.get_caption()[0] == "test"
    window.close()
    assert not pygame.display.get_init()


def test_a_window_keeps_time() -> None:
    window = drawing.Window("test")
    picture = drawing.draw(winding(5, 5, 3))
    window.show(picture, frames_per_second=20)
    start = time.perf_counter()
    for _ in range(4):
        window.show(picture, frames_per_second=20)
    assert time.perf_counter() - start > 0.9 * 4 / 20
    window.close()


def test_draws_fast() -> None:
    state = winding(12, 12, length=100)

    def seconds_a_frame() -> float:
        start = time.process_time()
        for _ in range(10):
            frame(state)
        return (time.process_time() - start) / 10

    # Wanted are 100 frames a second; a machine that runs at half its speed is not to fail.
    assert min(seconds_a_frame() for _ in range(5)) < 1 / (100 / 2)
