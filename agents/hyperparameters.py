"""The hyperparameters of the actor-critic agent, apart from it since flags name them, and must not wait for Haiku.

A new one is a name here, a setting of that name with its first value, and what `actor_critic` does with it.
"""

from collections.abc import Mapping

from metagrad.hyperparameters import POSITIVE, UNIT, Bijection, Hyperparameter

BIJECTIONS: Mapping[str, Bijection] = {
    "discount": UNIT,
    "lambda": UNIT,
    "policy_cost": POSITIVE,
    "value_cost": POSITIVE,
    "entropy_cost": POSITIVE,
    "learning_rate": POSITIVE,
}
"""Onto where each of them may be."""


def actor_critic_hyperparameters(initial: Mapping[str, float]) -> dict[str, Hyperparameter]:
    """Describes the agent's hyperparameters.

    Args:
      initial: a value for each name in `BIJECTIONS`.

    Raises:
      ValueError: if a name is unknown or missing.
    """
    if set(initial) != set(BIJECTIONS):
        raise ValueError(f"initial must have the names {sorted(BIJECTIONS)}, got {sorted(initial)}")
    return {name: Hyperparameter(value, BIJECTIONS[name]) for name, value in initial.items()}
