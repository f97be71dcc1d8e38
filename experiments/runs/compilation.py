"""Keeps compiled programs on disk, so that only the first start of a program waits for the compiler."""

import contextlib
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import platformdirs

LARGEST = 2 * 2**30
"""Bytes that the user's cache folder may hold when a command starts; what is oldest goes first."""

OFF = "none"


def keep_programs(folder: str | None) -> None:
    """Sets JAX's persistent compilation cache up.

    A folder that cannot be written to is one warning, and nothing is kept.

    Args:
      folder: where to keep programs, `OFF` to keep none, or nothing for the folder that JAX's own variable names,
        `JAX_COMPILATION_CACHE_DIR`, and the user's cache folder without it.
    """
    users = platformdirs.user_cache_dir("metagrad")
    folder = folder or os.environ.get("JAX_COMPILATION_CACHE_DIR") or users
    if folder == OFF:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    if "://" in folder:  # a place that JAX knows how to reach, such as gs://bucket/programs
        jax.config.update("jax_compilation_cache_dir", folder)
        return
    try:
        place = pathlib.Path(folder).expanduser()
        place.mkdir(parents=True, exist_ok=True)
        writable = os.access(place, os.W_OK)
    except (OSError, RuntimeError):
        writable = False
    if not writable:
        print(f"warning: compiled programs are not kept, since {folder} cannot be written to", file=sys.stderr)
        jax.config.update("jax_enable_compilation_cache", False)
        return
    jax.config.update("jax_compilation_cache_dir", str(place))
    if folder == users:
        # Not by JAX's own bound: a process killed between the two files of a program would break the folder for good.
        _prune(place, LARGEST)


def jit_is_disabled() -> bool:
    """Tells whether JAX_DISABLE_JIT, or its like in Python, has every operation called by itself."""
    return jax.config.jax_disable_jit  # type: ignore[attr-defined]


def compiled(program: jax.stages.Wrapped, *inputs: Any) -> Callable:
    """Compiles a program for inputs of these shapes, or returns it as it is where nothing is compiled."""
    return program if jit_is_disabled() else program.lower(*inputs).compile()


@contextlib.contextmanager
def checking_themselves() -> Iterator[None]:
    """Lets programs run on that tell themselves what was not finite first, in spite of JAX_DEBUG_NANS or its like.

    JAX would only tell that something in the whole program was not. With JAX_DISABLE_JIT as well, it can name the
    operation, and is left to it.
    """
    with contextlib.ExitStack() as switches:
        if not jit_is_disabled():
            switches.enter_context(jax.debug_nans(False))
            switches.enter_context(jax.debug_infs(False))
        yield


def _prune(folder: pathlib.Path, largest: int) -> None:
    """Removes the oldest programs until the others have no more than so many bytes."""
    with contextlib.suppress(OSError):  # another process may prune as well
        programs = sorted(folder.glob("*-cache"), key=lambda file: file.stat().st_mtime, reverse=True)
        total = 0
        for file in programs:
            total += file.stat().st_size
            if total > largest:
                file.unlink()
