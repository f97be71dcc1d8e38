"""What broke first in a seed that diverged, in words."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from agents.training import RULE, Breach
from experiments.config.ranges import StoppedError
from experiments.config.settings import Config

NOT_FINITE = "was not finite"

ENVIRONMENTS = ("rule/observation", "rule/action_mask", "rule/reward", "rule/truncated")

BREACHES = {
    "rule/outer_critic": ("the outer critic", NOT_FINITE),
    "rule/observation": ("the environment's observation", NOT_FINITE),
    "rule/action_mask": ("the environment's action_mask", "forbade every action of an episode's first state"),
    "rule/reward": ("the environment's reward", NOT_FINITE),
    "rule/truncated": ("the environment's truncated", "cut an episode before its time_limit"),
}
"""What is said where a rule of the agent's is broken: who did it, and what they did that they may not."""

SLOPES = "; an update must have finite slopes, which Adam has at a gradient of zero by its eps_root alone"
"""What is said of a meta-gradient, behind losses that were finite."""


class NonFiniteError(StoppedError):
    """A loss or a meta-gradient became NaN or infinite."""


class Divergence(NamedTuple):
    """What broke first in a seed.

    Attributes:
      seed: its place, among those of the run.
      by_environment: whether the environment did what it may not.
      text: a sentence without its stop.
    """

    seed: int
    by_environment: bool
    text: str


def divergences(
    config: Config, numbers: Sequence[int] | np.ndarray, breach: Breach, checked: Callable[[], Sequence[str]]
) -> list[Divergence]:
    """Tells what broke first in each seed that diverged.

    Args:
      config: the run's settings.
      numbers: of the seeds.
      breach: of a `training.Summary` of all seeds, int [num_seeds] each.
      checked: what may be named, called only if something broke.

    Returns:
      One for each such seed, the first to break first.
    """
    updates, places = (np.asarray(numbers) for numbers in breach)
    names = list(checked()) if (updates >= 0).any() else []
    told = []
    for index in np.flatnonzero(updates >= 0).tolist():
        update, name = int(updates[index]), names[int(places[index])]
        own_rule = (name.removeprefix(RULE), "broke its rule") if name.startswith(RULE) else (name, NOT_FINITE)
        what, wrong = BREACHES.get(name, own_rule)
        env_step = update * config.steps_per_window // config.updates_per_window
        hint = SLOPES if name.startswith("meta_grad/") else ""
        text = f"{what} of seed {numbers[index]} {wrong} at environment step {env_step} (update {update}){hint}"
        told.append(Divergence(index, name in ENVIRONMENTS, text))
    return told
