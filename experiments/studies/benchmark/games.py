"""Steps of many games in one program, against Jumanji's `Snake-v1`.

On both sides the moves are random ones that do not crash, a game that has ended starts anew in the same program, and
the feature maps of every step are added up, so that no compiler can leave them out.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import chex
import jax
import jax.numpy as jnp

from agents.networks import MASKED_LOGIT
from envs import environment
from envs.snake import Snake
from experiments.config.ranges import board_shape
from experiments.config.settings import Config
from experiments.studies.benchmark import measuring
from experiments.studies.benchmark.measuring import STEPS_A_SECOND, Figure, Figures, Side
from experiments.studies.benchmark.settings import Scale

STEPS, SHORTEST = 65_536, 16
"""Steps of one call, all games together; of each game, at least, since starting a program is no part of a step."""

Step = Callable[[Any, chex.Array, chex.PRNGKey], tuple[Any, Any]]
"""From states, actions, int32 [copies], and a key to the next states and observations (`grid` and `action_mask`)."""


def env(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    return {f"copies_{copies}": partial(_side_by_side, scale, copies) for copies in scale.copies}


def sizes(config: Config) -> dict[str, Any]:
    """Returns what Snake's constructors take: ours, Gymnasium's and Jumanji's."""
    num_rows, num_cols = board_shape(config.board_size)
    return {"num_rows": num_rows, "num_cols": num_cols, "time_limit": config.time_limit}


def _side_by_side(scale: Scale, copies: int) -> Figure:
    ours = _play(*_our_games(scale.config, copies))
    peer = _play(*_jumanjis_games(scale.config, copies)) if measuring.installed("jumanji") else None
    return measuring.race(STEPS_A_SECOND, "Jumanji's Snake-v1", ours, peer, scale)


def _play(step: Step, states: Any, observation: Any) -> Side:
    copies = len(observation.action_mask)
    length = max(STEPS // copies, SHORTEST)

    def move(_: chex.Array, games: tuple) -> tuple:
        states, action_mask, key, total = games
        key, action_key, step_key = jax.random.split(key, 3)
        action = jax.random.categorical(action_key, jnp.where(action_mask, 0.0, MASKED_LOGIT)).astype(jnp.int32)
        states, observation = step(states, action, step_key)
        return states, observation.action_mask, key, total + jnp.sum(observation.grid)

    start = (states, observation.action_mask, jax.random.key(1), jnp.zeros(()))
    return Side(measuring.stepping(jax.jit(partial(jax.lax.fori_loop, 0, length, move)), start), copies * length)


def _our_games(config: Config, copies: int) -> tuple[Step, Any, Any]:
    snake = Snake(**sizes(config))
    states = jax.vmap(snake.initial)(jax.random.split(jax.random.key(0), copies))

    def step(states: Any, action: chex.Array, key: chex.PRNGKey) -> tuple[Any, Any]:
        keys = jax.random.split(key, copies)
        states, timestep = jax.vmap(partial(environment.step, snake))(states, action, keys)
        return states, timestep.observation

    return step, states, jax.vmap(snake.observation)(states)


def _jumanjis_games(config: Config, copies: int) -> tuple[Step, Any, Any]:
    """Plays as Jumanji's own training does: it batches the games and starts them anew by this wrapper."""
    from jumanji.environments import Snake as JumanjiSnake
    from jumanji.wrappers import VmapAutoResetWrapper

    games = VmapAutoResetWrapper(JumanjiSnake(**sizes(config)))
    states, timestep = games.reset(jax.random.split(jax.random.PRNGKey(0), copies))

    def step(states: Any, action: chex.Array, key: chex.PRNGKey) -> tuple[Any, Any]:
        del key  # the states have theirs
        states, timestep = games.step(states, action)
        return states, timestep.observation

    return step, states, timestep.observation
