"""The window and the recordings, driven as a person would."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import imageio_ffmpeg
import jax
import numpy as np
import pygame
import pytest
from PIL import Image

from envs import drawing
from envs.snake import DOWN, LEFT, MOVES, RIGHT, UP, Snake
from experiments import config as config_lib
from experiments import run_folder
from experiments.building import init_seeds, make_agent
from experiments.config import Config
from experiments.play import __main__ as play
from experiments.play import games, panels, players
from experiments.play.match import Match
from experiments.play.viewer import Viewer
from experiments.train import train

SETTINGS = Config(
    estimator="single_step",
    board_size="3x4",
    num_seeds=3,
    num_envs=4,
    rollout_length=5,
    num_env_steps=200,
    num_channels=4,
    policy_width=8,
    value_width=8,
    time_limit=12,
)


@pytest.fixture(autouse=True)
def no_screen(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame.display.init()  # so that keys can be posted before a window opens
    yield
    pygame.quit()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("play") / "single_step"
    train(SETTINGS, folder)
    return folder


@pytest.fixture(scope="module")
def comparison(run, tmp_path_factory):
    """The folder of two runs, one of which is a copy that says that it had another estimator."""
    folder = tmp_path_factory.mktemp("play") / "all"
    shutil.copytree(run, folder / "single_step")
    shutil.copytree(run, folder / "multi_step")
    config_lib.save(dataclasses.replace(SETTINGS, estimator="multi_step"), folder / "multi_step" / "config.json")
    return folder


@pytest.fixture(scope="module")
def agent(run):
    return players.load([(players.open_runs(str(run))[0], 1)])


def _play(*arguments):
    """Runs the command in this process; returns the exit status."""
    values = play.define_flags()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["play", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            config_lib.run(partial(play.main, values), values)
    return stop.value.code


def _refused(capsys, *arguments):
    """Returns the one line with which the command refuses."""
    assert _play(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def _post(*keys):
    for key in keys:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))


def _match(players_on_show, grid=(1, 1)):
    return Match(players_on_show, grid, greedy=False, seed=0)


@pytest.fixture
def viewer(agent):
    shown = Viewer(_match(agent), speed=2.0, human=False)
    yield shown
    shown.close()


def _steps(viewer):
    return int(viewer.match.state.step_count[0])


def _color_at_head(picture, match, index=0, grid=(1, 1)):
    """Returns the colour of a cell's centre where the head of a game must be."""
    num_rows, num_cols = match.state.body.shape[1:]
    size = panels.board_size(num_rows, num_cols, grid)
    x, y = drawing.fit(num_rows, num_cols, size).center(*divmod(int(match.state.head[index]), num_cols))
    row, col = divmod(index, grid[1])
    panel_width, panel_height = picture.get_width() // grid[1], picture.get_height() // grid[0]
    return tuple(picture.get_at((panel_width * col + x, panel_height * row + panels.TITLE_HEIGHT + y)))[:3]


def test_games_go_on_at_their_speed_and_show_the_head_where_it_is(viewer):
    assert viewer.tick(0.0)
    assert _steps(viewer) == 1
    viewer.tick(0.4)
    assert _steps(viewer) == 1
    viewer.tick(0.5)
    assert _steps(viewer) == 2
    for now in range(1, 9):
        viewer.tick(float(now))
        assert _color_at_head(viewer.picture, viewer.match) == drawing.HEAD_COLOR
        assert _color_at_head(pygame.display.get_surface(), viewer.match) == drawing.HEAD_COLOR


def test_space_pauses_and_goes_on(viewer):
    _post(pygame.K_SPACE)
    viewer.tick(1.0)
    viewer.tick(9.0)
    assert _steps(viewer) == 0
    assert pygame.display.get_caption()[0] == "Snake · paused"
    _post(pygame.K_SPACE)
    viewer.tick(10.0)
    assert _steps(viewer) == 1


def test_the_right_arrow_plays_one_step_and_pauses(viewer):
    viewer.tick(0.0)
    _post(pygame.K_RIGHT)
    viewer.tick(0.1)
    assert _steps(viewer) == 2
    viewer.tick(5.0)
    assert _steps(viewer) == 2
    _post(pygame.K_RIGHT, pygame.K_RIGHT)
    viewer.tick(5.1)
    viewer.tick(5.2)
    viewer.tick(5.3)
    assert _steps(viewer) == 4


def test_up_and_down_change_the_speed_within_its_range(viewer):
    viewer.tick(0.0)
    _post(*[pygame.K_UP] * 4)  # about five steps a second
    viewer.tick(0.5)
    viewer.tick(0.75)
    assert _steps(viewer) == 3
    assert viewer.controls.speed == pytest.approx(2 * 1.25**4)
    _post(*[pygame.K_UP] * 100)
    viewer.tick(0.75)
    assert 48 < viewer.controls.speed <= 60
    _post(*[pygame.K_DOWN] * 100)
    viewer.tick(0.75)
    assert 0.5 <= viewer.controls.speed < 0.625


def test_r_restarts_on_other_boards(viewer):
    for now in range(5):
        viewer.tick(float(now))
    firsts = set()
    for _ in range(8):
        _post(pygame.K_r, pygame.K_SPACE)
        viewer.tick(4.1)
        _post(pygame.K_SPACE)
        viewer.tick(4.1)
        firsts.add((int(viewer.match.state.head[0]), int(viewer.match.state.fruit[0])))
        assert _steps(viewer) == 0
    assert len(firsts) > 1


def test_o_takes_the_thoughts_away_and_brings_them_back(viewer):
    _post(pygame.K_SPACE)
    viewer.tick(0.0)
    shown = drawing.pixels(viewer.picture)
    _post(pygame.K_o)
    viewer.tick(0.1)
    hidden = drawing.pixels(viewer.picture)
    assert hidden.shape[0] < shown.shape[0]
    board = shown[: hidden.shape[0]]
    assert 0 < np.any(board != hidden, axis=-1).mean() < 0.05  # the arrows
    assert _color_at_head(viewer.picture, viewer.match) == drawing.HEAD_COLOR
    _post(pygame.K_o)
    viewer.tick(0.2)
    np.testing.assert_array_equal(drawing.pixels(viewer.picture), shown)


@pytest.mark.parametrize("event", [pygame.event.Event(pygame.KEYDOWN, key=pygame.K_q), pygame.event.Event(pygame.QUIT)])
def test_q_or_closing_the_window_quits(event):
    pygame.event.post(event)
    assert not _play("--random")
    assert not pygame.display.get_init()


def test_a_person_steers_with_the_arrows():
    match = _match(players.not_agents("you", 1, Snake(12, 12)))
    viewer = Viewer(match, speed=1.0, human=True)
    now = 0.0
    viewer.tick(now)
    assert _steps(viewer) == 0  # nothing moves before the first key
    row, col = divmod(int(match.state.head[0]), 12)
    turns = [(pygame.K_UP, UP), (pygame.K_LEFT, LEFT)] if row > 5 else [(pygame.K_DOWN, DOWN), (pygame.K_RIGHT, RIGHT)]
    if (turns[1][1] == LEFT) != (col > 5):  # towards the middle
        turns[1] = (pygame.K_RIGHT, RIGHT) if turns[1][1] == LEFT else (pygame.K_LEFT, LEFT)
    for key, move in turns:
        _post(key)
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
    _post(pygame.K_UP)
    viewer.tick(now + 1.0)
    assert _steps(viewer) == 0  # a new game
    viewer.close()


def test_greedy_agents_play_their_most_probable_move():
    def policy(preference, observation):
        return games.Predictions(preference, np.float32(0.0))

    rules = games.Rules(Snake(6, 6), policy, True)
    preferences = np.eye(4, dtype=np.float32)
    before = games.start(rules, 4, preferences, 0, 0)
    after = games.step(rules, preferences, before, np.full(4, games.FREE, np.int32))
    masks = jax.vmap(rules.snake.action_mask)(before.state)
    for move in range(4):
        row, col = divmod(int(before.state.head[move]), 6)
        expected = np.add((row, col), MOVES[move]) if masks[move, move] else (row, col)
        assert divmod(int(after.state.head[move]), 6) == tuple(expected)


def test_games_start_anew_after_their_end_or_wait():
    match = _match(players.not_agents("random", 2, Snake(2, 2, time_limit=3)), (1, 2))
    for expected in (1, 2, 3):
        match.step(np.array([games.FREE, games.WAIT]))
        if match.ended[0]:
            break
        assert match.state.step_count.tolist() == [expected, 0]
    assert match.ended.tolist() == [True, False]
    match.step()
    assert match.state.step_count.tolist() == [0, 1]


def test_agents_are_the_latest_checkpoints(run):
    opened = players.open_runs(str(run))[0]
    cast = players.load([(opened, 2), (opened, 0)])
    assert cast.names == ("single_step · seed 2", "single_step · seed 0")
    state = jax.eval_shape(partial(init_seeds, make_agent(opened.config), opened.config))
    restored = run_folder.read_checkpoint(run, run_folder.checkpoint_steps(run)[-1], state)
    jax.tree.map(
        lambda shown, saved: np.testing.assert_array_equal(shown, np.asarray(saved)[[2, 0]]),
        cast.params,
        restored.position.learner_state.params,
    )
    logged = run_folder.read_metrics(run)
    for tuned, seed in zip(cast.tuned, (2, 0), strict=True):
        assert tuned == pytest.approx({name: logged[f"hyper/{name}"][-1, seed] for name in SETTINGS.meta_params})


def test_seeds_are_ranked_by_their_last_logged_returns(run, tmp_path):
    rows = [(10, 0, 9.0), (10, 1, 5.0), (10, 2, ""), (20, 0, 1.0), (20, 1, ""), (20, 2, "")]
    lines = ["env_steps,seed,episode_return", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    assert players.ranked_seeds(players.Run(tmp_path, SETTINGS)) == [1, 0, 2]


def test_a_grid_shows_the_agents_side_by_side(comparison):
    runs = players.open_runs(str(comparison))
    cast = players.load([(run, seed) for seed in (0, 1) for run in runs])
    assert cast.names == tuple(f"{name} · seed {seed}" for seed in (0, 1) for name in ("single_step", "multi_step"))
    match = _match(cast, (2, 2))
    for _ in range(3):
        picture = match.draw(overlay=True)
        for index in range(4):
            assert _color_at_head(picture, match, index, (2, 2)) == drawing.HEAD_COLOR
        match.step()


def _frames(path):
    """Opens a recording again; returns its frames, uint8 [N, height, width, 3]."""
    if path.suffix == ".gif":
        with Image.open(path) as image:
            return np.stack([_frame(image, index) for index in range(image.n_frames)])
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def _frame(image, index):
    image.seek(index)
    return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_recordings_hold_a_frame_for_each_step_and_one_more(run, agent, tmp_path, suffix, capsys):
    path = tmp_path / f"agent{suffix}"
    assert not _play(f"--logdir={run}", f"--record={path}", "--max_steps=7", "--episodes=99", "--seed_index=1")
    assert f"8 frames are in {path}" in capsys.readouterr().out
    frames = _frames(path)
    assert len(frames) == 8
    match = _match(agent)
    for frame in frames:
        expected = drawing.pixels(match.draw(overlay=True)).astype(int)
        assert frame.shape == expected.shape
        assert np.abs(frame - expected).mean() < 3  # of 255: both formats lose a little
        match.step()


def test_recordings_end_with_the_episodes(tmp_path):
    path = tmp_path / "random.gif"
    assert not _play("--random", "--board_size=2x3", f"--record={path}", "--episodes=2", "--grid=1x3")
    match = _match(players.not_agents("random", 3, Snake(2, 3)), (1, 3))
    num_frames, num_ended = 1, np.zeros(3, int)
    while (num_ended < 2).any():
        match.step()
        num_ended += match.ended
        num_frames += 1
    assert len(_frames(path)) == num_frames


@pytest.mark.parametrize(("suffix", "number"), [(".gif", signal.SIGINT), (".mp4", signal.SIGTERM)])
def test_an_interrupted_recording_is_playable(tmp_path, suffix, number):
    path = tmp_path / f"long{suffix}"
    command = ["--random", f"--record={path}", "--episodes=1000000", "--max_steps=1000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.play", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "SDL_VIDEODRIVER"},
    )
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(number)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Stopped early: " in output
    assert "Traceback" not in errors
    assert len(_frames(path)) == int(output.split("Stopped early: ")[1].split()[0])


BAD = [
    (["--random", "--human"], "--logdir=: must be given, or one of --random and --human in its place"),
    ([], "--logdir=: must be given"),
    (["--random", "--board_size=1"], "--board_size=1: must be a number N or ROWSxCOLS, each in [2, 32]"),
    (["--random", "--greedy"], "--greedy=True: must be left out with --random"),
    (["--random", "--seed_index=0"], "--seed_index=0: must be left out with --random"),
    (["--random", "--grid=0x4"], "--grid=0x4: must be a number N or ROWSxCOLS, each in [1, 8]"),
    (["--random", "--grid=wide"], "--grid=wide: must be"),
    (["--human", "--grid=1x2"], "--grid=1x2: must be left out with --human"),
    (["--human", "--record=x.gif"], "--record=x.gif: must be left out with --human"),
    (["--random", "--speed=0"], "--speed=0.0: must be in [0.5, 60]"),
    (["--random", "--seed=-1"], "--seed=-1: must be in [0, 2147483647]"),
    (["--random", "--record=x.gif", "--episodes=0"], "--episodes=0: must be at least 1"),
    (["--random", "--record=x.gif", "--max_steps=0"], "--max_steps=0: must be at least 1"),
    (["--random", "--record=x.avi"], "--record=x.avi: must be a file that ends in .gif or .mp4"),
    (["--random", "--record=nowhere/x.gif"], "--record=nowhere/x.gif: must be a file that can be written, in a folder"),
    (["--random", "--speed=fast"], "speed"),
    (["--random", "--colour=red"], "colour"),
    (["stray"], "stray"),
    (["--logdir=nowhere"], "nowhere/config.json: is not the settings of a run"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys):
    assert message in _refused(capsys, *arguments)


def test_what_does_not_match_the_run_is_refused(run, comparison, capsys, tmp_path):
    assert "--seed_index=3: must be in [0, 2]" in _refused(capsys, f"--logdir={run}", "--seed_index=3")
    assert "--seed_index=-1: must be in [0, 2]" in _refused(capsys, f"--logdir={run}", "--seed_index=-1")
    assert "--grid=2x2: must be of at most 3 cells" in _refused(capsys, f"--logdir={run}", "--grid=2x2")
    assert "of at most 2 cells" in _refused(capsys, f"--logdir={comparison}", "--grid=1x3", "--seed_index=1")
    assert "--board_size=6: must be left out with --logdir" in _refused(capsys, f"--logdir={run}", "--board_size=6")
    (tmp_path / "folder.gif").mkdir()
    assert "can be written" in _refused(capsys, f"--logdir={run}", f"--record={tmp_path}/folder.gif")


def test_folders_that_cannot_be_played_from_are_refused(comparison, tmp_path, capsys):
    folder = tmp_path / "all" / "single_step"
    shutil.copytree(comparison / "single_step", folder)
    steps = run_folder.checkpoint_steps(folder)[-1]
    content = json.loads((folder / "config.json").read_text())

    misfits = {
        "value_width": (16, "mu/value_head/~/linear_0/b is float32[3, 8], expected float32[3, 16]"),
        "board_size": ("5", "environment_state/body is int32[3, 4, 3, 4], expected int32[3, 4, 5, 5]"),
        "meta_params": ([*SETTINGS.meta_params, "value_cost"], "eta/value_cost is not in it, expected float32[3]"),
        "optimizer": ("rmsprop", "optimizer_state/mu/policy_conv_1/b is float32[3, 4], expected none"),
        "num_seeds": (2, "eta/discount is float32[3], expected float32[2]"),
    }
    for name, (value, message) in misfits.items():
        (folder / "config.json").write_text(json.dumps(content | {"flags": content["flags"] | {name: value}}))
        error = _refused(capsys, f"--logdir={folder}")
        assert error.startswith(f"{folder}/checkpoint/{steps}: does not fit its run's settings: ")
        assert error.endswith(f"{message}\n")
    shutil.copytree(comparison / "multi_step", tmp_path / "all" / "multi_step")
    assert "its runs have different settings" in _refused(capsys, f"--logdir={tmp_path}/all")

    (folder / "config.json").write_text(json.dumps(content | {"format": 99}))
    assert "has format 99, and this version reads format 1" in _refused(capsys, f"--logdir={folder}")

    (folder / "config.json").write_text(json.dumps(content))
    (folder / "checkpoint" / str(steps) / "default" / "_METADATA").write_text("{")
    assert f"{steps}: is not a checkpoint that this version can read" in _refused(capsys, f"--logdir={folder}")
    shutil.rmtree(folder / "checkpoint")
    assert "holds no checkpoint" in _refused(capsys, f"--logdir={folder}")
    (folder / "metrics.csv").write_text("")
    assert "metrics.csv" in _refused(capsys, f"--logdir={folder}")


@pytest.mark.parametrize("driver", ["x11", "offscreen"])
def test_without_a_screen_one_line_points_to_recording(driver, monkeypatch, capsys):
    pygame.quit()
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setenv("SDL_VIDEODRIVER", driver)
    error = _refused(capsys, "--random")
    assert error.startswith("no screen")
    assert "--record=FILE.gif" in error


def test_help_lists_the_keys_and_the_flags(capsys):
    assert not _play("--help")
    printed = capsys.readouterr().out
    assert "space pauses" in printed
    for name in play.define_flags():
        assert f"{name}:" in printed
