"""Waiting for compilers: fresh processes up to their first step of training, and up to the text of `--help`."""

import pathlib
import subprocess
import sys
import tempfile
from functools import partial

from experiments.runs import compilation, devices
from experiments.storage import config_file
from experiments.storage.config_file import CONFIG
from experiments.studies.benchmark import figures, programs
from experiments.studies.benchmark.figures import SECONDS, Figure, Figures, Side
from experiments.studies.benchmark.settings import Scale

PEERS = ()

FIRST_STEP = "import sys; from experiments.benchmark import compile; compile.first_step(*sys.argv[1:])"


def first_step(settings: str, cache: str) -> None:
    """Trains for one window: all that a fresh process has to do for that, programs compiled or found.

    Args:
      settings: the file of the run's settings.
      cache: the folder that keeps compiled programs.
    """
    compilation.keep_programs(cache)
    devices.use_all_cores()
    programs.training(config_file.load(pathlib.Path(settings)), 1)()


def suite(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    return {"first_step": partial(_first_step, scale), "help": partial(_help, scale)}


def _first_step(scale: Scale) -> Figure:
    with tempfile.TemporaryDirectory() as place:
        settings, cache = pathlib.Path(place, CONFIG), pathlib.Path(place, "cache")
        config_file.save(scale.demo, settings)

        def start(folder: pathlib.Path) -> None:
            run("-c", FIRST_STEP, str(settings), str(folder))

        def cold() -> None:
            with tempfile.TemporaryDirectory() as empty:
                start(pathlib.Path(empty))

        # The call that warms up fills the cache.
        return figures.race(
            SECONDS, "an empty cache", Side(lambda: start(cache)), Side(cold), scale._replace(seconds=0.0)
        )


def _help(scale: Scale) -> Figure:
    shown, imported = Side(lambda: run("-m", "experiments.train", "--help")), Side(lambda: run("-c", "import jax"))
    return figures.race(SECONDS, "python -c 'import jax'", shown, imported, scale._replace(seconds=0.0))


def run(*arguments: str) -> None:
    """Runs this Python with arguments, quietly, from where this library is: elsewhere its names may mean others'.

    Raises:
      subprocess.CalledProcessError: if it fails.
    """
    home = pathlib.Path(__file__).parents[3]
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=home)
