"""The window, driven with posted keys as a person would."""

import numpy as np
import pygame
import pytest
from playing import match_of_thinkers, play_command, post, refused

from envs import drawing
from envs.snake import DOWN, LEFT, MOVES, RIGHT, UP, Snake
from experiments.studies.play.games import Match, not_agents
from experiments.studies.play.viewer import Viewer

KEYS = {UP: pygame.K_UP, RIGHT: pygame.K_RIGHT, DOWN: pygame.K_DOWN, LEFT: pygame.K_LEFT}


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()  # so that keys can be posted before a window opens
    yield
    pygame.quit()


@pytest.fixture
def watched():
    """Gives a function that presses keys and lets time go on, and returns the number of steps played, two a second."""
    match = match_of_thinkers()
    viewer = Viewer(match, speed=2.0, human=False)
    played = []
    match.step, step = lambda *orders: (step(*orders), played.append(1)), match.step

    def press(now, *keys):
        post(*keys)
        viewer.tick(now)
        return len(played)

    press.match = match
    return press


def _shown():
    return drawing.pixels(pygame.display.get_surface())


def test_games_go_on_at_their_speed_and_are_shown(watched):
    assert [watched(now) for now in (0.0, 0.4, 0.5, 0.9, 1.0)] == [1, 1, 2, 2, 3]
    np.testing.assert_array_equal(_shown(), drawing.pixels(watched.match.draw()))
    assert watched(1.0, *[pygame.K_UP] * 3) == 3  # 3.9 steps a second
    assert [watched(1.5), watched(1.76), watched(1.9), watched(2.02)] == [4, 5, 5, 6]
    watched(10.0, *[pygame.K_UP] * 100)  # sixty at most
    before = watched(10.0)
    assert 45 <= watched_for_a_second(watched, 11.0) - before <= 61
    watched(20.0, *[pygame.K_DOWN] * 100)  # a half at least
    before = watched(20.0)
    assert watched_for_a_second(watched, 30.0) - before <= 1
    assert watched(33.0) > before


def watched_for_a_second(watched, start):
    for frame in range(63):  # of a window whose frames last sixteen milliseconds
        played = watched(start + 0.016 * frame)
    return played


def test_space_pauses_and_the_right_arrow_plays_one_step(watched):
    assert watched(1.0, pygame.K_SPACE) == watched(9.0) == 0
    assert pygame.display.get_caption()[0] == "Snake · paused · H shows the keys"
    assert watched(9.1, pygame.K_RIGHT) == watched(20.0) == 1
    assert watched(20.0, pygame.K_RIGHT, pygame.K_RIGHT) == watched(30.0) == 3
    assert watched(30.0, pygame.K_SPACE) == 4


def test_r_restarts_on_other_boards(watched):
    firsts = set()
    watched(0.0, pygame.K_SPACE)
    for _ in range(8):
        watched(0.0, pygame.K_RIGHT, pygame.K_r)
        assert watched.match.state.step_count[0] == 0
        firsts.add((int(watched.match.state.head[0]), int(watched.match.state.fruit[0])))
    assert len(firsts) > 1


@pytest.mark.parametrize(("key", "least", "most"), [(pygame.K_o, 0.02, 0.2), (pygame.K_h, 0.02, 0.2)])
def test_o_hides_the_thoughts_and_h_shows_the_keys(key, least, most, watched):
    watched(0.0, pygame.K_SPACE)
    before = _shown()
    watched(0.0, key)
    after = _shown()
    assert after.shape == before.shape  # of the window too: it would jump about
    assert least < (after != before).any(axis=-1).mean() < most
    watched(0.0, key)
    np.testing.assert_array_equal(_shown(), before)


@pytest.mark.parametrize("event", [pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q), pygame.event.Event(pygame.QUIT)])
def test_q_or_closing_the_window_quits(event):
    pygame.event.post(event)
    assert not play_command("--random")
    assert not pygame.display.get_init()


@pytest.fixture
def steered():
    """Gives a person's game, and a function that steers the snake, lets it move once and returns where its head is."""
    match = Match(not_agents("you", 1, Snake(12, 12)), (1, 1))
    viewer = Viewer(match, speed=1.0, human=True)
    now = iter(range(1_000))

    def steer(*moves):
        post(*[KEYS[move] for move in moves])
        viewer.tick(next(now))
        return np.array(divmod(int(match.state.head[0]), 12))

    return match, steer


@pytest.fixture
def fed(steered):
    """Gives the same with a snake of two cells, and the move that it has just made."""
    match, steer = steered
    fruit, head = np.array(divmod(int(match.state.fruit[0]), 12)), steer()
    while match.state.length[0] == 1:
        row_left, col_left = fruit - head
        move = (DOWN if row_left > 0 else UP) if row_left else (RIGHT if col_left > 0 else LEFT)
        head = steer(move)
    return match, steer, move


def test_a_person_steers_and_the_snake_goes_on_by_itself_until_it_crashes(steered):
    match, steer = steered
    head = steer()
    assert match.state.step_count[0] == 0  # nothing moves before the first key
    aside, ahead = (LEFT if head[1] > 5 else RIGHT), (UP if head[0] > 5 else DOWN)  # towards the middle
    for moves, moved in (((aside,), aside), ((), aside), ((ahead,), ahead), ((), ahead)):
        head = head + MOVES[moved]
        np.testing.assert_array_equal(steer(*moves), head)
    while not match.ended[0]:
        steer()
    assert match.state.crashed[0]
    steer()
    assert match.ended[0]  # it waits for any key
    steer((ahead + 2) % 4)
    assert match.state.step_count[0] == 0


def test_an_arrow_into_the_neck_does_nothing_but_a_snake_of_one_cell_may_turn(fed):
    match, steer, move = fed
    head = steer()
    np.testing.assert_array_equal(steer((move + 2) % 4), head + MOVES[move])
    assert not match.ended[0]
    post(pygame.K_r)
    head = steer()
    ahead = UP if head[0] else DOWN
    np.testing.assert_array_equal(steer(ahead), head + MOVES[ahead])
    np.testing.assert_array_equal(steer((ahead + 2) % 4), head)


def test_two_quick_arrows_are_played_one_after_the_other_and_no_more(fed):
    match, steer, move = fed
    head = steer()
    aside, back = (move + 1) % 4, (move + 2) % 4
    steer(aside, (aside + 2) % 4, aside, back, back, move, aside)  # round the corner, and on
    np.testing.assert_array_equal(steer(), head + MOVES[aside] + MOVES[back])
    np.testing.assert_array_equal(steer(), head + MOVES[aside] + 2 * MOVES[back])
    assert match.state.length[0] == 2
    assert not match.ended[0]


@pytest.mark.parametrize("driver", ["x11", "offscreen"])
def test_without_a_screen_one_line_points_to_recording(driver, monkeypatch, capsys):
    pygame.quit()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    line = refused(capsys, "--random")
    assert line.startswith("no screen")
    assert line.endswith("--record=FILE.gif or --record=FILE.mp4 needs none")
