"""Pictures of an episode, packed small: sheets of frames of which each has only what changed since the one before."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

LONGEST_SIDE = 240
"""Pixels of a frame."""

COLORS = 63
"""Of an episode, which makes it much smaller and is not seen."""

EVERY = 25
"""Frames of a sheet, of which the first is whole: so many have to be drawn at most to show one."""


def pack(frames: np.ndarray) -> dict[str, Any]:
    """Packs frames.

    Args:
      frames: uint8 [N, height, width, 3].

    Returns:
      `width` and `height` of a frame, `every`, and `sheets`: addresses of pictures with the data in them, of `every`
      frames below each other, transparent where they are as the frame before.
    """
    shrink = min(1.0, LONGEST_SIDE / max(frames.shape[1:3]))
    width, height = (max(round(side * shrink), 1) for side in frames.shape[2:0:-1])
    resized = [Image.fromarray(frame).resize((width, height), Image.Resampling.BOX) for frame in frames]
    small = list(map(np.asarray, resized))
    tall = Image.fromarray(np.concatenate(small))
    few = Image.fromarray(np.concatenate(small[:: max(len(small) // 30, 1)])).quantize(COLORS)
    colors = np.asarray(tall.quantize(palette=few, dither=Image.Dither.NONE).convert("RGB"))
    colors = colors.reshape(len(frames), height, width, 3)
    sheets = [_sheet(colors[start : start + EVERY]) for start in range(0, len(frames), EVERY)]
    return {"width": width, "height": height, "every": EVERY, "sheets": sheets}


def _sheet(frames: np.ndarray) -> str:
    changed = np.any(frames[1:] != frames[:-1], axis=-1, keepdims=True)
    opaque = np.concatenate([np.ones_like(changed[:1], shape=(1, *frames.shape[1:3], 1)), changed]).astype(np.uint8)
    pixels = np.concatenate([frames * opaque, 255 * opaque], axis=-1)
    stream = io.BytesIO()
    Image.fromarray(pixels.reshape(-1, *pixels.shape[2:])).save(stream, "WEBP", lossless=True, method=4)
    return address(stream.getvalue(), "webp")


def address(picture: bytes, kind: str) -> str:
    """Returns the address of a picture that holds the picture itself, so that a page needs no other file."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
