import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from reference_snake import Game

from envs import environment
from envs.snake import DOWN, LEFT, MOVES, RIGHT, UP, Observation, Snake, State

FRUIT = 3  # the fruit's feature map


class Walks(NamedTuple):
    """Games played side by side; every array leads with [num_walks], all but the first state with [., num_steps]."""

    first_state: State
    actions: Any
    states: State  # each after the move and the automatic reset
    timesteps: environment.TimeStep


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def walk(snake: Snake, key: jax.Array, num_walks: int, num_steps: int) -> Walks:
    """Plays moves that mostly hunt the fruit, are mostly allowed, and sometimes crash."""

    def move(state: State, key: jax.Array) -> tuple[State, tuple]:
        action_key, step_key = jax.random.split(key)
        to_fruit = jnp.stack(jnp.divmod(state.fruit, snake.num_cols)) - jnp.stack(
            jnp.divmod(state.head, snake.num_cols)
        )
        logits = 2.0 * (MOVES @ jnp.sign(to_fruit)) - 5.0 * ~snake.action_mask(state)
        action = jax.random.categorical(action_key, logits)
        state, timestep = environment.step(snake, state, action, step_key)
        return state, (action, state, timestep)

    def one_walk(key: jax.Array) -> Walks:
        first_key, walk_key = jax.random.split(key)
        first_state = snake.initial(first_key)
        _, history = jax.lax.scan(move, first_state, jax.random.split(walk_key, num_steps))
        return Walks(first_state, *history)

    return jax.vmap(one_walk)(jax.random.split(key, num_walks))


class Replayed(NamedTuple):
    """What the reference says about one step of a walk."""

    last_observation: Observation
    observation: Observation
    reward: float
    terminated: bool
    truncated: bool
    body: np.ndarray
    head: int
    length: int
    step_count: int


def start(snake: Snake, state: State) -> Game:
    return Game(
        snake.num_rows,
        snake.num_cols,
        snake.time_limit,
        body=[divmod(int(state.head), snake.num_cols)],
        fruit=divmod(int(state.fruit), snake.num_cols),
    )


def observe(game: Game) -> Observation:
    return Observation(game.grid(), game.mask())


def replay(snake: Snake, walks: Walks) -> list[Replayed]:
    """Plays the walks' actions in the reference; only the places of fruits and new snakes are read from the walks."""
    replayed = []
    for first_state, actions, states, timesteps in zip(*(unstacked(part) for part in walks), strict=True):
        game = start(snake, first_state)
        for action, state, timestep in zip(actions, unstacked(states), unstacked(timesteps), strict=True):
            reward = game.move(int(action))
            if game.fruit is None and not game.full:
                place = np.argmax(timestep.last_observation.grid[..., FRUIT])
                game.fruit = divmod(int(place), snake.num_cols)
            ended = game
            if game.terminated or game.truncated:
                game = start(snake, state)
            replayed.append(
                Replayed(
                    last_observation=observe(ended),
                    observation=observe(game),
                    reward=reward,
                    terminated=ended.terminated,
                    truncated=ended.truncated,
                    body=game.order(),
                    head=game.body[-1][0] * snake.num_cols + game.body[-1][1],
                    length=len(game.body),
                    step_count=game.step_count,
                )
            )
    return replayed


def unstacked(tree: Any) -> list[Any]:
    """Splits the leading axis of a tree of arrays."""
    leaves, structure = jax.tree.flatten(tree)
    return [structure.unflatten(parts) for parts in zip(*leaves, strict=True)]


def assert_equals_reference(snake: Snake, walks: Walks) -> None:
    walks = jax.tree.map(np.asarray, walks)
    expected = jax.tree.map(lambda *steps: np.stack(steps), *replay(snake, walks))
    states, timesteps = jax.tree.map(lambda array: array.reshape(-1, *array.shape[2:]), (walks.states, walks.timesteps))
    actual = Replayed(
        timesteps.last_observation,
        timesteps.observation,
        timesteps.reward,
        timesteps.terminated,
        timesteps.truncated,
        states.body,
        states.head,
        states.length,
        states.step_count,
    )
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6), actual, expected)
    body_at_fruit = np.take_along_axis(states.body.reshape(len(states.body), -1), states.fruit[:, None], axis=1)
    assert not body_at_fruit.any()


# More than 90,000 transitions in all: rows, columns, time limit, walks, steps of each.
BOARDS = [(2, 2, 9, 64, 250), (5, 3, 30, 64, 300), (6, 6, 4_000, 64, 500), (12, 12, 150, 64, 400)]


@pytest.mark.parametrize(("num_rows", "num_cols", "time_limit", "num_walks", "num_steps"), BOARDS)
def test_equals_the_reference(num_rows: int, num_cols: int, time_limit: int, num_walks: int, num_steps: int) -> None:
    snake = Snake(num_rows, num_cols, time_limit)
    walks = walk(snake, jax.random.key(num_rows), num_walks, num_steps)
    assert walks.timesteps.terminated.any()  # the walks do reach ends ...
    assert walks.timesteps.truncated.any() == (time_limit < 4_000)
    assert walks.states.length.max() >= min(snake.num_cells - 1, 10)  # ... and long snakes
    assert_equals_reference(snake, walks)


# No shrinking: each board is compiled anew, which would take minutes.
@settings(max_examples=6, derandomize=True, phases=[Phase.generate])
@given(st.integers(2, 32), st.integers(2, 32), st.integers(1, 60), st.integers(0, 2**31 - 1))
def test_any_board_equals_the_reference(num_rows: int, num_cols: int, time_limit: int, seed: int) -> None:
    snake = Snake(num_rows, num_cols, time_limit)
    assert_equals_reference(snake, walk(snake, jax.random.key(seed), 4, 50))


def test_first_states_are_uniform() -> None:
    snake = Snake(3, 4)
    states = jax.vmap(snake.initial)(jax.random.split(jax.random.key(0), 40_000))
    pairs = np.bincount(np.asarray(states.head * snake.num_cells + states.fruit), minlength=snake.num_cells**2)
    pairs = pairs.reshape(snake.num_cells, snake.num_cells)
    assert not np.diag(pairs).any()
    assert scipy.stats.chisquare(pairs[~np.eye(snake.num_cells, dtype=bool)]).pvalue > 0.01


LONG_SNAKE = Snake(4, 5)


def long_snake(steps_left: int) -> State:
    """Returns a snake of seven cells on that board; its head is left of the fruit."""
    return State(
        body=jnp.array([[4, 5, 6, 7, 0], [3, 0, 0, 0, 0], [2, 1, 0, 0, 0], [0, 0, 0, 0, 0]], jnp.int32),
        head=jnp.int32(3),
        fruit=jnp.int32(4),
        length=jnp.int32(7),
        step_count=jnp.int32(LONG_SNAKE.time_limit - steps_left),
        crashed=jnp.bool_(False),
    )


def test_new_fruits_are_uniform_over_the_free_cells() -> None:
    keys = jax.random.split(jax.random.key(1), 20_000)
    transition = jax.vmap(LONG_SNAKE.transition, in_axes=(None, None, 0))
    next_states = transition(long_snake(steps_left=100), jnp.int32(RIGHT), keys)
    counts = np.bincount(np.asarray(next_states.fruit), minlength=LONG_SNAKE.num_cells)
    free = np.asarray(next_states.body[0]).ravel() == 0
    assert not counts[~free].any()
    assert scipy.stats.chisquare(counts[free]).pvalue > 0.01


step = jax.jit(environment.step, static_argnums=0)


def play(snake: Snake, state: State, actions: list[int]) -> tuple[list[State], list[environment.TimeStep]]:
    states, timesteps = [], []
    for index, action in enumerate(actions):
        state, timestep = step(snake, state, jnp.int32(action), jax.random.key(index))
        states.append(state)
        timesteps.append(timestep)
    return states, timesteps


def circle(start: int, num_steps: int) -> list[int]:
    """Returns moves clockwise round a 2x2 board from one of its cells: no snake ever meets itself so."""
    moves, cell = [], start
    for _ in range(num_steps):
        action = {0: RIGHT, 1: DOWN, 3: LEFT, 2: UP}[cell]
        moves.append(action)
        cell += {RIGHT: 1, DOWN: 2, LEFT: -1, UP: -2}[action]
    return moves


def test_a_2x2_board_can_be_won() -> None:
    snake = Snake(2, 2)
    state = snake.initial(jax.random.key(0))
    actions = circle(int(state.head), 10)
    _, timesteps = play(snake, state, actions)
    end = next(index for index, timestep in enumerate(timesteps) if timestep.terminated)
    assert sum(timestep.reward for timestep in timesteps[: end + 1]) == 3
    np.testing.assert_array_equal(timesteps[end].last_observation.grid[..., 0], np.ones((2, 2)))
    assert not timesteps[end].last_observation.grid[..., FRUIT].any()
    # The winning move stays a termination where it is also the last one that the time limit allows.
    state = state._replace(step_count=jnp.int32(snake.time_limit - end - 1))
    _, timesteps = play(snake, state, actions[: end + 1])
    assert timesteps[end].terminated
    assert not timesteps[end].truncated


def test_the_time_limit_terminates_where_it_is_asked_to() -> None:
    snake = dataclasses.replace(LONG_SNAKE, time_limit_terminates=True)
    _, timesteps = play(snake, long_snake(steps_left=2), [RIGHT, DOWN])
    assert [bool(timestep.terminated) for timestep in timesteps] == [False, True]
    assert not any(timestep.truncated for timestep in timesteps)
    for changes in ({"crashed": jnp.bool_(True)}, {"length": jnp.int32(snake.num_cells)}):
        assert snake.terminal(long_snake(steps_left=2)._replace(**changes))


def test_a_crash_at_the_time_limit_terminates() -> None:
    _, timesteps = play(LONG_SNAKE, long_snake(steps_left=1), [UP])
    assert timesteps[0].terminated
    assert not timesteps[0].truncated
    assert timesteps[0].reward == 0


@pytest.mark.parametrize("x64", [False, True])
def test_shapes_and_types_do_not_depend_on_the_precision(x64: bool) -> None:
    snake = Snake(3, 4)
    with jax.enable_x64(x64):
        state = jax.eval_shape(snake.initial, jax.random.key(0))
        next_state, timestep = jax.eval_shape(
            functools.partial(environment.step, snake), state, jnp.int32(0), jax.random.key(0)
        )
    assert next_state == state
    expected = State(((3, 4), "int32"), *[((), "int32")] * 4, ((), "bool"))
    assert State(*((part.shape, part.dtype) for part in state)) == expected
    observation = Observation(((3, 4, 5), "float32"), ((4,), "bool"))
    for part, shapes in zip(timestep, [observation, observation], strict=False):
        assert Observation(*((array.shape, array.dtype) for array in part)) == shapes
    assert [(part.shape, part.dtype) for part in timestep[2:]] == [((), "float32"), ((), "bool"), ((), "bool")]
