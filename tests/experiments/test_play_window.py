"""The window, driven with posted keys as a person would."""

import itertools

import numpy as np
import pygame
import pytest
from playing import color_at_head, new_match, play_command, post, refused, thinkers

from envs import drawing
from envs.snake import DOWN, LEFT, MOVES, RIGHT, UP, Snake
from experiments.studies.play import panels, players
from experiments.studies.play.viewer import MOVE_KEYS, Viewer

KEYS = {move: key for key, move in MOVE_KEYS.items()}


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()  # so that keys can be posted before a window opens
    yield
    pygame.quit()


@pytest.fixture
def viewer():
    shown = Viewer(new_match(thinkers()), speed=2.0, human=False)
    yield shown
    shown.close()


def _steps(viewer):
    return int(viewer.match.state.step_count[0])


def test_games_go_on_at_their_speed_and_show_the_head_where_it_is(viewer):
    assert viewer.tick(0.0)
    assert _steps(viewer) == 1
    viewer.tick(0.4)
    assert _steps(viewer) == 1
    viewer.tick(0.5)
    assert _steps(viewer) == 2
    for now in range(1, 9):
        viewer.tick(float(now))
        assert color_at_head(viewer.picture, viewer.match) == drawing.HEAD_COLOR
        assert color_at_head(pygame.display.get_surface(), viewer.match) == drawing.HEAD_COLOR


def test_the_fastest_games_are_as_fast_as_said(viewer):
    viewer.controls = viewer.controls._replace(speed=60.0)
    num_steps = 0
    for frame in range(63):  # one second of a window whose frames last sixteen milliseconds
        before = viewer.match.state
        viewer.tick(0.016 * frame)
        num_steps += viewer.match.state is not before
    assert 59 <= num_steps <= 61


def test_space_pauses_and_goes_on(viewer):
    post(pygame.K_SPACE)
    viewer.tick(1.0)
    viewer.tick(9.0)
    assert _steps(viewer) == 0
    assert pygame.display.get_caption()[0].startswith("Snake · paused")
    post(pygame.K_SPACE)
    viewer.tick(10.0)
    assert _steps(viewer) == 1


def test_the_right_arrow_plays_one_step_and_pauses(viewer):
    viewer.tick(0.0)
    post(pygame.K_RIGHT)
    viewer.tick(0.1)
    assert _steps(viewer) == 2
    viewer.tick(5.0)
    assert _steps(viewer) == 2
    post(pygame.K_RIGHT, pygame.K_RIGHT)
    viewer.tick(5.1)
    viewer.tick(5.2)
    viewer.tick(5.3)
    assert _steps(viewer) == 4


def test_up_and_down_change_the_speed_within_its_range(viewer):
    viewer.tick(0.0)
    post(*[pygame.K_UP] * 4)  # about five steps a second
    viewer.tick(0.5)
    viewer.tick(0.75)
    assert _steps(viewer) == 3
    assert viewer.controls.speed == pytest.approx(2 * 1.25**4)
    post(*[pygame.K_UP] * 100)
    viewer.tick(0.75)
    assert 48 < viewer.controls.speed <= 60
    post(*[pygame.K_DOWN] * 100)
    viewer.tick(0.75)
    assert 0.5 <= viewer.controls.speed < 0.625


def test_r_restarts_on_other_boards(viewer):
    for now in range(5):
        viewer.tick(float(now))
    firsts = set()
    for _ in range(8):
        post(pygame.K_r, pygame.K_SPACE)
        viewer.tick(4.1)
        post(pygame.K_SPACE)
        viewer.tick(4.1)
        firsts.add((int(viewer.match.state.head[0]), int(viewer.match.state.fruit[0])))
        assert _steps(viewer) == 0
    assert len(firsts) > 1


def test_o_takes_the_thoughts_away_and_brings_them_back(viewer):
    post(pygame.K_SPACE)
    viewer.tick(0.0)
    shown = drawing.pixels(viewer.picture)
    post(pygame.K_o)
    viewer.tick(0.1)
    hidden = drawing.pixels(viewer.picture)
    assert hidden.shape == shown.shape  # of the window too: it would jump about
    changed = np.any(hidden != shown, axis=-1)
    below = panels.TITLE_HEIGHT + panels.board_size(3, 4, (1, 1))[1]
    assert 0 < changed[:below].mean() < 0.05  # the arrows
    assert changed[below:].any()
    assert len(np.unique(hidden[below:])) <= 3  # nothing but the background
    assert color_at_head(viewer.picture, viewer.match) == drawing.HEAD_COLOR
    post(pygame.K_o)
    viewer.tick(0.2)
    np.testing.assert_array_equal(drawing.pixels(viewer.picture), shown)


@pytest.mark.parametrize("human", [False, True])
def test_h_shows_the_keys_over_the_picture_and_hides_them(human):
    viewer = Viewer(new_match(thinkers()), speed=2.0, human=human)
    post(pygame.K_SPACE)
    viewer.tick(0.0)
    without = drawing.pixels(viewer.picture)
    assert "H" in pygame.display.get_caption()[0]
    post(pygame.K_h)
    viewer.tick(0.1)
    with_keys = drawing.pixels(pygame.display.get_surface())
    assert with_keys.shape == without.shape
    assert (with_keys != without).any()
    post(pygame.K_h)
    viewer.tick(0.2)
    np.testing.assert_array_equal(drawing.pixels(viewer.picture), without)
    viewer.close()


@pytest.mark.parametrize("event", [pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q), pygame.event.Event(pygame.QUIT)])
def test_q_or_closing_the_window_quits(event):
    pygame.event.post(event)
    assert not play_command("--random")
    assert not pygame.display.get_init()


def test_a_person_steers_with_the_arrows():
    match = new_match(players.not_agents("you", 1, Snake(12, 12)))
    viewer = Viewer(match, speed=1.0, human=True)
    now = 0.0
    viewer.tick(now)
    assert _steps(viewer) == 0  # nothing moves before the first key
    row, col = divmod(int(match.state.head[0]), 12)
    turns = [(pygame.K_UP, UP), (pygame.K_LEFT, LEFT)] if row > 5 else [(pygame.K_DOWN, DOWN), (pygame.K_RIGHT, RIGHT)]
    if (turns[1][1] == LEFT) != (col > 5):  # towards the middle
        turns[1] = (pygame.K_RIGHT, RIGHT) if turns[1][1] == LEFT else (pygame.K_LEFT, LEFT)
    for key, move in turns:
        post(key)
        for _ in range(2):  # the snake goes on by itself
            now += 1.0
            viewer.tick(now)
            row, col = (row, col) + MOVES[move]
            assert int(match.state.head[0]) == row * 12 + col
    for _ in range(12):
        now += 1.0
        viewer.tick(now)
    assert match.ended[0]
    assert match.state.crashed[0]
    post(pygame.K_UP)
    viewer.tick(now + 1.0)
    assert _steps(viewer) == 0  # a new game
    viewer.close()


@pytest.fixture
def fed():
    """Gives a person's window on a snake of two cells, the move that it has just made, and a function that goes on."""
    viewer = Viewer(new_match(players.not_agents("you", 1, Snake(12, 12))), speed=1.0, human=True)
    clock = itertools.count()

    def play(*moves):
        post(*[KEYS[move] for move in moves])
        viewer.tick(float(next(clock)))
        return np.array(divmod(int(viewer.match.state.head[0]), 12))

    fruit = np.array(divmod(int(viewer.match.state.fruit[0]), 12))
    head = play()
    while viewer.match.state.length[0] == 1:
        row_left, col_left = fruit - head
        move = (DOWN if row_left > 0 else UP) if row_left else (RIGHT if col_left > 0 else LEFT)
        head = play(move)
    yield viewer, move, play
    viewer.close()


def test_a_snake_of_one_cell_may_turn_on_the_spot(fed):
    viewer, _, play = fed
    post(pygame.K_r)
    play()
    head = np.array(divmod(int(viewer.match.state.head[0]), 12))
    ahead = UP if head[0] else DOWN
    np.testing.assert_array_equal(play(ahead), head + MOVES[ahead])
    np.testing.assert_array_equal(play((ahead + 2) % 4), head)


def test_an_arrow_into_the_neck_does_nothing(fed):
    viewer, move, play = fed
    head = play()
    np.testing.assert_array_equal(play((move + 2) % 4), head + MOVES[move])
    assert not viewer.match.ended[0]


def test_two_quick_arrows_are_played_one_after_the_other(fed):
    viewer, move, play = fed
    head = play()
    aside, back = (move + 1) % 4, (move + 2) % 4
    for moved in (aside, back, back):  # round the corner, and on
        head = head + MOVES[moved]
        np.testing.assert_array_equal(play(*((aside, back) if moved == aside else ())), head)
    assert viewer.match.state.length[0] == 2
    assert not viewer.match.ended[0]


def test_of_many_quick_arrows_two_count_and_none_turns_on_the_spot(fed):
    viewer, move, play = fed
    head = play()
    aside, back = (move + 1) % 4, (move + 2) % 4
    play(aside, (aside + 2) % 4, aside, back, back, move, aside)
    np.testing.assert_array_equal(play(), head + MOVES[aside] + MOVES[back])
    assert viewer.controls.turns == ()
    assert not viewer.match.ended[0]


def test_any_arrow_starts_the_game_after_a_crash(fed):
    viewer, move, play = fed
    while not viewer.match.ended[0]:
        play()
    play((move + 2) % 4)
    assert viewer.match.state.step_count[0] == 0
    assert viewer.controls.heading == (move + 2) % 4


@pytest.mark.parametrize("driver", ["x11", "offscreen"])
def test_without_a_screen_one_line_points_to_recording(driver, monkeypatch, capsys):
    pygame.quit()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    error = refused(capsys, "--random")
    assert error.startswith("no screen")
    assert "--record=FILE.gif" in error
