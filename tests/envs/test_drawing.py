import jax
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


def has(image: np.ndarray, color: drawing.Color) -> bool:
    return bool((image == color).all(axis=-1).any())


@pytest.mark.parametrize("board", [(12, 12), (3, 7), (32, 2)])
def test_every_cell_shows_what_is_on_it(board: tuple[int, int]) -> None:
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


def test_a_new_snake_looks_at_the_fruit_and_one_that_crashed_at_nothing() -> None:
    eyes = np.argwhere((picture(game(5, 5, [(2, 4)])) == drawing.EYE_COLOR).all(axis=-1)).mean(axis=0)
    assert eyes[0] > drawing.layout(5, 5).center(2, 4)[1] + 5  # the fruit is below
    assert not has(picture(game(5, 5, [(2, 1), (2, 2)], crashed=True)), drawing.EYE_COLOR)


def test_a_full_board_has_no_fruit() -> None:
    assert not has(picture(winding(4, 4, length=16)._replace(fruit=np.int32(0))), drawing.FRUIT_COLOR)


def test_the_status_line_tells_score_and_steps_and_no_arrow_hides_it() -> None:
    state = winding(6, 6, length=1)  # in the first row
    top = drawing.layout(6, 6).top
    later = (picture(state) != picture(state._replace(step_count=np.int32(18)))).any(axis=-1)
    assert later[:top, 300:].any()
    assert not later[:, :300].any()
    longer = (picture(winding(6, 6, length=2)) != picture(winding(6, 6, length=3))).any(axis=-1)
    assert longer[:top, :150].any()
    assert Snake(6, 6).arrows(state)[..., 1].min() >= top - drawing.MARGIN


def test_a_state_of_jax_may_be_drawn() -> None:
    state = Snake(4, 7).initial(jax.random.key(0))
    np.testing.assert_array_equal(picture(state), picture(jax.device_get(state)))
