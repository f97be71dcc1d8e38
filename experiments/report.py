"""Writes a page of what a folder holds, `report.html`, which any browser opens, also without a network.

Examples:
    python -m experiments.report --logdir=runs/demo
    python -m experiments.report --logdir=runs

The folder is that of a run, a comparison, a variance study or a search, or it holds such folders. The page says what
was run and how it ended. Its curves can be zoomed, and switched on and off by run and seed. The best seeds of all runs
replay an episode side by side, with the probabilities of their moves and the values that they expect.
"""

from typing import Any

from absl import flags

from experiments.config import environments
from experiments.config.ranges import count, refuse
from experiments.runs import command_line

MAX_STEPS = count(1)


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = flags.FlagValues()
    where: dict[str, Any] = {"flag_values": values, "module_name": "What is reported"}
    text = "folder of a run, comparison, study or search, or of such folders; the page is written into it"
    flags.DEFINE_string("logdir", None, text, **where)
    text = f"environment of the runs, where it is your own code, to replay them; {environments.NAMES}"
    flags.DEFINE_string("environment", None, text, **where)
    flags.DEFINE_string("agent", None, "agent of the runs, where it is your own code, to replay them", **where)
    flags.DEFINE_integer("max_steps", 300, f"steps after which a replay ends; {MAX_STEPS.text}", **where)
    return values


def main(values: flags.FlagValues) -> None:
    """Reports as the flags say."""
    if not values.logdir:
        refuse("logdir", "", "given: a folder of a run, comparison, study or search, or of such folders")
    if not MAX_STEPS.accepts(values.max_steps):
        refuse("max_steps", values.max_steps, MAX_STEPS.text)
    from experiments.studies.report import page  # not above, so that --help need not wait

    path = page.report(values.logdir, values.environment, values.max_steps, values.agent)
    print(f"The report is {path}; open it in a browser.")


if __name__ == "__main__":
    command_line.run(main, define_flags())
