"""Steps of the game: against Jumanji's `Snake-v1` in one program, and through Gymnasium.

On every side the moves are random ones that do not crash, a game that has ended starts anew in the same program, and
the feature maps of every step are added up, so that no compiler can leave them out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from agents.networks import MASKED_LOGIT
from envs import environment, gymnasium_snake
from envs.snake import Snake
from experiments.config.ranges import board_shape
from experiments.config.settings import Config
from experiments.studies.benchmark import figures, timing, work
from experiments.studies.benchmark.figures import STEPS_A_SECOND, Figure, Figures, Side
from experiments.studies.benchmark.settings import Scale
from experiments.studies.benchmark.work import Work

PEERS = ("jumanji",)

SHORTEST = 16
"""Steps of each game in one call, at least: starting a program is no part of a step."""

Step = Callable[[Any, chex.Array, chex.PRNGKey], tuple[Any, Any]]
"""From states, actions, int32 [copies], and a key to the next states and observations (`grid` and `action_mask`)."""


class Games(NamedTuple):
    """Some games between two steps.

    Attributes:
      states: of the games.
      action_mask: bool [copies, 4], the moves that do not crash.
      key: for all that is random.
      total: float [], of all feature maps so far.
    """

    states: Any
    action_mask: chex.Array
    key: chex.PRNGKey
    total: chex.Array


def suite(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    return {
        **{f"copies_{copies}": partial(_one_program, scale, copies) for copies in scale.copies},
        "gymnasium_single": partial(_gymnasium_single, scale),
        "gymnasium_vector": partial(_gymnasium_vector, scale),
    }


def _one_program(scale: Scale, copies: int) -> Figure:
    """Plays many games in one program."""
    length = max(scale.env_steps // copies, SHORTEST)
    ours, work_of_step = _play(_our_games(scale.config, copies), length)
    peer = None
    if figures.installed("jumanji"):
        peer = Side(_play(_jumanjis_games(scale.config, copies), length)[0], copies * length)
    moved = None if work_of_step.bytes is None else length * work_of_step.bytes
    # Of the arithmetic, nothing is a product of matrices.
    return figures.race(
        STEPS_A_SECOND, "Jumanji's Snake-v1", Side(ours, copies * length), peer, scale, Work(bytes=moved)
    )


def _play(games: tuple[Step, Any, Any], length: int) -> tuple[timing.Program, Work]:
    """Makes the program that plays so many steps of each game, and says what work XLA sees in one."""
    step, states, observation = games

    def move(games: Games) -> Games:
        key, action_key, step_key = jax.random.split(games.key, 3)
        action = jax.random.categorical(action_key, jnp.where(games.action_mask, 0.0, MASKED_LOGIT)).astype(jnp.int32)
        states, observation = step(games.states, action, step_key)
        return Games(states, observation.action_mask, key, games.total + jnp.sum(observation.grid))

    start = Games(states, observation.action_mask, jax.random.key(1), jnp.zeros(()))
    work_of_step = work.counted(jax.jit(move).lower(start).compile())
    program = jax.jit(lambda games: jax.lax.fori_loop(0, length, lambda _, games: move(games), games))
    return timing.stepping(program, start), work_of_step


def _our_games(config: Config, copies: int) -> tuple[Step, Any, Any]:
    snake = Snake(*board_shape(config.board_size), config.time_limit)
    states = jax.vmap(snake.initial)(jax.random.split(jax.random.key(0), copies))

    def step(states: Any, action: chex.Array, key: chex.PRNGKey) -> tuple[Any, Any]:
        keys = jax.random.split(key, copies)
        states, timestep = jax.vmap(partial(environment.step, snake))(states, action, keys)
        return states, timestep.observation

    return step, states, jax.vmap(snake.observation)(states)


def _jumanjis_games(config: Config, copies: int) -> tuple[Step, Any, Any]:
    """Plays as Jumanji's own training does: it batches the games and starts them anew by this wrapper."""
    from jumanji.wrappers import VmapAutoResetWrapper

    games = VmapAutoResetWrapper(_jumanjis_snake(config))
    states, timestep = games.reset(jax.random.split(jax.random.PRNGKey(0), copies))

    def step(states: Any, action: chex.Array, key: chex.PRNGKey) -> tuple[Any, Any]:
        del key  # the states have theirs
        states, timestep = games.step(states, action)
        return states, timestep.observation

    return step, states, timestep.observation


def _jumanjis_snake(config: Config) -> Any:
    from jumanji.environments import Snake as JumanjiSnake

    return JumanjiSnake(*board_shape(config.board_size), config.time_limit)


def _gymnasium_single(scale: Scale) -> Figure:
    """Plays one game, whose ends are answered by `reset`, through the same interface on both sides."""
    peer = None
    if figures.installed("jumanji"):
        from jumanji.wrappers import JumanjiToGymWrapper

        game = JumanjiToGymWrapper(_jumanjis_snake(scale.config))
        peer = Side(_play_single(game, lambda observation, info: observation["action_mask"]), SHORTEST)
    game = gymnasium.make(gymnasium_snake.ID, **_sizes(scale.config))
    ours = Side(_play_single(game, lambda observation, info: info["action_mask"]), SHORTEST)
    return figures.race(STEPS_A_SECOND, "Jumanji's Snake-v1 as a Gymnasium environment", ours, peer, scale)


def _play_single(game: gymnasium.Env, mask: Callable[[Any, Any], np.ndarray]) -> timing.Program:
    rng = np.random.default_rng(0)
    seen = game.reset(seed=0)

    def program() -> None:
        nonlocal seen
        for _ in range(SHORTEST):
            observation, _, terminated, truncated, info = game.step(_valid(mask(*seen), rng))
            seen = game.reset() if terminated or truncated else (observation, info)

    return program


def _gymnasium_vector(scale: Scale) -> Figure:
    """Plays a vector of games, which starts those that have ended anew by itself."""
    peer = None
    if figures.installed("jumanji"):
        from jumanji.wrappers import JumanjiToGymWrapper

        makers = [lambda: JumanjiToGymWrapper(_jumanjis_snake(scale.config))] * scale.vector_envs
        games: Any = gymnasium.vector.SyncVectorEnv(makers)
        peer = Side(_play_vector(games, lambda observation, info: observation["action_mask"]), scale.vector_envs)
    games = gymnasium.make_vec(gymnasium_snake.ID, num_envs=scale.vector_envs, **_sizes(scale.config))
    ours = Side(_play_vector(games, lambda observation, info: info["action_mask"]), scale.vector_envs)
    return figures.race(STEPS_A_SECOND, "Jumanji's Snake-v1 in Gymnasium's SyncVectorEnv", ours, peer, scale)


def _play_vector(games: gymnasium.vector.VectorEnv, mask: Callable[[Any, Any], np.ndarray]) -> timing.Program:
    rng = np.random.default_rng(0)
    seen = games.reset(seed=0)

    def program() -> None:
        nonlocal seen
        observation, *_, info = games.step(_valid(mask(*seen), rng))
        seen = observation, info

    return program


def _sizes(config: Config) -> dict[str, Any]:
    num_rows, num_cols = board_shape(config.board_size)
    return {"num_rows": num_rows, "num_cols": num_cols, "time_limit": config.time_limit}


def _valid(mask: np.ndarray, rng: np.random.Generator) -> Any:
    """Draws moves that do not crash, int [...] from a mask [..., 4]; any where all crash."""
    return np.argmax(rng.random(mask.shape) * mask, axis=-1)
