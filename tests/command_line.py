"""Commands run in the tests' process, as their command lines run them."""

import sys

import pytest

from experiments.runs import command_line


def run(command, *arguments):
    """Runs a command, given as its module; returns the exit status."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["command", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            command_line.run(command.main, command.define_flags())
    return stop.value.code
