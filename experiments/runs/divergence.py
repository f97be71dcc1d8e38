"""What broke first in a seed that diverged, in words."""

from collections.abc import Mapping

import numpy as np

from agents import training
from experiments.config.settings import Config

NOT_FINITE = "was not finite"


BREACHES = {
    "observation": ("the environment's observation", NOT_FINITE),
    "action_mask": ("the environment's action_mask", "forbade every action of an episode's first state"),
    "reward": ("the environment's reward", NOT_FINITE),
    "truncated": ("the environment's truncated", "cut an episode before its time_limit"),
}
"""What is said of the environment's functions: their names, and what they did that they may not."""


SLOPES = "; an update must have finite slopes, which Adam has at a gradient of zero by its eps_root alone"
"""What is said of a meta-gradient, behind losses that were finite."""


class NonFiniteError(Exception):
    """A loss or a meta-gradient became NaN or infinite."""


def divergences(config: Config, first_nonfinite: Mapping[str, np.ndarray]) -> dict[int, str]:
    """Tells what broke first in each seed that diverged.

    Args:
      config: the run's settings.
      first_nonfinite: of a `training.Summary` of all seeds, int [num_seeds] each.

    Returns:
      A sentence for each such seed, by its index, the first to break first.
    """
    broken = [
        (int(update), training.QUANTITIES.index(name if name in training.QUANTITIES else "meta_grad"), name, index)
        for name, updates in first_nonfinite.items()
        for index, update in enumerate(updates)
        if update >= 0
    ]
    told: dict[int, str] = {}
    for update, _, name, index in sorted(broken):
        what, wrong = BREACHES.get(name, (name, NOT_FINITE))
        env_step = update * config.num_envs * config.rollout_length
        place = f"at environment step {env_step} (update {update})"
        hint = SLOPES if name.startswith("meta_grad/") else ""
        told.setdefault(index, f"{what} of seed {config.seed + index} {wrong} {place}{hint}")
    return told
