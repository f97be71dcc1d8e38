"""The installed commands, `metagrad-train` and its siblings: `python -m experiments.train`, from any folder."""

import importlib
import pathlib
import runpy
import sys


def run() -> None:
    """Runs the command of `experiments` that the installed script is called after.

    This library's packages come first, whatever stands on the path: projects have an `envs`, `agents` or `experiments`
    of their own, and PYTHONPATH often names them.
    """
    ours = str(pathlib.Path(__file__).parent)
    sys.path.insert(0, ours)
    for package in ("agents", "envs", "experiments", "metagrad"):
        importlib.import_module(package)
    sys.path.remove(ours)
    name = pathlib.Path(sys.argv[0]).stem.removeprefix("metagrad-").replace("-", "_")
    runpy.run_module(f"experiments.{name}", run_name="__main__", alter_sys=True)
