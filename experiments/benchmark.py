"""Measures speed and memory: every figure is a ratio of two programs that run in turns on the same machine.

Example:
    python -m experiments.benchmark --suite=env,train,estimators,seeds,memory,compile --logdir=runs/benchmark

A busy machine slows both sides alike. Estimates are medians over rounds, with 95% intervals. Peers are other libraries
(`pip install -c constraints.txt -e '.[bench]'`, and stable-baselines3); without one, ours is measured alone. How far
ours is from the machine is told as its share of the rate of matrix products, measured in the same rounds. What is
measured is on disk at once, so a stopped run keeps what it has.
"""

from typing import Any

from absl import flags

from experiments.config import flags as commands
from experiments.config.ranges import UsageError, refuse
from experiments.runs import command_line, compilation
from experiments.storage import folder as storage_folder
from experiments.studies.benchmark.settings import SCALES, SUITES

ALLOWED = f"a comma list, without repetition, of {', '.join(SUITES)}"


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = flags.FlagValues()
    where: dict[str, Any] = {"flag_values": values, "module_name": "What is measured"}
    flags.DEFINE_list("suite", list(SUITES), f"suites; {ALLOWED}", **where)
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
        refuse("suite", suites, ALLOWED)
    if compilation.jit_is_disabled():
        raise UsageError("JAX_DISABLE_JIT: must be left out, since what is measured are compiled programs")
    folder = storage_folder.new_logdir(values.logdir)

    from experiments.figures import tables  # not above, so that --help need not wait for them
    from experiments.studies.benchmark import report
    from experiments.studies.benchmark.suites import PICTURE, RESULTS, measure

    results = measure(suites, SCALES[values.scale], folder)
    for suite in suites:
        print(f"\n{report.table(suite, results[suite])}")
    print(f"\n{tables.INTERVALS_NOTE} The results are in {folder / RESULTS}, their picture is {folder / PICTURE}")


if __name__ == "__main__":
    command_line.run(main, define_flags())
