"""Recordings, opened again: what ends them, and what may go wrong."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import jax
import numpy as np
import pytest
from playing import frames_of, new_match, play_command, refused

from envs.snake import Snake
from experiments.config.ranges import UsageError
from experiments.studies.play import players, recording


def test_recordings_end_with_the_episodes(tmp_path):
    path = tmp_path / "random.gif"
    with jax.debug_nans(True):  # as JAX_DEBUG_NANS has it: nothing that is only a placeholder is NaN
        assert not play_command("--random", "--board_size=2x3", f"--record={path}", "--episodes=2", "--grid=1x3")
    match = new_match(players.not_agents("random", 3, Snake(2, 3)), (1, 3))
    num_frames, num_ended = 1, np.zeros(3, int)
    while (num_ended < 2).any():
        match.step()
        num_ended += match.ended
        num_frames += 1
    assert len(frames_of(path)) == num_frames


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
        # A shell starts what runs in its background deaf to Ctrl-C, and these tests may run there.
        preexec_fn=partial(signal.signal, number, signal.SIG_DFL),
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
    assert len(frames_of(path)) == int(output.split("Stopped early: ")[1].split()[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_signal_that_ends_a_program_waits(number):
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with recording.deferred_interruption() as interrupted:
            assert not interrupted()
            signal.raise_signal(number)
            assert interrupted()
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("name", ["-x.gif", "a:b.mp4", "50%d.gif", "ü x.MP4"])
def test_files_may_have_any_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recording.write(pathlib.Path(name), _noise(3), 8.0) == 3
    assert len(frames_of(tmp_path / name)) == 3


def _noise(num_frames):
    generator = np.random.default_rng(0)
    for _ in range(num_frames):
        yield generator.integers(256, size=(64, 96, 3), dtype=np.uint8)


@pytest.fixture(params=[".gif", ".mp4"])
def full_disk(request, tmp_path):
    """Gives a file that takes nothing."""
    if sys.platform != "linux":
        pytest.skip("only Linux has /dev/full")
    path = tmp_path / f"full{request.param}"
    path.symlink_to("/dev/full")
    return path


def test_a_full_disk_is_one_line_and_status_2(full_disk, capsys):
    error = refused(capsys, "--random", f"--record={full_disk}", "--max_steps=2")
    assert error.endswith(f"{full_disk}: cannot be written (No space left on device)\n")


def test_a_disk_that_is_full_in_the_middle_ends_the_recording(full_disk):
    frames = _noise(100_000)
    with pytest.raises(UsageError, match=r"cannot be written \(No space left on device\)$"):
        recording.write(full_disk, frames, 8.0)
    assert next(frames, None) is not None  # the rest was not even drawn


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_a_folder_that_is_removed_in_the_middle_is_told(suffix, tmp_path):
    path = tmp_path / "folder" / f"x{suffix}"
    path.parent.mkdir()

    def frames():
        for index, frame in enumerate(_noise(100)):
            if index == 90:
                shutil.rmtree(path.parent)
            yield frame

    with pytest.raises(UsageError, match=rf"x{suffix}: (has been removed|cannot be written)"):
        recording.write(path, frames(), 8.0)


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_what_was_drawn_before_an_error_is_playable(suffix, tmp_path):
    path = tmp_path / f"x{suffix}"

    def frames():
        yield from _noise(5)
        raise BrokenPipeError("of somebody else")

    with pytest.raises(BrokenPipeError, match="somebody else"):
        recording.write(path, frames(), 8.0)
    assert len(frames_of(path)) == 5


def test_signals_that_the_process_was_started_to_ignore_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with recording.deferred_interruption() as interrupted:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupted()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_recording_is_as_fast_as_is_asked(tmp_path, monkeypatch):
    speeds = []

    def write(path, frames, frames_per_second):
        speeds.append(frames_per_second)
        return len(list(frames))

    monkeypatch.setattr(recording, "write", write)
    assert not play_command("--random", f"--record={tmp_path / 'x.gif'}", "--max_steps=1", "--speed=30")
    assert speeds == [30.0]
