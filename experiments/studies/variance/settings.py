"""The flags of a study, and what they ask for."""

import dataclasses
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from absl import flags

from agents import tabular
from experiments.config import flags as commands
from experiments.config import validation
from experiments.config.ranges import NAMES, Range, UsageError, count, refuse
from experiments.config.settings import PRESETS, Config, flag_name
from experiments.storage import config_file
from experiments.storage import folder as storage_folder
from experiments.storage.config_file import CONFIG
from experiments.studies.variance.snake_points import PHASES, Asked

PROBLEMS = ("environment", "tabular")
REFERENCES = ("multi_step", "return")

RETURN_HORIZONS = (1, 5)
"""Besides the longest: numbers of updates after which the true return's gradient is sampled."""

STUDY_PRESETS = {
    # Of `single_step`, which tunes, and whose windows are single rollouts.
    "quick": {**PRESETS["quick"], "estimator": "single_step", "horizon": 10},
    "paper": {**PRESETS["paper"], "estimator": "single_step", "horizon": 10},
}
"""Settings of the agents that are trained for a study, and its horizon."""

AT_DISCOUNTS = {"quick": (0.8, 0.97), "paper": (0.8, 0.99)}
AT_ENV_STEPS = {"quick": (64_000,), "paper": (6_400_000,)}
"""Discounts and training times of these agents by default: of a preset."""

NUM_SAMPLES = {"quick": 256, "paper": 4_096, "tabular": 6_400}
"""Windows of a point by default: of a preset, or of the tabular problem."""

CHUNK_SIZES = {"quick": 16, "paper": 32, "tabular": 320}
"""Windows of one call by default, likewise: on a GPU and for the tables, all are drawn at once."""

UNUSED = (
    *("estimator", "num_seeds", "mixing_weights", "mixing_decay", "meta_gradient_clip"),
    *("meta_learning_rate", "meta_learning_rate_halving", "discount", "num_env_steps"),
)
"""Settings that mean nothing here: every estimator is studied, nothing is tuned, and agents are studied at several."""

OF_TABULAR = ("seed", "horizon")
OF_CHECKPOINTS = (
    *("seed", "horizon", "meta_params", "exact_targets"),
    *("outer_discount", "outer_lambda", "outer_value_cost", "outer_entropy_cost"),
)
"""Settings that a study of the tabular problem, or of a run's checkpoints, leaves open."""

OF_TRAINING = ("at_discounts", "at_env_steps")
"""Flags that are for agents trained for the study."""

OF_RETURN = ("num_lifetimes", "perturbation")
"""Flags that are for the true return's gradient, where it is sampled."""

OF_RUN = ("num_checkpoints", "seed_index", "checkpoint")
"""Flags that are for a run's checkpoints."""

RANGES = {
    "problem": Range(f"one of {', '.join(PROBLEMS)}", lambda value: value in PROBLEMS),
    "num_samples": count(8),
    "num_checkpoints": Range("1, 2 or 3", lambda value: value in PHASES),
    "seed_index": count(0),
    "burn_in": count(0),
    "chunk_size": count(1),
    "reference": Range(f"one of {', '.join(REFERENCES)}", lambda value: value in REFERENCES),
    "num_lifetimes": count(8),
    "perturbation": Range("in (0, 10]", lambda value: 0.0 < value <= 10.0),
    "at_discounts": Range("a comma list, without repetition, of numbers in (0, 1)", lambda value: True),
    "at_env_steps": Range("a comma list, without repetition, of positive whole numbers", lambda value: True),
}


def define_flags() -> flags.FlagValues:
    """Returns the command's flags."""
    values = commands.define_flags(STUDY_PRESETS, UNUSED)
    values["logdir"].help += ", or that of the same study, to go on with it"
    values["meta_params"].help = f"hyperparameters whose meta-gradients are studied; {NAMES.text}"
    values["horizon"].help = "longest horizon of the estimators, in inner updates; at least 2 and at most 65536"
    where: dict[str, Any] = {"flag_values": values, "module_name": "What is studied"}
    flags.DEFINE_string(
        "problem",
        "environment",
        f"where agents learn: in --environment, or on tables that are solved exactly; {RANGES['problem'].text}",
        **where,
    )
    flags.DEFINE_string(
        "checkpoint",
        None,
        "folder of a training run whose agents are studied; without it, agents are trained as --at_discounts and "
        "--at_env_steps say",
        **where,
    )
    flags.DEFINE_list(
        "at_discounts",
        None,
        f"discounts of the agents that are trained for the study; {RANGES['at_discounts'].text}; by default "
        + _defaults(AT_DISCOUNTS),
        **where,
    )
    flags.DEFINE_list(
        "at_env_steps",
        None,
        f"environment steps after which each agent of --at_discounts is studied; {RANGES['at_env_steps'].text}; "
        "by default " + _defaults(AT_ENV_STEPS),
        **where,
    )
    flags.DEFINE_string(
        "reference",
        "multi_step",
        "what the estimators are compared with: multi_step at the longest horizon, or the gradient of the true return, "
        f"sampled by evolution strategies; {RANGES['reference'].text}",
        **where,
    )
    flags.DEFINE_integer(
        "num_lifetimes",
        64,
        f"with --reference=return: antithetic pairs of lifetimes; {RANGES['num_lifetimes'].text}",
        **where,
    )
    flags.DEFINE_float(
        "perturbation",
        1.0,
        "with --reference=return: standard deviation of the meta-parameters in lifetimes; "
        f"{RANGES['perturbation'].text}",
        **where,
    )
    flags.DEFINE_integer(
        "num_checkpoints",
        3,
        f"checkpoints of the run in --checkpoint, from early to late; {RANGES['num_checkpoints'].text}",
        **where,
    )
    flags.DEFINE_integer(
        "seed_index", 0, f"which agent of the run in --checkpoint; {RANGES['seed_index'].text}", **where
    )
    flags.DEFINE_integer(
        "num_samples",
        None,
        f"independent windows that are drawn at each agent; {RANGES['num_samples'].text}; by default "
        + _defaults(NUM_SAMPLES),
        **where,
    )
    flags.DEFINE_integer(
        "burn_in",
        10,
        f"rollouts from the environments as training left them to the start of a window; {RANGES['burn_in'].text}",
        **where,
    )
    flags.DEFINE_integer(
        "chunk_size",
        None,
        f"windows in a file of samples, which a GPU draws at once; {RANGES['chunk_size'].text}; by default "
        + _defaults(CHUNK_SIZES),
        **where,
    )
    return values


def _defaults(numbers: Mapping[str, int | tuple]) -> str:
    return ", ".join(
        f"{','.join(map(str, number)) if isinstance(number, tuple) else number} ({name})"
        for name, number in numbers.items()
    )


class Study(NamedTuple):
    """What to study.

    Attributes:
      problem: one of `PROBLEMS`.
      config: settings of the agents, the horizon and the outer loss; of the tabular problem, the horizon alone.
      trained: the settings of each agent that is trained for the study, by the name of its point.
      reference: what the estimators are compared with, one of `REFERENCES`.
      num_lifetimes: pairs of lifetimes at each point.
      perturbation: of the meta-parameters in them.
      names: the meta-parameters to study.
      seed: of the windows.
      num_samples: windows at each point.
      chunk_size: windows of one call.
      burn_in: rollouts before a window.
      run: folder of the run whose checkpoints are studied, if any.
      num_checkpoints: of the run.
      seed_index: which of the run's agents.
    """

    problem: str
    config: Config
    trained: dict[str, Config]
    reference: str
    num_lifetimes: int
    perturbation: float
    names: tuple[str, ...]
    seed: int
    num_samples: int
    chunk_size: int
    burn_in: int
    run: pathlib.Path | None
    num_checkpoints: int
    seed_index: int

    @property
    def return_horizons(self) -> tuple[int, ...]:
        """Numbers of updates after which the true return's gradient is taken."""
        return (*(horizon for horizon in RETURN_HORIZONS if horizon < self.config.horizon), self.config.horizon)

    @property
    def asked(self) -> Asked:
        """What is asked of every point in an environment."""
        return Asked(self.config.horizon, self.names, self.burn_in, self.return_horizons, self.perturbation)

    def determining(self) -> dict[str, Any]:
        """Returns, for JSON, what samples depend on besides the agents: all but their number and chunks."""
        everything = self._asdict() | {
            "config": dataclasses.asdict(self.config),
            "trained": {name: dataclasses.asdict(config) for name, config in self.trained.items()},
            "run": self.run and str(self.run),
        }
        free = ("num_samples", "num_lifetimes", "reference", "chunk_size")
        return {name: value for name, value in everything.items() if name not in free}


def study_from_flags(values: flags.FlagValues) -> Study:
    """Returns the study that the flags ask for.

    Raises:
      UsageError: names what is impossible.
    """
    for name, allowed in RANGES.items():
        value = values[name].value
        if value is not None and not allowed.accepts(value):
            refuse(name, value, allowed.text)
    given = commands.given_settings(values)
    run, trained = None, {}
    if values.reference != "return":
        _leave_out(values, f"--reference={values.reference}", OF_RETURN, ())
    if values.problem == "tabular":
        _leave_out(
            values,
            "--problem=tabular",
            ["preset", "burn_in", *OF_RUN, *OF_TRAINING, *OF_RETURN],
            set(given) - set(OF_TABULAR),
        )
        config = commands.settings_from_flags(values, STUDY_PRESETS)
        validation.validate(config)
        names = tabular.study_agent(num_envs=1).tuning.tuned
    elif values.checkpoint is None:
        _leave_out(values, "no --checkpoint", OF_RUN, ())
        config = commands.settings_from_flags(values, STUDY_PRESETS)
        validation.validate(config)
        trained = _trained(values, config)
        names = config.meta_params
    else:
        _leave_out(values, "--checkpoint", OF_TRAINING, ())
        run = storage_folder.local_path("checkpoint", values.checkpoint).resolve()
        config, names = _settings_of_run(values, run, {"horizon": STUDY_PRESETS[values.preset]["horizon"]} | given)
    if config.horizon < 2:
        refuse("horizon", config.horizon, "at least 2, for estimators to differ")
    kind = "tabular" if values.problem == "tabular" else values.preset
    return Study(
        problem=values.problem,
        config=config,
        trained=trained,
        reference=values.reference,
        num_lifetimes=values.num_lifetimes,
        perturbation=values.perturbation,
        names=names,
        seed=given.get("seed", 0),
        num_samples=values.num_samples or NUM_SAMPLES[kind],
        chunk_size=values.chunk_size or CHUNK_SIZES[kind],
        burn_in=values.burn_in,
        run=run,
        num_checkpoints=values.num_checkpoints,
        seed_index=values.seed_index,
    )


def _trained(values: flags.FlagValues, config: Config) -> dict[str, Config]:
    """Returns the settings of the agents to train, by the name of their point.

    Raises:
      UsageError: names what is impossible.
    """
    discounts = _numbers(values, "at_discounts", AT_DISCOUNTS[values.preset], float)
    env_steps = _numbers(values, "at_env_steps", AT_ENV_STEPS[values.preset], int)
    trained = {}
    for discount in discounts:
        for steps in env_steps:
            settings = dataclasses.replace(config, discount=discount, num_env_steps=steps)
            try:
                validation.validate(settings)
            except UsageError as error:
                raise UsageError(
                    error.args[0].replace("`num_env_steps`", "`at_env_steps`").replace("`discount`", "`at_discounts`")
                ) from None
            trained[f"discount_{discount}_steps_{steps}"] = settings
    return trained


def _numbers(values: flags.FlagValues, name: str, default: tuple, kind: Callable[[str], Any]) -> tuple:
    """Reads a comma list of different numbers."""
    given = values[name].value
    if given is None:
        return default
    try:
        numbers = tuple(map(kind, given))
    except ValueError:
        numbers = ()
    if not numbers or len(set(numbers)) < len(numbers):
        refuse(name, given, RANGES[name].text)
    return numbers


def _settings_of_run(
    values: flags.FlagValues, run: pathlib.Path, given: Mapping[str, Any]
) -> tuple[Config, tuple[str, ...]]:
    """Returns a run's settings, with what a study may choose as given, and the meta-parameters to study."""
    if not (run / CONFIG).exists():
        refuse("checkpoint", values.checkpoint, "the folder of a training run")
    theirs = config_file.load(run / CONFIG)
    validation.check_named(theirs, given.get("environment"), run / CONFIG)
    for field in dataclasses.fields(Config):
        name = field.name
        if name in given and name not in OF_CHECKPOINTS and given[name] != getattr(theirs, name):
            refuse(flag_name(field), given[name], f"left out, or {getattr(theirs, name)}, as in {run}")
    for name in ("outer_discount", "outer_lambda"):
        if theirs.outer_critic and given.get(name, getattr(theirs, name)) != getattr(theirs, name):
            refuse(name, given[name], f"left out, or {getattr(theirs, name)}, which the run's outer critic learned for")
    if theirs.estimator == "none":
        refuse("checkpoint", values.checkpoint, "a run that tunes hyperparameters, and this one's estimator is none")
    if values.seed_index >= theirs.num_seeds:
        refuse("seed_index", values.seed_index, f"in [0, {theirs.num_seeds - 1}], the run's seeds")
    names = given.get("meta_params", theirs.meta_params)
    if not names or not set(names) <= set(theirs.meta_params) or len(set(names)) < len(names):
        tuned = ", ".join(theirs.meta_params)
        refuse("meta_params", names, f"among those that the checkpoint tuned, without repetition: {tuned}")
    chosen = {name: given[name] for name in OF_CHECKPOINTS if name in given and name not in ("seed", "meta_params")}
    config = dataclasses.replace(theirs, **chosen)
    # The run's steps need not be those of whole windows of the study's horizon, which single steps do not ask for.
    validation.validate(dataclasses.replace(config, estimator="single_step"))
    return config, names


def _leave_out(values: flags.FlagValues, why: str, names: Collection[str], settings: Collection[str]) -> None:
    """Refuses flags that would have no effect."""
    of_settings = [flag_name(field) for field in dataclasses.fields(Config) if field.name in settings]
    for name in (*names, *of_settings):
        if values[name].present:
            refuse(name, values[name].value, f"left out with {why}")
