"""Command-line experiments: flags in, files and pictures out.

A module is a command, and a package is what commands are made of.
"""

import importlib.util
import pathlib

for _name in ("agents", "envs", "metagrad"):
    _spec = importlib.util.find_spec(_name)
    _place = pathlib.Path((_spec and _spec.origin) or __file__)
    if _place.resolve().parents[1] != pathlib.Path(__file__).resolve().parents[1]:
        raise ImportError(
            f"{_name} is the name of a package of metagrad and of {_place}, which comes first here: the installed "
            "commands, such as metagrad-train, work beside it; imports in Python want it renamed",
            name=__name__,
        )
