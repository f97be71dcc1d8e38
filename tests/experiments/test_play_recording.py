"""Recordings, opened again: what is in them, what ends them, and what may go wrong."""

import pathlib
import signal
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from playing import frames_of, play_command, refused

from envs.snake import Snake
from experiments.config.ranges import UsageError
from experiments.studies.play import games, recording


class Corridor:
    """Two steps to the right end an episode; the picture is as bright as the player has come far."""

    num_actions = 2
    time_limit = 2**31 - 1
    stop_at = None  # a place at which a signal comes

    def initial(self, key):
        return jnp.int32(0)

    def transition(self, state, action, key):
        return state + 1

    def observation(self, state):
        return jnp.float32(state)[None]

    def reward(self, state, action, next_state):
        return jnp.float32(1.0)

    def terminal(self, state):
        return state >= 2

    def truncated(self, state):
        return False

    def render(self, state):
        if self.stop_at == int(state):
            signal.raise_signal(signal.SIGTERM)
        return np.full((40, 80, 3), 100 * state, np.uint8)


class Endless(Corridor):
    stop_at = 3

    def terminal(self, state):
        return state < 0


class Colourless(Corridor):
    def render(self, state):
        return np.zeros((40, 80), np.uint8)


def test_recordings_end_with_the_episodes(tmp_path, capsys):
    path = tmp_path / "random.gif"
    assert not play_command("--random", "--board_size=2", f"--record={path}", "--episodes=2", "--grid=1x2")
    match = games.Match(games.not_agents("random", 2, Snake(2, 2)), (1, 2))
    num_frames, num_ended = 1, np.zeros(2, int)
    while (num_ended < 2).any():
        match.step()
        num_ended += match.ended
        num_frames += 1
    assert len(frames_of(path)) == num_frames
    assert f"{num_frames} frames are in {path}" in capsys.readouterr().out


def test_an_environment_of_ones_own_is_shown_as_it_renders(tmp_path, capsys):
    path = tmp_path / "corridor.gif"
    where = [f"--environment={__name__}:Corridor", f"--record={path}", "--speed=25"]
    assert not play_command("--random", *where)
    shown = frames_of(path)[:, 100]  # a row through the middle of the picture
    np.testing.assert_allclose([frame[240].mean() for frame in shown], [0, 100, 200], atol=3)
    with Image.open(path) as image:
        assert image.info["duration"] == 40  # milliseconds of a frame
    line = refused(capsys, "--random", f"--environment={__name__}:Colourless", f"--record={path}")
    assert line == "render of Colourless must return uint8 [height, width, 3], and returned uint8[40, 80]"


def test_a_recording_that_a_signal_stops_is_playable(tmp_path, capsys):
    path = tmp_path / "long.mp4"
    assert not play_command("--random", f"--environment={__name__}:Endless", f"--record={path}", "--episodes=9")
    assert f"Stopped early: the frames until then are in {path}" in capsys.readouterr().out
    assert len(frames_of(path)) == 4


@pytest.mark.parametrize("name", ["-x.gif", "a:b.mp4", "50%d.gif", "ü x.MP4"])
def test_files_may_have_any_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recording.write(pathlib.Path(name), _noise(3), 8.0) == 3
    assert len(frames_of(tmp_path / name)) == 3


def _noise(num_frames):
    generator = np.random.default_rng(0)
    for _ in range(num_frames):
        yield generator.integers(256, size=(64, 96, 3), dtype=np.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/full")
def test_a_full_disk_is_one_line_and_status_2_at_the_end_and_in_the_middle(tmp_path, capsys):
    for suffix in (".gif", ".mp4"):
        path = tmp_path / f"full{suffix}"
        path.symlink_to("/dev/full")
        complaint = f"{path}: cannot be written (No space left on device)"
        assert refused(capsys, "--random", f"--record={path}", "--max_steps=2") == complaint
    with pytest.raises(UsageError, match="No space left on device"):
        recording.write(path, frames := _noise(100_000), 8.0)
    assert next(frames, None) is not None  # the rest was not even drawn
