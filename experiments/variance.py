"""Measures the estimators' bias, variance and signal-to-noise ratio at fixed agents.

Examples:
    python -m experiments.variance --problem=tabular --logdir=runs/tabular
    python -m experiments.variance --preset=quick --logdir=runs/variance
    python -m experiments.variance --checkpoint=runs/mixing --num_samples=1024 --logdir=runs/checkpoints

Stopped in the middle, the same command goes on from the samples that are on disk.
"""

from collections.abc import Callable
from typing import Any

from absl import flags

from experiments.config import flags as commands
from experiments.config.ranges import NAMES
from experiments.runs import command_line
from experiments.storage import folder as storage_folder
from experiments.studies.variance.settings import SETTINGS, STUDY_PRESETS, UNUSED, make_study


class _Numbers(flags.ListParser):
    """Parses a comma list."""

    def __init__(self, kind: Callable[[str], Any]) -> None:
        super().__init__()
        self._kind = kind

    def parse(self, argument: str | list[str]) -> list[Any]:
        return [self._kind(text) for text in super().parse(argument)]


PARSERS: dict[Any, flags.ArgumentParser] = {
    int: flags.IntegerParser(),
    float: flags.FloatParser(),
    str: flags.ArgumentParser(),
    str | None: flags.ArgumentParser(),
    tuple[int, ...]: _Numbers(int),
    tuple[float, ...]: _Numbers(float),
    tuple[str, ...]: _Numbers(str),
}
"""How the command line gives settings of each type."""


MOST_USED = (
    *("problem", "checkpoint", "at_discounts", "at_env_steps", "horizon"),
    *("num_samples", "reference", "estimators", "meta_params", "logdir"),
)
"""What `--help` shows."""


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = commands.define_flags(STUDY_PRESETS, UNUSED)
    values["logdir"].help += ", or that of the same study, to go on with it"
    values["meta_params"].help = f"hyperparameters whose meta-gradients are studied; {NAMES.text}"
    values["horizon"].help = "longest horizon of the estimators, in inner updates; at least 2 and at most 65536"
    for name, field in SETTINGS.items():
        default, parts = field.metadata["default"], [field.metadata["help"], field.metadata["range"].text]
        if isinstance(default, dict):
            shown = {kind: ",".join(map(str, it)) if isinstance(it, tuple) else it for kind, it in default.items()}
            parts.append("by default " + ", ".join(f"{value} ({kind})" for kind, value in shown.items()))
            default = None
        default = list(default) if isinstance(default, tuple) else default
        text = "; ".join(filter(None, parts))
        flags.DEFINE(PARSERS[field.type], name, default, text, values, flags.ArgumentSerializer(), "What is studied")
    return values


def main(values: flags.FlagValues) -> None:
    """Studies what the flags say."""
    from experiments.storage import files
    from experiments.studies.variance import pictures, text
    from experiments.studies.variance.study import RESULTS, carry_out

    own = {name: values[name].value for name in ("preset", *SETTINGS) if values[name].present}
    study = make_study(commands.given_settings(values) | own)
    results = carry_out(study, values.logdir)
    folder = storage_folder.local_path("logdir", values.logdir)
    with files.told(folder):
        drawn = pictures.draw(results, folder)
    print(f"{text.describe(results)}\n\nIn {folder}: {', '.join([RESULTS, *drawn])}\n")
    print(text.answer(results["summary"]))


if __name__ == "__main__":
    command_line.run(main, define_flags(), "the same command goes on from here")
