"""Goes through suites of figures, and keeps each figure as soon as it is there."""

import json
import pathlib
import platform
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from experiments.runs import devices, progress
from experiments.storage.files import write_whole
from experiments.studies.benchmark import games, measuring, report, starting, training
from experiments.studies.benchmark.measuring import Figures
from experiments.studies.benchmark.settings import Scale

RESULTS, PICTURE = "benchmark.json", "benchmark.png"

FIGURES: Mapping[str, Callable[[Scale], Figures]] = {
    "env": games.env,
    "train": training.train,
    "estimators": training.estimators,
    "seeds": training.seeds,
    "memory": training.memory,
    "compile": starting.compile,
}


def measure(suites: Sequence[str], scale: Scale, folder: pathlib.Path) -> dict[str, Any]:
    """Measures suites, and writes and draws `benchmark.json` and `benchmark.png`; returns what the first holds."""
    planned = [(suite, name, figure) for suite in suites for name, figure in FIGURES[suite](scale).items()]
    results: dict[str, Any] = {suite: {} for suite in suites} | {"device": device(scale)}
    with progress.bar("measured", len(planned), "figures") as bar:
        for suite, name, figure in planned:
            bar.set_postfix_str(f"{suite}.{name}")
            results[suite][name] = figure()
            write_whole(folder / RESULTS, json.dumps(results, indent=2) + "\n")
            bar.update()
    report.draw({suite: results[suite] for suite in suites}, folder / PICTURE)
    return results


def device(scale: Scale) -> dict[str, Any]:
    """Describes the device for JSON, with its rate of matrix products as it is now."""
    program, flops = measuring.matrix_product(scale)
    seconds = measuring.interleave({"product": program}, scale.repeats, scale.seconds)["product"]
    first, *_ = jax.local_devices()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "platform": first.platform,
        "kind": first.device_kind,
        "number": jax.local_device_count(),
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": devices.num_cores(),
        "matrix_product_flops_per_second": measuring.median(flops / seconds),
    }
