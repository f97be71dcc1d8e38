"""Games side by side, each with a player of its own; one jitted program steps all of them.

A game that has ended shows its end until the next step, which starts it anew.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from agents.networks import mask_logits
from envs.environment import Environment

FREE, WAIT = -1, -2
"""Orders beside the moves: play as the policy says; stand still."""

Policy = Callable[[Any, Any], tuple[chex.Array, chex.Array | None]]
"""From (parameters, observation) to the logits of the actions and the value, or None for no opinion of it."""


class Rules(NamedTuple):
    """What all games on show have in common; hashable, so that the programs are cached on it.

    Attributes:
      env: the rules of the game.
      policy: the players' policy; each player has parameters of its own.
      greedy: whether the most probable move is played instead of a sampled one.
    """

    env: Environment
    policy: Policy
    greedy: bool


class Games(NamedTuple):
    """N games and what their players think of them.

    Attributes:
      state: of each game, [N, ...].
      ended: bool [N], whether the game is over.
      probabilities: float [N, A], of the actions.
      value: float [N], the expected return; None where the policy has no opinion.
      key: [N], for everything random that is still to come.
    """

    state: Any
    ended: chex.Array
    probabilities: chex.Array
    value: chex.Array | None
    key: chex.PRNGKey


def random_policy(params: chex.Array, observation: Any) -> tuple[chex.Array, None]:
    """Plays every action that is not forbidden with the same probability; its parameters are zeros, float [A]."""
    return mask_logits(params, observation), None


@functools.partial(jax.jit, static_argnums=(0, 1))
def start(rules: Rules, num_games: int, params: Any, seed: chex.Numeric, round_number: chex.Numeric) -> Games:
    """Starts a game for each player.

    Args:
      rules: of the games.
      num_games: N.
      params: of the players' policies, [N, ...].
      seed: int32 [], of everything random in the games.
      round_number: int32 []; the same seed plays other games in another round.

    Returns:
      The games before the first move.
    """
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), round_number), num_games)
    return jax.vmap(functools.partial(_start, rules))(params, keys)


@functools.partial(jax.jit, static_argnums=0)
def step(rules: Rules, params: Any, games: Games, orders: chex.Array) -> Games:
    """Plays a move in every game, or starts it anew where it has ended.

    Args:
      rules: of the games.
      params: of the players' policies, [N, ...].
      games: N games.
      orders: int32 [N], an action in [0, A), `FREE` or `WAIT`.

    Returns:
      The games after the move; a game that was told to wait as it was.
    """
    return jax.vmap(functools.partial(_step, rules))(params, games, orders)


def _start(rules: Rules, params: Any, key: chex.PRNGKey) -> Games:
    next_key, state_key = jax.random.split(key)
    return _consider(rules, params, rules.env.initial(state_key), next_key)


def _step(rules: Rules, params: Any, game: Games, order: chex.Array) -> Games:
    action_key, transition_key, next_key = jax.random.split(game.key, 3)
    sampled = jax.random.categorical(action_key, jnp.log(game.probabilities))
    chosen = jnp.argmax(game.probabilities) if rules.greedy else sampled
    action = jnp.where(order == FREE, chosen, jnp.maximum(order, 0)).astype(jnp.int32)
    moved = _consider(rules, params, rules.env.transition(game.state, action, transition_key), next_key)
    next_game = _choose(game.ended, _start(rules, params, next_key), moved)
    return _choose(order == WAIT, game, next_game)


def _consider(rules: Rules, params: Any, state: Any, key: chex.PRNGKey) -> Games:
    logits, value = rules.policy(params, rules.env.observation(state))
    ended = rules.env.terminal(state) | rules.env.truncated(state)
    return Games(state, ended, jax.nn.softmax(logits), value, key)


def _choose(condition: chex.Array, chosen: Games, other: Games) -> Games:
    return jax.tree.map(lambda left, right: jnp.where(condition, left, right), chosen, other)
