"""The same games side by side with Jumanji's `Snake-v1`, whose rules ours are."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.snake import Snake, State

pytest.importorskip("jumanji")
from jumanji.environments import Snake as JumanjiSnake
from jumanji.environments.routing.snake.types import Position
from jumanji.environments.routing.snake.types import State as JumanjiState

NUM_WALKS, NUM_STEPS = 32, 400


def to_jumanji(snake: Snake, state: State, action_mask: jax.Array) -> JumanjiState:
    return JumanjiState(
        body=state.body > 0,
        body_state=state.body,
        head_position=Position(*jnp.divmod(state.head, snake.num_cols)),
        tail=state.body == 1,
        fruit_position=Position(*jnp.divmod(state.fruit, snake.num_cols)),
        length=state.length,
        step_count=state.step_count,
        action_mask=action_mask,
        key=jax.random.PRNGKey(0),
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def walk_both(snake: Snake, jumanji: JumanjiSnake, key: jax.Array) -> dict[str, tuple[Any, Any]]:
    """Plays our games; before each move hands the state to Jumanji. Returns pairs of (ours, theirs), [walks, steps]."""

    def move(state: State, key: jax.Array) -> tuple[State, dict[str, tuple[Any, Any]]]:
        action_key, fruit_key, reset_key = jax.random.split(key, 3)
        mask = snake.action_mask(state)
        action = jax.random.categorical(action_key, -4.0 * ~mask)
        next_state = snake.transition(state, action, fruit_key)
        observation = snake.observation(next_state)
        ended = snake.terminal(next_state) | snake.truncated(next_state)
        their_state, their_timestep = jumanji.step(to_jumanji(snake, state, mask), action)
        pairs = {
            "crashed": (next_state.crashed, ~mask[action]),
            "reward": (snake.reward(state, action, next_state), their_timestep.reward),
            "ended": (ended, their_timestep.last()),
            "step_count": (next_state.step_count, their_state.step_count),
            "length": (next_state.length, their_state.length),
            "body": (next_state.body, their_state.body_state),
            "action_mask": (observation.action_mask, their_timestep.observation.action_mask),
            "grid": (observation.grid, their_timestep.observation.grid),
        }
        first_state = snake.initial(reset_key)
        return jax.tree.map(lambda new, old: jnp.where(ended, new, old), first_state, next_state), pairs

    def one_walk(key: jax.Array) -> dict[str, tuple[Any, Any]]:
        first_key, walk_key = jax.random.split(key)
        return jax.lax.scan(move, snake.initial(first_key), jax.random.split(walk_key, NUM_STEPS))[1]

    return jax.vmap(one_walk)(jax.random.split(key, NUM_WALKS))


@pytest.mark.parametrize(("num_rows", "num_cols", "time_limit"), [(2, 2, 8), (5, 3, 40), (12, 12, 4_000)])
def test_equals_jumanji(num_rows: int, num_cols: int, time_limit: int) -> None:
    sizes = (num_rows, num_cols, time_limit)
    pairs = jax.tree.map(np.asarray, walk_both(Snake(*sizes), JumanjiSnake(*sizes), jax.random.key(0)))
    crashed = pairs["crashed"][0]
    assert 0 < crashed.sum() < crashed.size
    for name in ("crashed", "reward", "ended", "step_count"):
        np.testing.assert_array_equal(*pairs[name], err_msg=name)
    # A fatal move leaves our snake where it was and theirs somewhere else, of no consequence.
    for name in ("length", "body", "action_mask"):
        ours, theirs = pairs[name]
        np.testing.assert_array_equal(ours[~crashed], theirs[~crashed], err_msg=name)
    our_grid, their_grid = (grid[~crashed] for grid in pairs["grid"])
    np.testing.assert_allclose(our_grid[..., [0, 1, 2, 4]], their_grid[..., [0, 1, 2, 4]], rtol=1e-6)
    # A new fruit's place is chance; while none is eaten it must stay.
    kept = pairs["reward"][0][~crashed] == 0
    np.testing.assert_array_equal(our_grid[kept][..., 3], their_grid[kept][..., 3])
