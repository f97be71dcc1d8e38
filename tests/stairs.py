"""An environment of your own, as few lines as one can have: `--environment=stairs:Stairs`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Seen(NamedTuple):
    grid: jax.Array
    action_mask: jax.Array


class Stairs:
    """Up by one or two steps to the fourth, which pays 1; action 0, which the mask forbids, is a fall."""

    num_actions, time_limit, places = 3, 7, 3

    def initial(self, key):
        return jnp.int32(0)

    def transition(self, state, action, key):
        return jnp.where(action == 0, 9, state + action)

    def observation(self, state):
        return Seen(jax.nn.one_hot(state, 5), jnp.arange(self.places) > 0)

    def reward(self, state, action, next_state):
        return jnp.where(next_state == 9, -1.0, 1.0 * (next_state >= 4))

    def terminal(self, state):
        return state >= 4

    def truncated(self, state):
        return False

    def render(self, state):
        return np.full((16, 16, 3), 20 * int(state), np.uint8)
