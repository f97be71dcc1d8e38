"""The settings of a study, as data that the command's flags are made from, and what they ask for."""

import dataclasses
import os
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from experiments.config import estimators as estimators_config
from experiments.config import settings as config_lib
from experiments.config import validation
from experiments.config.environments import SNAKE
from experiments.config.estimators import BUILT_IN, WEIGHTED, Named
from experiments.config.own_code import is_own_code
from experiments.config.presets import PRESETS
from experiments.config.ranges import UNIT_OPEN, Range, UsageError, as_computed, count, one_of, refuse
from experiments.config.settings import OF_SNAKE, Config, flag_name
from experiments.storage import config_file
from experiments.storage import folder as storage_folder
from experiments.storage.config_file import CONFIG
from metagrad.estimators import Estimator

PHASES = {1: ("late",), 2: ("early", "late"), 3: ("early", "middle", "late")}
"""Names of checkpoints, by how many of a run are studied."""

RETURN_HORIZONS = (1, 5)
"""Besides the longest: numbers of updates after which the true return's gradient is sampled."""

# `single_step` tunes, and its windows are single rollouts.
STUDY_PRESETS = {name: {**PRESETS[name], "estimator": "single_step", "horizon": 10} for name in ("quick", "paper")}
"""Settings of the agents that are trained for a study, and its horizon."""

UNUSED = (
    *("estimator", "num_seeds", "mixing_weights", "mixing_decay", "meta_gradient_clip"),
    *("meta_learning_rate", "meta_learning_rate_halving", "discount", "num_env_steps"),
)
"""Settings of `Config` without a meaning here: every estimator is studied, nothing is tuned, at several discounts."""

OF_ESTIMATORS = ("bootstrap_updates", "sampling_correction", "evolution_scale", "evolution_pairs")
"""Settings of estimators alone."""

OF_TABULAR = (
    *("problem", "reference", "seed", "horizon", "num_samples", "chunk_size", "estimators"),
    *OF_ESTIMATORS,
)
"""All that can be set for the tabular problem."""

TABULAR_NAMES = ("discount", "lambda")
"""The meta-parameters of `agents.tabular.study_agent`."""

OF_CRITIC = ("outer_discount", "outer_lambda")
"""Settings that a run's outer critic learns for."""

OF_CHECKPOINTS = (
    *("horizon", "exact_targets", "bootstrap_value_cost", *OF_ESTIMATORS, *OF_CRITIC),
    *("outer_value_cost", "outer_entropy_cost"),
)
"""Settings of a run's checkpoints that need not be those of the run, besides its seed and meta-parameters."""

FREE = ("num_samples", "num_lifetimes", "reference", "chunk_size", "estimators")
"""Settings that may change from one call of a study to the next."""


def _fit_together(texts: Sequence[str]) -> bool:
    """Returns whether all are estimators, and each has a name of its own."""
    named = [each for each in map(estimators_config.named, texts) if each and each.name != "none"]
    weighted = [each for each in named if each.name in WEIGHTED]
    own = {each.title for each in named if is_own_code(each.name)}
    return (
        len({each.title for each in named}) == len(texts)
        and not any(each.horizon is not None for each in weighted)  # theirs is the study's
        and not own & {*BUILT_IN, "evolution"}
    )


def _list_of(allowed: Range) -> Range:
    return Range(
        f"a comma list, without repetition, of {allowed.text}",
        lambda values: 0 < len(set(values)) == len(values) and all(allowed.accepts(as_computed(it)) for it in values),
    )


def _setting(default: Any, allowed: Range, text: str) -> Any:
    """States a setting of the command; a dictionary has defaults by the preset, or for the tabular problem."""
    return dataclasses.field(metadata={"default": default, "range": allowed, "help": text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What to study: the command's settings, and what `make_study` makes of them.

    Attributes:
      config: settings of the agents, the horizon and the outer loss; of the tabular problem, the horizon alone.
      trained: the settings of each agent that is trained for the study, by the name of its point.
      names: the meta-parameters to study.
      seed: of the windows.
    """

    problem: str = _setting(
        "environment",
        one_of(("environment", "tabular")),
        "where agents learn: in --environment, or on tables that are solved exactly",
    )
    checkpoint: str | None = _setting(
        None,
        Range("", lambda value: True),
        "folder of a training run whose agents are studied; without it, agents are trained as --at_discounts and "
        "--at_env_steps say",
    )
    at_discounts: tuple[float, ...] = _setting(
        {"quick": (0.8, 0.97), "paper": (0.8, 0.99)},
        _list_of(Range("numbers in (0, 1)", UNIT_OPEN.accepts)),
        "discounts of the agents that are trained for the study",
    )
    at_env_steps: tuple[int, ...] = _setting(
        {"quick": (64_000,), "paper": (6_400_000,)},
        _list_of(Range("positive whole numbers", lambda value: value > 0)),
        "environment steps after which each agent of --at_discounts is studied",
    )
    reference: str = _setting(
        "multi_step",
        one_of(("multi_step", "return")),
        "what the estimators are compared with: multi_step at the longest horizon, or the gradient of the true return, "
        "sampled by evolution strategies",
    )
    estimators: tuple[str, ...] = _setting(
        WEIGHTED,
        Range(
            f"a comma list, without repetition, of {', '.join(BUILT_IN[1:])}, those beyond {WEIGHTED[-1]} also with a "
            "horizon of their own, as corrected_mixing_10 or bootstrapped_5+5, and PACKAGE.MODULE:FACTORY",
            _fit_together,
        ),
        f"estimators to study beside {', '.join(WEIGHTED)}, at the same starts",
    )
    num_lifetimes: int = _setting(64, count(8), "with --reference=return: antithetic pairs of lifetimes")
    perturbation: float = _setting(
        1.0,
        Range("in (0, 10]", lambda value: 0.0 < value <= 10.0),
        "with --reference=return: standard deviation of the meta-parameters in lifetimes",
    )
    num_checkpoints: int = _setting(
        3,
        Range("1, 2 or 3", lambda value: value in PHASES),
        "checkpoints of the run in --checkpoint, from early to late",
    )
    seed_index: int = _setting(0, count(0), "which agent of the run in --checkpoint")
    num_samples: int = _setting(
        {"quick": 256, "paper": 4_096, "tabular": 6_400},
        count(8),
        "independent windows that are drawn at each agent",
    )
    burn_in: int = _setting(
        10, count(0), "rollouts from the environments as training left them to the start of a window"
    )
    chunk_size: int = _setting(
        {"quick": 16, "paper": 32, "tabular": 320},
        count(1),
        "windows in a file of samples, which a GPU draws at once",
    )
    config: Config
    trained: dict[str, Config]
    names: tuple[str, ...]
    seed: int

    def drawn_names(self) -> dict[str, Named]:
        """Returns the estimators that are no weighted sums, and so are drawn, by what the study calls them."""
        named = [each for each in map(estimators_config.named, self.estimators) if each and each.name not in WEIGHTED]
        bare, whole = Named("bootstrapped"), Named("bootstrapped", self.config.horizon, self.config.bootstrap_updates)
        return {each.title: each for each in (whole if each == bare else each for each in named)}

    def drawn_estimators(self) -> dict[str, Estimator]:
        """Makes the estimators of `drawn_names`.

        Raises:
          UsageError: if there is none of that name.
        """
        made = {}
        for title, named in self.drawn_names().items():
            # As mixing beside it, corrected mixing weighs all horizons alike.
            config = dataclasses.replace(self.config, mixing_weights="uniform").with_named(named)
            validation.check_ranges(config)
            try:
                estimator = config.make_estimator()
            except ValueError as error:
                raise UsageError(f"`estimators`: {error}") from error
            assert estimator is not None
            made[title] = estimator
        return made

    @property
    def return_horizons(self) -> tuple[int, ...]:
        """Numbers of updates after which the true return's gradient is taken."""
        return (*(horizon for horizon in RETURN_HORIZONS if horizon < self.config.horizon), self.config.horizon)

    def determining(self) -> dict[str, Any]:
        """Returns, for JSON, what samples depend on besides the agents: all but what is `FREE`."""
        everything = dataclasses.asdict(self)
        for name in (*FREE, "at_discounts", "at_env_steps"):  # the latter are in `trained`
            del everything[name]
        return {"run": everything.pop("checkpoint"), **everything}


SETTINGS = {field.name: field for field in dataclasses.fields(Study) if field.metadata}
"""The fields of `Study` that are settings."""

_AGENTS = {field.name: flag_name(field) for field in dataclasses.fields(Config) if field.name not in UNUSED}
"""The settings of `Config` that a study has too, with the names that its callers know."""


def make_study(given: Mapping[str, Any]) -> Study:
    """Returns the study that settings ask for.

    Args:
      given: settings by their names in `Study` and `Config`, and `preset`. What is left out, or None, is as the command
        has it.

    Raises:
      UsageError: names what is impossible.
    """
    given = {name: _plain(value) for name, value in given.items() if value is not None}
    for name, value in given.items():
        if name not in ("preset", *SETTINGS, *_AGENTS):
            refuse(name, value, "left out: a study has no such setting")
    preset_name = given.get("preset", "quick")
    if preset_name not in STUDY_PRESETS:
        refuse("preset", preset_name, one_of(tuple(STUDY_PRESETS)).text)
    preset = STUDY_PRESETS[preset_name]
    tabular = given.get("problem") == "tabular"
    own = {}
    for name, field in SETTINGS.items():
        default, allowed = field.metadata["default"], field.metadata["range"]
        if isinstance(default, dict):
            default = default.get("tabular" if tabular else preset_name)
        own[name] = given.get(name, default)
        if own[name] is not None and not _fits(own[name], field):
            refuse(name, own[name], allowed.text)
    agents = {name: value for name, value in given.items() if name in _AGENTS}
    trained: dict[str, Config] = {}
    names: tuple[str, ...] = TABULAR_NAMES
    if own["reference"] != "return":
        _leave_out(given, ("num_lifetimes", "perturbation"), f"`reference`={own['reference']}")
    if tabular:
        _leave_out(given, given.keys() - set(OF_TABULAR), "`problem`=tabular")
        config = Config(**preset | agents)
        validation.validate(config)
    elif own["checkpoint"] is None:
        _leave_out(given, ("num_checkpoints", "seed_index"), "no `checkpoint`")
        environment = agents.get("environment", SNAKE)
        if environment != SNAKE:
            _leave_out(given, OF_SNAKE, f"`environment`={environment}")
            preset = {name: value for name, value in preset.items() if name not in OF_SNAKE}
        config = Config(**preset | agents)
        trained, names = _trained(config, own["at_discounts"], own["at_env_steps"]), config.meta_params
    else:
        _leave_out(given, ("at_discounts", "at_env_steps"), "`checkpoint`")
        run = storage_folder.local_path("checkpoint", own["checkpoint"]).resolve()
        config, names = _settings_of_run(run, own, {"horizon": preset["horizon"]} | agents)
        own["checkpoint"] = str(run)
    if config.horizon < 2:
        refuse("horizon", config.horizon, "at least 2, for estimators to differ")
    study = Study(**own, config=config, trained=trained, names=names, seed=agents.get("seed", 0))
    study.drawn_estimators()  # those that are not there are told before anything is trained
    return study


def _fits(value: Any, field: dataclasses.Field) -> bool:
    """Returns whether a value is of a setting's type, as from the command line all are, and in its range."""
    kinds: dict[Any, Any] = {int: int, float: int | float, str: str, str | None: str | os.PathLike}
    try:
        return isinstance(value, kinds.get(field.type, tuple)) and field.metadata["range"].accepts(value)
    except (TypeError, AttributeError):  # of what is in a tuple
        return False


def _plain(value: Any) -> Any:
    return tuple(map(config_lib.plain, value)) if isinstance(value, list | tuple) else config_lib.plain(value)


def _leave_out(given: Mapping[str, Any], names: Collection[str], why: str) -> None:
    """Refuses settings that would have no effect."""
    for name, value in given.items():
        if name in names:
            refuse(_AGENTS.get(name, name), value, f"left out with {why}")


def _trained(config: Config, discounts: tuple[float, ...], env_steps: tuple[int, ...]) -> dict[str, Config]:
    """Returns the settings of the agents to train, by the name of their point."""
    update = config.num_envs * config.rollout_length
    trained = {}
    for discount in discounts:
        for steps in env_steps:
            if update > 0 and steps % update:  # other sizes are refused below
                refuse("at_env_steps", steps, f"a multiple of num_envs × rollout_length = {update}")
            if steps // max(update, 1) >= 2**31:
                refuse("at_env_steps", steps, "below 2^31 × `num_envs` × `rollout_length`")
            settings = dataclasses.replace(config, discount=discount, num_env_steps=steps)
            validation.validate(settings)
            trained[f"discount_{discount}_steps_{steps}"] = settings
    return trained


def _settings_of_run(
    run: pathlib.Path, own: Mapping[str, Any], agents: Mapping[str, Any]
) -> tuple[Config, tuple[str, ...]]:
    """Returns a run's settings, with what a study may choose as given, and the meta-parameters to study."""
    if not (run / CONFIG).exists():
        refuse("checkpoint", own["checkpoint"], "the folder of a training run")
    theirs = config_file.load(run / CONFIG)
    validation.check_named(theirs, agents.get("environment"), agents.get("agent"), run / CONFIG)
    chosen = {name: value for name, value in agents.items() if name not in ("seed", "meta_params")}
    for name, value in chosen.items():
        fixed = name not in OF_CHECKPOINTS or (name in OF_CRITIC and theirs.outer_critic)
        if fixed and value != getattr(theirs, name):
            refuse(_AGENTS[name], value, f"left out, or {getattr(theirs, name)}, as in {run}")
    if theirs.estimator == "none":
        refuse("checkpoint", own["checkpoint"], "a run that tunes hyperparameters, and this one's estimator is none")
    if own["seed_index"] >= theirs.num_seeds:
        refuse("seed_index", own["seed_index"], f"in [0, {theirs.num_seeds - 1}], the run's seeds")
    names = agents.get("meta_params", theirs.meta_params)
    if not 0 < len(set(names) & set(theirs.meta_params)) == len(names):
        tuned = ", ".join(theirs.meta_params)
        refuse("meta_params", names, f"among those that the checkpoint tuned, without repetition: {tuned}")
    config = dataclasses.replace(theirs, **chosen)
    # The run's steps need not be those of whole windows of the study's horizon, which single steps do not ask for.
    validation.validate(dataclasses.replace(config, estimator="single_step"))
    return config, names
