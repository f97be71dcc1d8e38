"""Settings for all tests, made before JAX starts."""

import os

from hypothesis import settings

# Tests compile much and compute little: skip the compiler's costliest passes. No screen is needed for pictures.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_llvm_disable_expensive_passes=true"
os.environ.setdefault("MPLBACKEND", "agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

# The first example of a property compiles, which takes its time on a busy machine.
settings.register_profile("compiling", deadline=None)
settings.load_profile("compiling")
