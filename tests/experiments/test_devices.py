"""Cores as devices."""

import os
import subprocess
import sys

import pytest

from experiments.runs import devices

PROGRAM = """
from absl import flags
from experiments.runs import command_line

def main(_):
    import jax
    print(jax.local_device_count())

command_line.run(main, flags.FlagValues())
"""


@pytest.mark.parametrize(
    ("variables", "number"),
    [({}, devices.num_cores()), ({"XLA_FLAGS": f"--{devices.FORCED}=3"}, 3), ({"JAX_NUM_CPU_DEVICES": "5"}, 5)],
)
def test_a_command_has_each_core_as_a_device_unless_the_user_says_otherwise(variables, number):
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert int(ended.stdout) == number
