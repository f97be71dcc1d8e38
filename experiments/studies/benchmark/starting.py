"""Waiting for compilers: fresh processes up to their first step of training, and up to the text of `--help`."""

import dataclasses
import pathlib
import subprocess
import sys
import tempfile
from functools import partial

from experiments.storage import config_file
from experiments.studies.benchmark import measuring
from experiments.studies.benchmark.measuring import SECONDS, Figure, Figures, Side
from experiments.studies.benchmark.settings import Scale

FIRST_STEP = """
import pathlib, sys
from experiments.runs import compilation, devices, training
from experiments.storage import config_file
compilation.keep_programs(sys.argv[2])
devices.use_all_cores()
training.train(config_file.load(pathlib.Path(sys.argv[1])), quiet=True)
"""


def compile(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    once = scale._replace(seconds=0.0)
    return {"first_step": partial(_first_step, once), "help": partial(_help, once)}


def _first_step(scale: Scale) -> Figure:
    with tempfile.TemporaryDirectory() as place:
        settings = pathlib.Path(place, "config.json")
        config_file.save(dataclasses.replace(scale.demo, num_env_steps=scale.demo.steps_per_window), settings)

        def cold() -> None:
            with tempfile.TemporaryDirectory() as empty:
                run("-c", FIRST_STEP, str(settings), empty)

        warm = Side(lambda: run("-c", FIRST_STEP, str(settings), f"{place}/cache"))  # full once it is warmed up
        return measuring.race(SECONDS, "an empty cache", warm, Side(cold), scale)


def _help(scale: Scale) -> Figure:
    shown, imported = Side(lambda: run("-m", "experiments.train", "--help")), Side(lambda: run("-c", "import jax"))
    return measuring.race(SECONDS, "python -c 'import jax'", shown, imported, scale)


def run(*arguments: str) -> None:
    """Runs this Python with arguments, quietly, from where this library is: elsewhere its names may mean others'.

    Raises:
      subprocess.CalledProcessError: if it fails.
    """
    home = pathlib.Path(__file__).parents[3]
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=home)
