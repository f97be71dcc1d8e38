"""Recordings as GIF or MP4, frame by frame; what is written before an interruption stays playable."""

import itertools
import os
import pathlib
import subprocess
from collections.abc import Iterable, Iterator

import imageio_ffmpeg
import numpy as np

from envs import drawing
from experiments.config.ranges import UsageError, refuse
from experiments.runs import interrupts, progress
from experiments.storage.folder import local_path
from experiments.studies.play import players
from experiments.studies.play.games import FREE, WAIT, Match
from experiments.studies.play.ranges import check

ENCODINGS: dict[str, list[str]] = {
    # One palette, made from the first frames, since making it from all would mean to keep them all.
    ".gif": [
        *("-vcodec", "gif", "-pix_fmt", "pal8", "-filter_complex"),
        "split[a][b];[a]trim=end_frame=64,palettegen[palette];[b][palette]paletteuse=dither=none",
    ],
    ".mp4": ["-vcodec", "libx264", "-pix_fmt", "yuv420p", "-crf", "25"],
}
"""What FFmpeg needs to know, by a file's suffix; Pillow's and Imageio's GIF writers keep every frame until the end."""


def record(
    logdir: str | os.PathLike[str],
    record: str | os.PathLike[str],
    *,
    environment: str | None = None,
    agent: str | None = None,
    seed_index: int | None = None,
    grid: str | None = None,
    greedy: bool = False,
    speed: float = 8.0,
    seed: int = 0,
    episodes: int = 1,
    max_steps: int = 1_000,
) -> int:
    """Records how trained agents play, as `python -m experiments.play --record` does.

    Args:
      logdir: folder of a training run or of a comparison.
      record: file that ends in .gif or .mp4; replaced if it exists.
      environment: of the runs, where it is your own code.
      agent: likewise.
      seed_index: which seed of a run plays, from 0; None for the best by its last logged return.
      grid: players side by side, `N` or `ROWSxCOLS`, each in [1, 8], the best seeds first; None for one a run.
      greedy: whether agents make the most probable moves instead of sampling them.
      speed: steps a second, in [0.5, 60].
      seed: of the games' randomness, at least 0.
      episodes: games of each player, at least 1.
      max_steps: after which the recording ends, at least 1.

    Returns:
      The number of frames.

    Raises:
      UsageError: if an argument is impossible, or the file cannot be written.
      KeyboardInterrupt: after Ctrl-C or SIGTERM, when the file is complete so far.
    """
    check(grid=grid, speed=speed, seed=seed, episodes=episodes, max_steps=max_steps)
    path = path_of(record)
    match = Match(*players.agents(logdir, environment, seed_index, grid, agent), greedy, seed)
    return record_match(match, path, speed, episodes, max_steps)


def path_of(record: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the file to record to, or raises the `UsageError` that says why it cannot be."""
    path = local_path("record", record)
    if path.suffix.lower() not in ENCODINGS:
        refuse("record", record, f"a file that ends in {' or '.join(ENCODINGS)}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        refuse("record", record, "a file that can be written, in a folder that exists")
    return path


def record_match(match: Match, path: pathlib.Path, speed: float, episodes: int, max_steps: int) -> int:
    """Records a match, with a frame before the first step and one after each; see `record`.

    Games that have ended often enough stand still.
    """

    def frames() -> Iterator[np.ndarray]:
        yield drawing.pixels(match.draw())
        num_ended = np.zeros(len(match.ended), int)
        while not noted and bar.n < max_steps and (num_ended < episodes).any():
            running = num_ended < episodes
            match.step(np.where(running, FREE, WAIT))
            num_ended += match.ended & running
            bar.update()
            yield drawing.pixels(match.draw())

    bar = progress.bar("recorded", max_steps, "steps", leave=False)  # the last line is what came of it
    with interrupts.held_back(lambda: None) as noted, bar:
        return write(path, frames(), speed)


def write(path: pathlib.Path, frames: Iterable[np.ndarray], frames_per_second: float) -> int:
    """Writes frames, uint8 [height, width, 3] with even sides, as they come, at least one; returns their number.

    Imageio's own writer hides FFmpeg's exit status, the only sign that the last frames found no room on a disk.

    Raises:
      UsageError: if the file cannot be written, or not to its end.
    """
    frames = iter(frames)
    first = next(frames)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{first.shape[1]}x{first.shape[0]}"]
    process = subprocess.Popen(
        [
            *(imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, "-r", str(frames_per_second), "-i", "-"),
            *(*ENCODINGS[path.suffix.lower()], f"file:{path}"),  # no name looks like an option or a protocol
        ],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,  # read at the end: an error ends FFmpeg, so the pipe has room for what it says
        start_new_session=True,  # which neither Ctrl-C nor a terminal that closes interrupts
    )
    assert process.stdin is not None
    num_frames = 0
    try:
        for frame in itertools.chain([first], frames):
            process.stdin.write(frame.tobytes())
            num_frames += 1
    except BrokenPipeError:
        pass  # FFmpeg has given up, and says why
    finally:
        _, complaints = process.communicate()
    if process.returncode:
        # The first complaint, after the name of FFmpeg's part; the others follow from it.
        complaint, *_ = complaints.decode(errors="replace").splitlines() or [f"status {process.returncode}"]
        raise UsageError(f"{path}: cannot be written ({complaint.rpartition(': ')[2]})")
    return num_frames
