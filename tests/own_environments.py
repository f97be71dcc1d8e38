"""An environment with real numbers for actions, for `--environment=own_environments:Point`."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Point:
    """A point on a plane is pushed towards the origin; the longer the push, the more it costs."""

    action_size: int = 2
    time_limit: int = 7

    def initial(self, key):
        return {"place": jax.random.normal(key, (2,), jnp.float32), "step": jnp.int32(0)}

    def transition(self, state, action, key):
        push = 0.5 * jnp.tanh(action).astype(jnp.float32)
        return {
            "place": state["place"] + push + 0.1 * jax.random.normal(key, (2,), jnp.float32),
            "step": state["step"] + 1,
        }

    def observation(self, state):
        return state["place"]

    def reward(self, state, action, next_state):
        return -jnp.sum(next_state["place"] ** 2) - 0.01 * jnp.sum(action**2).astype(jnp.float32)

    def terminal(self, state):
        return jnp.bool_(False)

    def truncated(self, state):
        return state["step"] >= self.time_limit

    def render(self, state):
        picture = np.zeros((32, 32, 3), np.uint8)
        x, y = np.clip(16 + 4 * np.asarray(state["place"]), 0, 31).astype(int)
        picture[y, x] = 255
        return picture
