"""Keeps compiled programs on disk, so that only the first start of a program waits for the compiler."""

import os
import pathlib
import sys

import jax
import platformdirs

LARGEST = 2 * 2**30
"""Bytes that the per-user folder may hold; what was not used for longest goes first."""

OFF = "none"


def keep_programs(folder: str | None) -> None:
    """Sets JAX's persistent compilation cache up.

    A folder that cannot be written to is one warning, and nothing is kept.

    Args:
      folder: where to keep programs, `OFF` to keep none, or None for the folder that JAX's own variable names,
        `JAX_COMPILATION_CACHE_DIR`, and the user's cache folder without it.
    """
    if folder is None:
        folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or platformdirs.user_cache_dir("metagrad")
    if folder == OFF:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    place = pathlib.Path(folder).expanduser()
    try:
        place.mkdir(parents=True, exist_ok=True)
        writable = os.access(place, os.W_OK)
    except (OSError, RuntimeError):
        writable = False
    if not writable:
        print(f"warning: compiled programs are not kept, since {folder} cannot be written to", file=sys.stderr)
        jax.config.update("jax_enable_compilation_cache", False)
        return
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_compilation_cache_max_size", LARGEST)
