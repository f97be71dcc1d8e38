"""Measures speed and memory: every figure is a ratio of two programs that run in turns on the same machine.

Example:
    python -m experiments.benchmark --suite=env,train,estimators,seeds,memory,compile --logdir=runs/benchmark

A busy machine slows both sides alike. Estimates are medians over rounds, with 95% intervals. Peers are other libraries
(`pip install -c constraints.txt -e '.[bench]'`, and stable-baselines3); without one, ours is measured alone. How far
ours is from the machine is told as shares of its rate of matrix products and of its bandwidth, measured in the same
rounds. What is measured is on disk at once, so a stopped run keeps what it has.
"""

import importlib
import json
import pathlib
import platform
from typing import Any

import jax
from absl import flags

from experiments.config import flags as commands
from experiments.config.ranges import UsageError, refuse
from experiments.figures import tables as reporting
from experiments.runs import command_line, compilation, devices, progress
from experiments.storage import folder as storage_folder
from experiments.storage.files import write_whole
from experiments.studies.benchmark import figures, report, timing
from experiments.studies.benchmark.settings import SCALES, SUITES, Scale

RESULTS, PICTURE = "benchmark.json", "benchmark.png"


def benchmark(suites: list[str], scale: Scale, folder: pathlib.Path) -> dict[str, Any]:
    """Measures suites, and writes each figure as soon as it is there, and the picture in the end.

    Args:
      suites: of `SUITES`.
      scale: how much to measure.
      folder: for `benchmark.json` and `benchmark.png`.

    Returns:
      What the file holds: `SUITE.FIGURE` as `figures.as_json` has it, and `device`.
    """
    modules = {name: importlib.import_module(f"experiments.benchmark.{name}") for name in suites}
    for name, module in modules.items():
        for peer in module.PEERS:
            if not figures.installed(peer):
                print(f"skipped: {peer} is not installed; {name} has nothing to compare with in its place")
    planned = [
        (name, figure, measure) for name, module in modules.items() for figure, measure in module.suite(scale).items()
    ]
    results: dict[str, Any] = {name: {} for name in suites}
    results["device"] = device(scale)
    with progress.bar("measured", len(planned), "figures") as bar:
        for name, figure, measure in planned:
            bar.set_postfix_str(f"{name}.{figure}")
            results[name][figure] = figures.as_json(measure())
            write_whole(folder / RESULTS, json.dumps(results, indent=2) + "\n")
            bar.update()
    report.draw({name: results[name] for name in suites}, folder / PICTURE)
    return results


def device(scale: Scale) -> dict[str, Any]:
    """Describes the device, with its rates of matrix products and of copies as they are now."""
    machine = {"product": timing.matrix_product(scale.product_size), "copy": timing.copy(scale.copy_bytes)}
    programs = {name: program for name, (program, _) in machine.items()}
    seconds = timing.interleave(programs, scale.repeats, scale.seconds)
    rates = {name: timing.median(amount / seconds[name]) for name, (_, amount) in machine.items()}
    first, *_ = jax.local_devices()
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "number": jax.local_device_count(),
        "processor": _processor(),
        "cores": devices.num_cores(),
        "matrix_product_flops_per_second": reporting.as_json(rates["product"]),
        "copy_bytes_per_second": reporting.as_json(rates["copy"]),
    }


def _processor() -> str:
    """Returns what the processor is called, as far as the system says."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = flags.FlagValues()
    where: dict[str, Any] = {"flag_values": values, "module_name": "What is measured"}
    flags.DEFINE_list(
        "suite", list(SUITES), f"suites; a comma list, without repetition, of {', '.join(SUITES)}", **where
    )
    flags.DEFINE_enum(
        "scale",
        "full",
        list(SCALES),
        "how much is measured: full for CPUs, accelerator for a GPU, miniature to see in minutes that all works",
        **where,
    )
    commands.define_logdir(values)
    return values


def main(values: flags.FlagValues) -> None:
    """Measures what the flags say."""
    suites = values.suite
    if not suites or len(set(suites)) < len(suites) or not set(suites) <= set(SUITES):
        refuse("suite", suites, f"a comma list, without repetition, of {', '.join(SUITES)}")
    if compilation.jit_is_disabled():
        raise UsageError("JAX_DISABLE_JIT: must be left out, since what is measured are compiled programs")
    folder = storage_folder.new_logdir(values.logdir)
    results = benchmark(suites, SCALES[values.scale], folder)
    for suite in suites:
        print(f"\n{report.table(suite, results[suite])}")
    print(f"\n{reporting.INTERVALS_NOTE} The results are in {folder / RESULTS}, their picture is {folder / PICTURE}")


if __name__ == "__main__":
    command_line.run(main, define_flags())
