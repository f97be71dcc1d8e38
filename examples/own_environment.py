"""An environment of your own, from nothing to a trained agent that tunes its own discount.

    python examples/own_environment.py

The commands take it as well:
    python -m experiments.train --environment=examples.own_environment:Catch --logdir=runs/catch
"""

import jax
import jax.numpy as jnp

from experiments.config.settings import Config
from experiments.runs.training import Result, train

ROWS, COLS = 8, 5


class Catch:
    """A ball falls, and a paddle on the lowest row moves left, stays or moves right to catch it."""

    num_actions = 3
    time_limit = 2**31 - 1  # none: every episode ends by itself

    def initial(self, key):
        return {"row": jnp.int32(0), "ball": jax.random.randint(key, (), 0, COLS), "paddle": jnp.int32(COLS // 2)}

    def transition(self, state, action, key):
        return state | {"row": state["row"] + 1, "paddle": jnp.clip(state["paddle"] + action - 1, 0, COLS - 1)}

    def observation(self, state):
        return jnp.concatenate(
            [
                jax.nn.one_hot(state["row"], ROWS),
                jax.nn.one_hot(state["ball"] - state["paddle"] + COLS - 1, 2 * COLS - 1),
            ]
        )

    def reward(self, state, action, next_state):
        caught = jnp.where(next_state["ball"] == next_state["paddle"], 1.0, -1.0)
        return jnp.where(self.terminal(next_state), caught, 0.0)

    def terminal(self, state):
        return state["row"] == ROWS - 1

    def truncated(self, state):
        return False


def main(**settings) -> Result:
    """Trains two agents, and prints what became of them."""
    config = Config(
        **{
            "environment": f"{__name__}:Catch",
            "num_seeds": 2,
            "num_env_steps": 64_000,
            "meta_params": ("discount",),
            **settings,
        }
    )
    result = train(config)
    for name in ("episode_return", "hyper/discount"):
        print(f"{name}: from {result.metrics[name][0].mean():.3f} to {result.metrics[name][-1].mean():.3f}")
    return result


if __name__ == "__main__":
    main()
