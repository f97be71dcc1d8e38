"""Tunes the discount on bsuite's Discounting Chain with and without an outer critic, exactly and with sampled episodes.

Example:
    python -m experiments.discounting_chain --logdir=runs/discounting_chain
"""

import json
from typing import Any

from absl import flags

from experiments.config import flags as commands
from experiments.config.ranges import Range, refuse
from experiments.config.settings import Group
from experiments.runs import command_line
from experiments.storage import folder as storage_folder

RESULTS, PICTURE = "discounting_chain.json", "discounting_chain.png"

NUMBERS = {
    "num_updates": (
        400,
        "inner updates of every agent",
        Range("a multiple of 5, at least 10 and below 2^20", lambda value: 10 <= value < 2**20 and value % 5 == 0),
    ),
    "num_seeds": (
        5,
        "sampled agents of each kind",
        Range("at least 2 and below 2^20", lambda value: 2 <= value < 2**20),
    ),
    "seed": (
        0,
        "seed of the first sampled agent; those of the others follow it",
        Range("at least 0 and below 2^30", lambda value: 0 <= value < 2**30),
    ),
}
"""Default, help and range of the flags."""


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = flags.FlagValues()
    for name, (default, text, allowed) in NUMBERS.items():
        flags.DEFINE_integer(name, default, f"{text}; {allowed.text}", flag_values=values, module_name=Group.BUDGET)
    commands.define_logdir(values)
    return values


def main(values: flags.FlagValues) -> None:
    """Computes what the docstring says, and writes `discounting_chain.json` and `discounting_chain.png`."""
    from experiments.storage.files import write_whole
    from experiments.studies.discounting_chain import picture, study

    numbers: dict[str, Any] = {name: values[name].value for name in NUMBERS}
    for name, number in numbers.items():
        allowed = NUMBERS[name][-1]
        if not allowed.accepts(number):
            refuse(name, number, allowed.text)
    folder = storage_folder.new_logdir(values.logdir)
    results = study.compute(**numbers)
    print(study.tables(results))
    write_whole(folder / RESULTS, json.dumps(results, allow_nan=False) + "\n")
    picture.draw(results, folder / PICTURE)
    print(f"The numbers are in {folder / RESULTS}, the picture is {folder / PICTURE}")


if __name__ == "__main__":
    command_line.run(main, define_flags())
