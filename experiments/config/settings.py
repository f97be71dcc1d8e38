"""The settings of a training run. A new field here is a new flag; `runs.building` has what it does to the agent.

From a field come the flag, the place in a run's file, and what is refused before anything is compiled. One for a name
of `agents.hyperparameters` is its first value. A folder that lacks a field is from before it: its default must say what
runs did then. `Execution` is how a run is carried out, which changes nothing in its results.
"""

import dataclasses
import enum
from typing import Any, ClassVar

import numpy as np

from agents.hyperparameters import BIJECTIONS
from experiments.config import agents, environments, estimators
from experiments.config.environments import SNAKE
from experiments.config.estimators import Named
from experiments.config.own_code import is_own_code
from experiments.config.ranges import (
    BOARD,
    BOOLEAN,
    HORIZON,
    NAMES,
    POSITIVE,
    UNIT_CLOSED,
    UNIT_HALF_OPEN,
    UNIT_OPEN,
    WIDTH,
    Range,
    at_least,
    count,
    one_of,
)
from metagrad.estimators import Estimator

LOGGING_POINTS = 64
"""Rows of a run in `metrics.csv`, for each seed: so many at most."""


class Group(enum.StrEnum):
    """What one wants to set: the headings of `--helpfull`, in its order."""

    TUNED = "What is tuned"
    OUTER_LOSS = "Outer loss"
    AGENT = "Agent"
    ENVIRONMENT = "Environment"
    BUDGET = "Budget"
    OUTPUT = "Output"
    EXECUTION = "Execution"
    PROCESSES = "Several processes"


def _setting(default: Any, allowed: Range, help_text: str, name: str | None = None) -> Any:
    """States a setting; `name` is that of its flag, where a field cannot be called so."""
    return dataclasses.field(default=default, metadata={"range": allowed, "help": help_text, "name": name})


FIRST = "where it is tuned, its first value"


@dataclasses.dataclass(frozen=True)
class MetaLearning:
    """What is tuned, and how the meta-gradient is estimated and followed."""

    heading: ClassVar = Group.TUNED

    estimator: str = _setting(
        "mixing",
        Range(estimators.NAMES, lambda name: name in estimators.BUILT_IN or is_own_code(name)),
        "how the meta-gradient is estimated; none tunes nothing",
    )
    meta_params: tuple[str, ...] = _setting(
        ("discount", "lambda", "entropy_cost"), NAMES, "hyperparameters that are tuned"
    )
    horizon: int = _setting(
        5,
        HORIZON,
        "inner updates from one meta-update to the next, for all but single_step; those of bootstrapped that are "
        "differentiated; estimators of your own are made for it",
    )
    bootstrap_updates: int = _setting(
        5,
        Range("at most 65536", lambda value: 0 <= value <= 65_536),
        "further updates of bootstrapped, before its target",
    )
    bootstrap_value_cost: float = _setting(
        0.0, at_least(0), "weight of the values, beside the policy, in the distance to bootstrapped's target"
    )
    sampling_correction: float = _setting(
        1.0, UNIT_CLOSED, "how much of the correction corrected_multi_step and corrected_mixing add"
    )
    evolution_scale: float = _setting(
        0.1, POSITIVE, "standard deviation of the meta-parameters (log-odds, or logarithms) in evolution_strategies"
    )
    evolution_pairs: int = _setting(
        1, count(1), "pairs of perturbations of evolution_strategies, each of which costs two rollouts an update"
    )
    meta_learning_rate: float = _setting(0.3, POSITIVE, "learning rate of the meta-optimizer, Adam")
    meta_learning_rate_halving: int = _setting(
        100,
        count(0),
        "inner updates N after which the meta-learning rate has halved: it is --meta_learning_rate / "
        "(1 + updates / N); 0 keeps it constant",
    )
    meta_gradient_clip: float = _setting(
        1.0, POSITIVE, "norm to which longer meta-gradients are scaled down; on 6×6 Snake all are far shorter than 1"
    )
    mixing_weights: str = _setting(
        "uniform",
        one_of(("uniform", "geometric")),
        "how mixing weighs its horizons: all alike, or each --mixing_decay times the one before",
    )
    mixing_decay: float = _setting(0.8, UNIT_HALF_OPEN, "ratio of consecutive weights, for --mixing_weights=geometric")
    exact_targets: bool = _setting(
        True,
        BOOLEAN,
        "differentiate meta-gradients through the values in an update's targets, rather than hold these constant",
    )


@dataclasses.dataclass(frozen=True)
class OuterLoss:
    """The loss that tuning lowers, which itself stays as it is."""

    heading: ClassVar = Group.OUTER_LOSS

    outer_discount: float = _setting(0.999, UNIT_OPEN, "discount of the outer loss, which stays fixed")
    outer_lambda: float = _setting(1.0, UNIT_CLOSED, "lambda of the outer loss's returns, which stays fixed")
    outer_critic: bool = _setting(
        True,
        BOOLEAN,
        "take the outer loss's advantages from a separate critic, trained at --outer_discount, rather than from the "
        "agent's",
    )
    outer_value_cost: float = _setting(0.0, at_least(0), "weight of a value term in the outer loss; 0 leaves it out")
    outer_entropy_cost: float = _setting(
        0.0, at_least(0), "weight of an entropy bonus in the outer loss; 0 leaves it out"
    )


@dataclasses.dataclass(frozen=True)
class AgentSettings:
    """The loss, optimizer and network of the agent."""

    heading: ClassVar = Group.AGENT

    discount: float = _setting(0.97, UNIT_OPEN, f"discount of the agent's loss; {FIRST}")
    lambda_: float = _setting(0.9, UNIT_CLOSED, f"lambda of the agent's returns; {FIRST}", name="lambda")
    entropy_cost: float = _setting(0.01, at_least(0), f"weight of the entropy bonus in the agent's loss; {FIRST}")
    value_cost: float = _setting(0.5, at_least(0), f"weight of the value term in the agent's loss; {FIRST}")
    policy_cost: float = _setting(1.0, at_least(0), f"weight of the policy-gradient term in the agent's loss; {FIRST}")
    learning_rate: float = _setting(1e-3, POSITIVE, f"learning rate of the agent; {FIRST}")
    agent: str = _setting(
        agents.ACTOR_CRITIC,
        Range(agents.NAMES, lambda name: name == agents.ACTOR_CRITIC or is_own_code(name)),
        "agent that learns",
    )
    agent_options: tuple[str, ...] = _setting(
        (), agents.OPTIONS, "for an --agent of your own, the arguments of its factory"
    )
    own_hyperparameters: tuple[str, ...] = _setting(
        (),
        agents.HYPERPARAMETERS,
        "for an --agent of your own, values that its own hyperparameters start from, or keep",
        name="hyperparameters",
    )
    optimizer: str = _setting(
        "adam",
        one_of(("adam", "rmsprop")),
        "optimizer of the agent; 1e-10 under Adam's square root keeps its derivative finite, and shortens its steps "
        "where gradients are below about 1e-5",
    )
    num_channels: int = _setting(32, WIDTH, "channels of each convolution of the network, where observations are grids")
    policy_width: int = _setting(64, WIDTH, "units of each hidden layer of the policy")
    value_width: int = _setting(128, WIDTH, "units of each hidden layer of the critics")
    hidden_layers: int = _setting(1, WIDTH, "hidden layers of the policy, and of the critics")
    shared_torso: bool = _setting(False, BOOLEAN, "let policy and value share the network's first layers")


@dataclasses.dataclass(frozen=True)
class EnvironmentSettings:
    """Where the agents learn."""

    heading: ClassVar = Group.ENVIRONMENT

    environment: str = _setting(
        SNAKE, Range(environments.NAMES, lambda value: True), "environment that agents learn in"
    )


@dataclasses.dataclass(frozen=True)
class SnakeSettings:
    """Snake's own settings; with another environment, they keep their defaults."""

    heading: ClassVar = Group.ENVIRONMENT

    board_size: str = _setting("6", BOARD, "for Snake, the cells of the board's sides")
    time_limit: int = _setting(4_000, count(1), "for Snake, the steps after which an episode is truncated")
    action_mask: bool = _setting(True, BOOLEAN, "for Snake, tell the agents which moves crash")
    time_limit_terminates: bool = _setting(
        False, BOOLEAN, "for Snake, let --time_limit terminate an episode, with nothing of value after it"
    )


@dataclasses.dataclass(frozen=True)
class Budget:
    """How much is trained."""

    heading: ClassVar = Group.BUDGET

    num_env_steps: int = _setting(320_000, at_least(1), "environment steps of each seed, all its environments together")
    num_seeds: int = _setting(4, count(1), "agents that are trained at once, each with a seed of its own")
    seed: int = _setting(0, count(0), "seed of the first agent; those of the others follow it")
    num_envs: int = _setting(32, count(1), "environments that each agent plays at once")
    rollout_length: int = _setting(20, count(1), "steps of each environment from one update of the agent to the next")


GROUPS = (MetaLearning, OuterLoss, AgentSettings, EnvironmentSettings, SnakeSettings, Budget)
"""In the order of the help, the most used first."""

OF_SNAKE = tuple(field.name for field in dataclasses.fields(SnakeSettings))


class _Plain:
    """Settings in which NumPy's numbers are replaced by Python's."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))


@dataclasses.dataclass(frozen=True)
class Config(_Plain, Budget, SnakeSettings, EnvironmentSettings, AgentSettings, OuterLoss, MetaLearning):
    """All settings of one training run, in the order of `GROUPS`; the defaults are the `quick` preset.

    What tunes (outer discount and lambda, meta-learning rate and its halving) is by default what served mixing(5) best
    from two bad starts of 6×6 Snake, and was not searched for on other games: results/self_tuning.md.
    """

    def hyperparameters(self) -> dict[str, float]:
        """Returns the actor-critic's hyperparameters: fixed values, and starting values of what is tuned."""
        return {name: getattr(self, "lambda_" if name == "lambda" else name) for name in BIJECTIONS}

    def with_estimator(self, estimator: str) -> "Config":
        """Returns the same settings with another estimator; `none` has no outer loss, and so no critic of it."""
        return dataclasses.replace(self, estimator=estimator, outer_critic=self.outer_critic and estimator != "none")

    def without_own_estimator(self) -> "Config":
        """Returns settings of the same training states, which do not depend on the estimator, without code of one."""
        own = is_own_code(self.estimator)
        return dataclasses.replace(self, estimator="single_step") if own else self

    def with_named(self, named: Named) -> "Config":
        """Returns the same settings with an estimator of a list, and what its name says besides."""
        return dataclasses.replace(
            self.with_estimator(named.name),
            horizon=self.horizon if named.horizon is None else named.horizon,
            bootstrap_updates=self.bootstrap_updates if named.further is None else named.further,
        )

    def make_estimator(self) -> Estimator | None:
        """Makes the estimator of validated settings; None for `none`.

        Raises:
          ValueError: if it is the user's own code, and cannot be made.
        """
        return estimators.make(self)

    @property
    def updates_per_window(self) -> int:
        """Inner updates between two meta-updates."""
        made = self.make_estimator()
        return made.updates if made else 1

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one seed in a rollout, from which one inner update learns."""
        return self.num_envs * self.rollout_length

    @property
    def steps_per_window(self) -> int:
        """Environment steps of one seed between two meta-updates."""
        made = self.make_estimator()
        return self.steps_per_update * (made.rollouts if made else 1)

    @property
    def steps_per_point(self) -> int:
        """Environment steps of one seed between two logging points, whole windows."""
        return -(-self.num_env_steps // (self.steps_per_window * LOGGING_POINTS)) * self.steps_per_window


def plain(value: Any) -> Any:
    """Returns a number of NumPy's as Python's, of the fewest digits, as a flag would give it; all else as it is."""
    if isinstance(value, np.floating):
        return float(str(value))
    return value.item() if isinstance(value, np.generic) else value


@dataclasses.dataclass(frozen=True)
class Execution(_Plain):
    """How a run is carried out; where it goes on, these may differ from what they were."""

    heading: ClassVar = Group.EXECUTION

    checkpoint_every: int = _setting(
        8, count(1), f"logging points from one checkpoint to the next, of the {LOGGING_POINTS} that a run has at most"
    )
    keep: int = _setting(
        8,
        count(1),
        "checkpoints that are kept, evenly spread over the run, the last one included; older ones are deleted",
    )
    on_divergence: str = _setting(
        "stop",
        one_of(("stop", "drop")),
        "what happens if a loss, meta-gradient or parameter of a seed becomes NaN or infinite: stop ends the run, drop "
        "leaves the seed as it was before and trains the others",
    )
    seeds_per_batch: int = _setting(
        0,
        count(0),
        "seeds in the devices' memory at once, while the others wait; 0 for all. The results are the same, "
        "and on CPUs to the bit where each device has two or more of them at once",
    )


EXECUTION = Execution()


def by_flag(config: Config) -> dict[str, Any]:
    """Returns the settings under their flags' names; Snake's own are left out with another environment."""
    return {flag_name(field): getattr(config, field.name) for field in fields_of(config.environment)}


def fields_of(environment: str) -> list[dataclasses.Field]:
    """Returns the settings that mean something in an environment."""
    return [field for field in dataclasses.fields(Config) if environment == SNAKE or field.name not in OF_SNAKE]


def flag_name(field: dataclasses.Field) -> str:
    """Returns the flag of a field of `Config`, which may not have its name."""
    return field.metadata["name"] or field.name
