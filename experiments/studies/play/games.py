"""Games side by side, each with a player of its own; one jitted program steps all of them."""

import functools
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pygame
import scipy.special

from agents.networks import mask_logits
from agents.policies import Categorical
from envs.environment import Environment
from experiments.config.ranges import UsageError
from experiments.studies.play import panels

FREE, WAIT = -1, -2
"""Orders beside the moves: play as the policy says; stand still."""

Opinion = Callable[[Any, Any], tuple[Any, chex.Array | None]]
"""From (parameters, observation) to a `policies.Policy` and the value, or None for no opinion of it."""


class Players(NamedTuple):
    """N players of one game."""

    env: Any  # an `Environment` with a method `render`
    opinion: Opinion
    params: Any  # what each has of its own, [N, ...]
    names: tuple[str, ...]
    hyperparameters: tuple[dict[str, float], ...]  # what an agent tuned, or its fixed discount; none of no agent


def not_agents(name: str, num_players: int, env: Environment) -> Players:
    """Returns players that need no checkpoint: they move at random, or where they are told to."""
    if hasattr(env, "action_size"):
        raise UsageError("`random` and `human` need discrete actions, and this environment has real numbers for them")
    params = np.zeros((num_players, env.num_actions), np.float32)
    return Players(env, _random_policy, params, (name,) * num_players, ({},) * num_players)


def _random_policy(params: chex.Array, observation: Any) -> tuple[Categorical, None]:
    return Categorical(mask_logits(params, observation)), None


class Match:
    """One game for each player, side by side. One that has ended shows its end until the next step, which restarts it.

    Args:
      players: N of them.
      grid: rows and columns of the picture, N in all.
      greedy: whether the most probable moves are played instead of sampled ones.
      seed: of the games.

    Attributes:
      state: of the games, [N, ...], of NumPy arrays.
      ended: bool [N], which games are over.
      title: what is played.

    Raises:
      UsageError: if the environment's `render` returns no picture.
    """

    def __init__(self, players: Players, grid: tuple[int, int], greedy: bool = False, seed: int = 0) -> None:
        self.title = type(players.env).__name__
        self._players = players
        self._grid = grid
        self._start, self._step = _programs(players.env, players.opinion, greedy)
        self._params = jax.device_put(players.params)
        self._seed = jax.random.key(np.int32(seed))
        self._round = -1
        self.restart()
        picture = np.asarray(self._players.env.render(self._state_of(0)))
        if picture.ndim != 3 or picture.shape[-1] != 3 or picture.dtype != np.uint8:
            returned = f"{picture.dtype}{list(picture.shape)}"
            raise UsageError(f"render of {self.title} must return uint8 [height, width, 3], and returned {returned}")
        self._size = panels.game_size(picture.shape, grid)

    def restart(self) -> None:
        """Starts every game anew, each on another board than before."""
        self._round += 1
        num_games = len(self._players.names)
        self._values: list[deque[float]] = [deque(maxlen=panels.LONGEST_HISTORY) for _ in range(num_games)]
        self.ended = np.ones(num_games, bool)
        keys = jax.random.split(jax.random.fold_in(self._seed, self._round), num_games)
        self._take(self._start(self._params, keys), np.ones(num_games, bool))

    def step(self, orders: np.ndarray | int = FREE) -> None:
        """Plays a move in every game; `orders`, int [N] or one for all, is that move, `FREE` or `WAIT`."""
        orders = np.broadcast_to(np.int32(orders), len(self._players.names))
        self._take(self._step(self._params, self._games, orders), orders != WAIT)

    def draw(self, overlay: bool = True) -> pygame.Surface:
        """Returns the picture of all games, of one size whether or not with what the players think (`overlay`)."""
        shown = []
        for index, (name, hyper) in enumerate(zip(self._players.names, self._players.hyperparameters, strict=True)):
            state = self._state_of(index)
            led = hasattr(self._players.env, "arrows") and self._probabilities is not None and not self.ended[index]
            arrows = self._players.env.arrows(state) if led else None
            probabilities = None if self._probabilities is None else self._probabilities[index]
            game = np.asarray(self._players.env.render(state))
            shown.append(panels.Panel(name, game, arrows, probabilities, self._values[index], hyper))
        return panels.draw(shown, self._grid, self._size, overlay)

    def _state_of(self, index: int) -> Any:
        return jax.tree.map(lambda leaf: leaf[index], self.state)

    def _take(self, games: "_Games", moved: np.ndarray) -> None:
        """Goes on from these games, of which some have moved; brings what is shown of them here in one transfer."""
        before = self.ended
        self._games = games
        self.state, self.ended, policy, values = jax.device_get(games[:-1])
        self._probabilities = scipy.special.softmax(policy.logits, -1) if isinstance(policy, Categorical) else None
        for index in np.flatnonzero(moved):
            if before[index]:  # its end was shown, and now its beginning is
                self._values[index].clear()
            if values is not None:
                self._values[index].append(float(values[index]))


class _Games(NamedTuple):
    """N games, what their players think of them, and what is random in them from here on."""

    state: Any
    ended: chex.Array
    policy: Any
    value: chex.Array | None
    key: chex.PRNGKey


@functools.lru_cache(maxsize=8)
def _programs(env: Any, opinion: Opinion, greedy: bool) -> tuple[Callable[..., _Games], Callable[..., _Games]]:
    """Returns what starts games, from (parameters, keys), and what steps them, from (parameters, games, orders)."""

    def consider(params: Any, state: Any, key: chex.PRNGKey) -> _Games:
        policy, value = opinion(params, env.observation(state))
        return _Games(state, env.terminal(state) | env.truncated(state), policy, value, key)

    def start(params: Any, key: chex.PRNGKey) -> _Games:
        next_key, state_key = jax.random.split(key)
        return consider(params, env.initial(state_key), next_key)

    def choose(condition: chex.Array, chosen: _Games, other: _Games) -> _Games:
        return jax.tree.map(lambda left, right: jnp.where(condition, left, right), chosen, other)

    def step(params: Any, game: _Games, order: chex.Array) -> _Games:
        action_key, transition_key, next_key = jax.random.split(game.key, 3)
        action = game.policy.mode() if greedy else game.policy.sample(action_key)
        if action.ndim == 0:  # of which there are orders
            action = jnp.where(order == FREE, action, jnp.maximum(order, 0)).astype(jnp.int32)
        moved = consider(params, env.transition(game.state, action, transition_key), next_key)
        return choose(order == WAIT, game, choose(game.ended, start(params, next_key), moved))

    return jax.jit(jax.vmap(start)), jax.jit(jax.vmap(step))
