"""Cores as devices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from experiments.runs import command_line, devices

PROGRAM = "from experiments.runs import devices; devices.use_all_cores(); import jax; print(jax.local_device_count())"
XLAS, JAXS = f"--{devices.FORCED}=3", "5"


@pytest.mark.parametrize(
    ("variables", "number"),
    [({}, devices.num_cores()), ({"XLA_FLAGS": XLAS}, 3), ({"JAX_NUM_CPU_DEVICES": JAXS}, 5)],
)
def test_each_core_is_a_device_unless_the_user_says_otherwise(variables, number):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, "-c", PROGRAM]
    place = Path(__file__).parents[2]
    ended = subprocess.run(command, env=environment | variables, cwd=place, capture_output=True, text=True, check=True)
    assert int(ended.stdout) == number


def test_commands_use_all_cores(monkeypatch):
    called = []
    monkeypatch.setattr(devices, "use_all_cores", lambda: called.append("cores"))
    monkeypatch.setattr(sys, "argv", ["command"])
    with pytest.raises(SystemExit):
        command_line.run(lambda _: called.append("main"), flags.FlagValues())
    assert called == ["cores", "main"]
