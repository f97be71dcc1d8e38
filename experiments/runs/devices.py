"""Turns every CPU core into a JAX device of its own, for commands. What the devices compute is decided in `layout`.

Who calls `train` from Python has the devices that JAX finds: a CPU is one.
"""

import os

import jax

FORCED = "xla_force_host_platform_device_count"


def num_cores() -> int:
    """Returns the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_all_cores() -> None:
    """Makes JAX take each core for a device, before it computes anything; without effect where there is an accelerator.

    As one device, the cores share each operation, and wait for one another after it and during all that is too small to
    be shared. As devices, each has seeds of its own. Who sets `JAX_NUM_CPU_DEVICES`, or XLA's flag for it, is obeyed.
    """
    if "JAX_NUM_CPU_DEVICES" not in os.environ and FORCED not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", num_cores())
