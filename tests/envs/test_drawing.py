import numpy as np
import pytest

from envs import drawing
from envs.snake import MOVES, Snake, State


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


def picture(state: State) -> np.ndarray:
    return Snake(*state.body.shape).render(state)


def test_every_cell_shows_what_is_on_it() -> None:
    board = (3, 7)
    state = winding(*board, length=board[0] * board[1] // 2)
    image, place = picture(state), drawing.layout(*board)
    assert image.dtype == np.uint8
    assert image.shape == (place.height, place.width, 3)
    assert place.height % 16 == place.width % 16 == 0  # as video codecs want
    for row, col in np.ndindex(*board):
        x, y = place.center(row, col)
        cell, color = row * board[1] + col, tuple(image[y, x].tolist())
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


@pytest.mark.parametrize("move", range(4))
def test_the_eyes_and_an_arrow_show_where_a_move_leads(move: int) -> None:
    state = game(5, 5, [tuple((2, 2) - MOVES[move]), (2, 2)])
    eyes = np.argwhere((picture(state) == drawing.EYE_COLOR).all(axis=-1)).mean(axis=0)  # (row, column), as moves are
    start, end = Snake(5, 5).arrows(state)[move, :, ::-1]
    head = np.array(drawing.layout(5, 5).center(2, 2)[::-1])
    for place, least in ((eyes, 5), (start, 40), (end, 100)):
        assert (place - head) @ MOVES[move] > least
        assert abs((place - head) @ MOVES[move][::-1]) < 3
