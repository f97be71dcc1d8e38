"""What the Makefile's long targets run: `make test` is too short for them, so their flags and limits are checked."""

import importlib
import re
import subprocess
from pathlib import Path

import command_line
import pytest

COMMAND = re.compile(r"-m (experiments\.\w+) (.*)")
LIMITED = re.compile(r"timeout --signal=INT (\d+)m \S+ -m experiments")


def _lines(target):
    dry = ["make", "--dry-run", "--always-make", target]
    return subprocess.run(dry, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize(("target", "number"), [("demo", 3), ("accelerator", 3)])
def test_commands_of_long_targets_have_flags_that_they_take(target, number, tmp_path, capsys):
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "file").touch()
    commands = COMMAND.findall(_lines(target))
    assert len(commands) == number
    for module, flags in commands:
        place = re.sub(r"--logdir=\S+", f"--logdir={tmp_path / 'occupied'}", flags)
        assert command_line.run(importlib.import_module(module), *place.split()) == 2
        # Refused for the folder, which is looked at last, and for nothing before.
        assert "--logdir=" in capsys.readouterr().err


def test_the_figures_of_an_accelerator_take_twelve_minutes_at_most_and_no_step_more_than_ten():
    minutes = [int(limit) for limit in LIMITED.findall(_lines("accelerator"))]
    assert len(minutes) == 3
    assert max(minutes) <= 10
    assert sum(minutes) <= 12
