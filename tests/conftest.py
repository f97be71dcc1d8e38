"""Settings for all tests, made before JAX starts."""

import gc
import os
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Tests compile much and compute little: the compiler takes its shortest ways. A quarter of a training program's
# compilation goes into its loops, a sixth into splitting it for many threads. One device, as in scripts of users.
quick_to_compile = [
    *("--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"),
    "--xla_disable_hlo_passes=while-loop-invariant-code-motion,simplify-while-loops",
    "--xla_force_host_platform_device_count=1",
]
if metadata.version("jax").startswith("0.10."):  # JAX 0.11 ends the process where a flag is not known
    quick_to_compile += ["--xla_cpu_parallel_codegen_split_count=1", "--xla_cpu_use_fusion_emitters=false"]
given = os.environ.get("XLA_FLAGS", "").split()  # those of the process that started this one, in one of several
os.environ["XLA_FLAGS"] = " ".join([*given, *(flag for flag in quick_to_compile if flag not in given)])
# Processes and runs share what was compiled.
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "compiled")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
os.environ["MPLBACKEND"] = "module://no_screen"  # pictures are files, whatever a shell inherits from a notebook
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

# Tracing makes many objects and few cycles: looking for these as often as Python does takes 5 to 11% of a test.
gc.set_threshold(100_000, 50, 1_000)

LONGEST = (
    *("meta_gradients", "own_estimator", "own_agents", "search_methods", "hosts", "variance", "training", "tabular"),
    *("own_parts", "divergence", "discounting_chain", "snake", "evolution", "examples", "train", "benchmark", "resume"),
    *("environments", "play", "layout", "search", "docs", "compare", "gymnasium", "bootstrapped", "report_browser"),
    "sampling_corrected",
)
"""Files that take more than twenty seconds, the longest first: a process that begins with one late is waited for."""

# The first example of a property compiles, which takes its time on a busy machine.
settings.register_profile("compiling", deadline=None)
settings.load_profile("compiling")


@pytest.fixture(scope="session", autouse=True)
def _pictures_are_not_rendered():
    """Which takes most of a second each, and is done where a test looks at them: see `figures`."""
    from matplotlib.figure import Figure
    from PIL import Image

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda self, path, dpi: Image.new("RGB", (1, 1)).save(path, "png"))
        yield


@pytest.fixture
def float64() -> Iterator[None]:
    import jax

    with jax.enable_x64(True):
        yield


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list["Figure"]:
    """Checks every picture that a test draws, and keeps it instead of writing it."""
    from matplotlib.figure import Figure
    from pictures import check_readable

    drawn = []

    def keep(figure: Figure, path: Path, dpi: float) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_readable(figure)
        drawn.append(figure)

    monkeypatch.setattr(Figure, "savefig", keep)
    return drawn


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Has the longest files begin first."""
    places = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
