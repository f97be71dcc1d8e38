"""Episodes of trained agents, for the page to play: pictures, probabilities of the moves, values and returns."""

from collections.abc import Collection
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents.policies import Categorical
from experiments.config import environments
from experiments.config.own_code import is_own_code
from experiments.config.ranges import UsageError
from experiments.storage import checkpoints
from experiments.studies.play import players
from experiments.studies.play.games import Opinion, Players
from experiments.studies.report import frames
from experiments.studies.report.curves import numbers

COMPASS = "→↘↓↙←↖↑↗"
"""Where actions lead, clockwise, in a picture, whose y grows downwards."""


class Episode(NamedTuple):
    """An episode of T steps, the last ones left out if it is too long.

    Attributes:
      states: of the environment, [T + 1, ...], of NumPy arrays.
      probabilities: float [T + 1, A], of the actions.
      values: float [T + 1].
      actions: int [T + 1]; nothing comes of the last one.
      returns: float [T + 1], until then.
      ended: whether the last state ends it.
    """

    states: Any
    probabilities: np.ndarray
    values: np.ndarray
    actions: np.ndarray
    returns: np.ndarray
    ended: bool


def replay(run: players.Run, label: str, named: Collection[str], max_steps: int) -> dict[str, Any]:
    """Lets the best seed of a run play one episode, and returns what the page shows of it.

    Args:
      run: its folder and settings.
      label: what the page calls it.
      named: code of their own that the user names, environments and agents.
      max_steps: after which the replay ends.

    Raises:
      UsageError: says in a sentence why there is nothing to play.
    """
    for what, own, name in (
        ("environment", environments.is_own_code(run.config.environment), run.config.environment),
        ("agent", is_own_code(run.config.agent), run.config.agent),
    ):
        if own and name not in named:
            raise UsageError(f"its {what} is your own code, which is run only with `{what}`={name}")
    if not checkpoints.checkpoint_steps(run.folder):
        raise UsageError("it has no checkpoint yet")
    best, *_ = players.ranked_seeds(run)
    cast = players.load([(run, best)])
    episode = play(cast, max_steps)
    return {
        "label": f"{label} · seed {run.config.seed + best}",
        "about": ", ".join(f"{name} {value:.4g}" for name, value in cast.hyperparameters[0].items()),
        "end": "the episode is over" if episode.ended else f"the episode goes on; {max_steps} steps are shown",
        "actions": _names(cast.env, episode),
        "taken": episode.actions.tolist(),
        "probabilities": [numbers(each.round(3)) for each in episode.probabilities],
        "values": numbers(episode.values),
        "returns": numbers(episode.returns),
        **frames.pack(_pictures(cast.env, episode)),
    }


def play(cast: Players, max_steps: int, seed: int = 0) -> Episode:
    """Plays the first player's first episode, in one program, whose results come here in one transfer."""
    record = jax.jit(partial(_record, cast.env, cast.opinion, max_steps))
    params = jax.tree.map(lambda leaf: leaf[0], cast.params)
    steps, over = jax.device_get(record(params, jax.random.key(seed)))
    length = int(over.argmax()) if over.any() else max_steps
    states, probabilities, values, actions, rewards = jax.tree.map(lambda leaf: leaf[: length + 1], steps)
    returns = np.concatenate([[0.0], np.cumsum(rewards[:-1], dtype=np.float64)])
    return Episode(states, probabilities, values, actions, returns, bool(over[length]))


def _record(env: Any, opinion: Opinion, max_steps: int, params: Any, key: chex.PRNGKey) -> Any:
    """Returns states, probabilities, values, actions and rewards, [max_steps + 1, ...], and whether states are last."""

    def step(carry: tuple[Any, chex.Array], key: chex.PRNGKey) -> Any:
        state, over = carry
        action_key, transition_key = jax.random.split(key)
        policy, value = opinion(params, env.observation(state))
        if not isinstance(policy, Categorical):
            raise UsageError("its policy is not Categorical, whose probabilities a replay shows")
        action, probabilities = policy.sample(action_key), jax.nn.softmax(policy.logits)
        following = env.transition(state, action, transition_key)
        reward = env.reward(state, action, following)
        following = jax.tree.map(lambda old, new: jnp.where(over, old, new), state, following)
        ended = env.terminal(following) | env.truncated(following)
        return (following, ended), ((state, probabilities, value, action, reward), over)

    first_key, key = jax.random.split(key)
    keys = jax.random.split(key, max_steps + 1)
    _, recorded = jax.lax.scan(step, (env.initial(first_key), jnp.bool_(False)), keys)
    return recorded


def _pictures(env: Any, episode: Episode) -> np.ndarray:
    """Returns the environment's pictures of an episode, uint8 [T + 1, height, width, 3]."""
    pictures = [np.asarray(env.render(_state(episode, step))) for step in range(len(episode.values))]
    for picture in pictures:
        if picture.ndim != 3 or picture.shape != (*pictures[0].shape[:2], 3) or picture.dtype != np.uint8:
            returned = f"{picture.dtype}{list(picture.shape)}"
            raise UsageError(f"render must return uint8 [height, width, 3], always as large, and returned {returned}")
    return np.stack(pictures)


def _names(env: Any, episode: Episode) -> list[str]:
    """Returns what the page calls the actions: arrows to where they lead in the picture, or numbers."""
    if not callable(getattr(env, "arrows", None)):
        return [str(action) for action in range(episode.probabilities.shape[1])]
    begin, end = np.moveaxis(np.asarray(env.arrows(_state(episode, 0))), 1, 0)
    eighths = np.round(np.arctan2(*(end - begin).T[::-1]) * 4.0 / np.pi).astype(int) % 8
    return [COMPASS[eighth] for eighth in eighths]


def _state(episode: Episode, step: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[step], episode.states)
