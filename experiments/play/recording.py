"""Recordings as GIF or MP4, frame by frame; what is written before an interruption stays playable."""

import contextlib
import pathlib
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import imageio_ffmpeg
import numpy as np

ENCODINGS: dict[str, dict[str, Any]] = {
    ".gif": {
        "codec": "gif",
        "pix_fmt_out": "pal8",
        "quality": None,
        # One palette, made from the first frames, since making it from all would mean to keep them all.
        "output_params": [
            "-filter_complex",
            "split[a][b];[a]trim=end_frame=64,palettegen[palette];[b][palette]paletteuse=dither=none",
        ],
    },
    ".mp4": {"codec": "libx264"},
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
    """Keeps Ctrl-C and SIGTERM from stopping what runs inside; gives a function that tells whether one has come."""
    received: list[int] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in previous:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _encoder(path: pathlib.Path, size: tuple[int, int], frames_per_second: float) -> Iterator[Callable[[bytes], None]]:
    """Runs FFmpeg; gives the function that takes the next frame."""
    encoder = imageio_ffmpeg.write_frames(
        str(path),
        size,
        fps=frames_per_second,
        macro_block_size=2,
        ffmpeg_log_level="error",
        **ENCODINGS[path.suffix.lower()],
    )
    with warnings.catch_warnings():
        # JAX warns of every fork; this one becomes FFmpeg at once and touches no lock.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        next(encoder)
    try:
        yield encoder.send
    finally:
        encoder.close()
