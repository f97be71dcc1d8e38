"""Recordings as GIF or MP4, frame by frame; what is written before an interruption stays playable."""

import contextlib
import pathlib
import signal
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator

import imageio_ffmpeg
import numpy as np

from experiments.config.ranges import UsageError
from experiments.runs import interrupts

ENCODINGS: dict[str, list[str]] = {
    # One palette, made from the first frames, since making it from all would mean to keep them all.
    ".gif": [
        *("-vcodec", "gif", "-pix_fmt", "pal8", "-filter_complex"),
        "split[a][b];[a]trim=end_frame=64,palettegen[palette];[b][palette]paletteuse=dither=none",
    ],
    ".mp4": ["-vcodec", "libx264", "-pix_fmt", "yuv420p", "-crf", "25"],
}
"""What FFmpeg needs to know, by a file's suffix; Pillow's and Imageio's GIF writers keep every frame until the end."""


def write(path: pathlib.Path, frames: Iterable[np.ndarray], frames_per_second: float) -> int:
    """Writes frames as they come, one at a time in memory.

    Args:
      path: with a suffix of `ENCODINGS`; replaced if it exists.
      frames: uint8 [height, width, 3], all of one size, whose sides are even.
      frames_per_second: positive; a GIF rounds a frame's time to hundredths of a second.

    Returns:
      The number of frames.

    Raises:
      UsageError: if the file cannot be written, or not to its end.
    """
    num_frames = 0
    with contextlib.ExitStack() as stack:
        for frame in frames:
            if not num_frames:
                height, width, _ = frame.shape
                send = stack.enter_context(_encoder(path, (width, height), frames_per_second))
            send(frame.tobytes())
            num_frames += 1
    return num_frames


@contextlib.contextmanager
def deferred_interruption() -> Iterator[Callable[[], bool]]:
    """Keeps the signals that end a program from stopping what runs inside; gives a function that tells of them.

    They come from Ctrl-C, from `kill`, and from a terminal that is closed. Those that the process was started to
    ignore, as by `nohup`, stay ignored.
    """
    received: list[int] = []
    with interrupts.handled(lambda number, _: received.append(number), (*interrupts.SIGNALS, signal.SIGHUP)):
        yield lambda: bool(received)


class _GivenUpError(Exception):
    """FFmpeg takes no more frames; its exit status and its complaint say why."""


@contextlib.contextmanager
def _encoder(path: pathlib.Path, size: tuple[int, int], frames_per_second: float) -> Iterator[Callable[[bytes], None]]:
    """Runs FFmpeg; gives the function that takes the next frame.

    Imageio's own writer hides FFmpeg's exit status, the only sign that the last frames found no room on a disk.

    Raises:
      UsageError: if the file cannot be written, or not to its end.
    """
    process = _start_encoder(path, size, frames_per_second)
    stdin, stderr = process.stdin, process.stderr
    assert stdin is not None
    assert stderr is not None

    def send(frame: bytes) -> None:
        try:
            stdin.write(frame)
        except BrokenPipeError as error:
            raise _GivenUpError from error

    with stderr:
        try:
            yield send
        except _GivenUpError:
            pass
        finally:
            with contextlib.suppress(BrokenPipeError):
                stdin.close()
            process.wait()
        if process.returncode:
            # The first complaint, after the name of FFmpeg's part; the others follow from it.
            complaint, *_ = stderr.read().decode(errors="replace").splitlines() or [f"status {process.returncode}"]
            raise UsageError(f"{path}: cannot be written ({complaint.rpartition(': ')[2]})")
    if not path.exists():
        raise UsageError(f"{path}: has been removed while it was written")


def _start_encoder(path: pathlib.Path, size: tuple[int, int], frames_per_second: float) -> subprocess.Popen[bytes]:
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "{}x{}".format(*size), "-r", str(frames_per_second)]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *source, "-i", "-"]
    with warnings.catch_warnings():
        # JAX warns of every fork; this one becomes FFmpeg at once and touches no lock.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        return subprocess.Popen(
            [*command, *ENCODINGS[path.suffix.lower()], f"file:{path}"],  # no name looks like an option or a protocol
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,  # read at the end: an error ends FFmpeg, so the pipe has room for what it says
            start_new_session=True,  # which neither Ctrl-C nor a terminal that closes interrupts
        )
