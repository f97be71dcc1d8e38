"""What the Makefile's long targets run: `make test` is too short for them, so only their flags are checked."""

import importlib
import re
import subprocess
from pathlib import Path

import command_line
import pytest

COMMAND = re.compile(r"-m (experiments\.\w+) (.*)")


@pytest.mark.parametrize(("target", "number"), [("demo", 2), ("accelerator", 3)])
def test_commands_of_long_targets_have_flags_that_they_take(target, number, tmp_path, capsys):
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "file").touch()
    dry = ["make", "--dry-run", "--always-make", target]
    lines = subprocess.run(dry, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    commands = COMMAND.findall(lines)
    assert len(commands) == number
    for module, flags in commands:
        place = re.sub(r"--logdir=\S+", f"--logdir={tmp_path / 'occupied'}", flags)
        assert command_line.run(importlib.import_module(module), *place.split()) == 2
        # Refused for the folder, which is looked at last, and for nothing before.
        assert "--logdir=" in capsys.readouterr().err
