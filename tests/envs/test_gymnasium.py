import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import imageio.v3 as imageio
import jax.numpy as jnp
import numpy as np
import pygame
import pytest
from gymnasium import wrappers
from gymnasium.utils.env_checker import check_env, check_returned_data_not_reused
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from reference_snake import Game

from envs import drawing, gymnasium_snake
from envs.gymnasium_snake import ID

ROOT = Path(__file__).parents[2]
FRUIT = 3  # the fruit's feature map

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # as which Gymnasium complains


@pytest.fixture(autouse=True)
def no_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    yield
    pygame.quit()


def test_gymnasium_checks_the_environment() -> None:
    check_env(gymnasium.make(f"envs.gymnasium_snake:{ID}", render_mode="rgb_array", num_rows=4, num_cols=5).unwrapped)


def test_gymnasium_checks_the_vector_environment() -> None:
    envs = gymnasium.make_vec(f"envs.gymnasium_snake:{ID}", num_envs=1, num_rows=4, num_cols=5)
    check_returned_data_not_reused(envs)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert envs.reset(seed=0)[0] in envs.observation_space


def random_actions(generator: np.random.Generator, action_masks: np.ndarray) -> np.ndarray:
    """Returns actions that mostly do not crash, for masks [..., 4]."""
    return np.argmax(generator.gumbel(size=action_masks.shape) - 4.0 * (action_masks == 0), axis=-1)


def start(observation: np.ndarray, time_limit: int) -> Game:
    """Returns the reference's game from a first observation."""
    num_rows, num_cols, _ = observation.shape
    return Game(num_rows, num_cols, time_limit, [cell_of(observation, 1)], cell_of(observation, FRUIT))


def cell_of(observation: np.ndarray, feature: int) -> tuple[int, int]:
    (cell,) = np.argwhere(observation[..., feature])
    return int(cell[0]), int(cell[1])


def assert_follows(game: Game, action: int, step: tuple[np.ndarray, float, bool, bool, dict[str, Any]]) -> None:
    """Plays the action in the reference too and compares everything that Gymnasium returned."""
    observation, reward, terminated, truncated, info = step
    assert game.move(action) == reward
    assert (game.terminated, game.truncated) == (terminated, truncated)
    if game.fruit is None and not game.full:
        game.fruit = cell_of(observation, FRUIT)
    np.testing.assert_allclose(observation, game.grid(), rtol=1e-6)
    assert info["score"] == len(game.body) - 1
    np.testing.assert_array_equal(info["action_mask"], game.mask())


def test_equals_the_reference() -> None:
    time_limit = 9
    env = gymnasium.make(ID, num_rows=2, num_cols=2, time_limit=time_limit)
    generator = np.random.default_rng(0)
    ends = []
    observation, info = env.reset(seed=1)
    game = start(observation, time_limit)
    for _ in range(400):
        action = int(random_actions(generator, info["action_mask"]))
        step = env.step(action)
        assert_follows(game, action, step)
        _, _, terminated, truncated, info = step
        if terminated or truncated:
            ends.append(terminated)
            observation, info = env.reset()
            game = start(observation, time_limit)
    assert any(ends)
    assert not all(ends)  # some were truncated


def test_the_vector_equals_the_reference() -> None:
    num_envs, time_limit = 8, 25
    envs = gymnasium.make_vec(ID, num_envs, num_rows=5, num_cols=4, time_limit=time_limit)
    generator = np.random.default_rng(0)
    observations, infos = envs.reset(seed=1)
    games = [start(observation, time_limit) for observation in observations]
    ended = np.zeros(num_envs, bool)
    terminations = truncations = 0
    for _ in range(150):
        actions = random_actions(generator, infos["action_mask"])
        observations, rewards, terminated, truncated, infos = envs.step(actions)
        for index, game in enumerate(games):
            info = {"score": infos["score"][index], "action_mask": infos["action_mask"][index]}
            if ended[index]:  # this step only starts the next game
                games[index] = start(observations[index], time_limit)
                assert (rewards[index], terminated[index], truncated[index]) == (0, False, False)
                assert info["score"] == 0
                np.testing.assert_array_equal(info["action_mask"], games[index].mask())
            else:
                step = (observations[index], rewards[index], terminated[index], truncated[index], info)
                assert_follows(game, int(actions[index]), step)
        ended = terminated | truncated
        terminations, truncations = terminations + terminated.sum(), truncations + truncated.sum()
    assert terminations
    assert truncations


def shapes_and_types(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: shapes_and_types(value) for name, value in tree.items()}
    return tree.shape, tree.dtype


def test_returns_what_gymnasiums_own_vectors_do() -> None:
    ours = gymnasium.make_vec(ID, 2)
    theirs = gymnasium.make_vec(ID, 2, vectorization_mode="sync")
    assert isinstance(theirs, SyncVectorEnv)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    for our_part, their_part in zip(ours.reset(seed=0), theirs.reset(seed=0), strict=True):
        assert shapes_and_types(our_part) == shapes_and_types(their_part)
    for our_part, their_part in zip(ours.step(np.zeros(2, int)), theirs.step(np.zeros(2, int)), strict=True):
        assert shapes_and_types(our_part) == shapes_and_types(their_part)


def play(env: Any, seed: int, vector: bool) -> list[Any]:
    """Returns everything that thirty steps and a second reset hand out."""
    shape = (env.num_envs,) if vector else ()
    generator = np.random.default_rng(0)
    history = [env.reset(seed=seed)]
    for _ in range(30):
        actions = generator.integers(4, size=shape)
        history.append(env.step(actions if vector else int(actions)))
        if not vector and any(history[-1][2:4]):
            history.append(env.reset())
    return [*history, env.reset()]


@pytest.mark.parametrize("vector", [False, True])
def test_seeds_reproduce(vector: bool) -> None:
    def make() -> Any:
        # A wide board, on which no two histories agree by chance.
        return gymnasium.make_vec(ID, 3, num_rows=30) if vector else gymnasium.make(ID, num_rows=30)

    env = make()
    first, second, other = play(env, 7, vector), play(make(), 7, vector), play(env, 8, vector)
    again = play(env, 7, vector)
    np.testing.assert_equal(second, first)
    np.testing.assert_equal(again, first)
    assert (other[0][0] != first[0][0]).any()
    assert (first[-1][0] != first[0][0]).any()  # a reset without a seed goes on with other games
    if vector:
        assert (first[0][0][0] != first[0][0][1]).any()


def play_episode(env: gymnasium.Env, seed: int) -> tuple[list[float], bool, bool, dict[str, Any]]:
    """Plays without crashing as long as it can; returns the rewards and how it ended."""
    generator = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    rewards = []
    while True:
        _, reward, terminated, truncated, info = env.step(int(random_actions(generator, info["action_mask"])))
        rewards.append(float(reward))
        if terminated or truncated:
            return rewards, terminated, truncated, info


def test_the_vector_takes_the_limit_that_make_has_a_wrapper_for() -> None:
    envs = gymnasium.make_vec(ID, 2, num_rows=2, num_cols=32, max_episode_steps=7)
    _, infos = envs.reset(seed=0)
    for step in range(1, 8):
        _, _, _, truncated, infos = envs.step(np.argmax(infos["action_mask"], axis=1))
        assert truncated.tolist() == [step == 7] * 2


@pytest.mark.parametrize("time_limit", [1, 4_000])
def test_after_the_end_a_step_warns_and_changes_nothing(time_limit: int) -> None:
    env = gymnasium.make(ID, num_rows=6, num_cols=6, time_limit=time_limit)
    _, info = env.reset(seed=1)
    terminated = truncated = False
    while not terminated and not truncated:
        observation, _, terminated, truncated, info = env.step(0)
    for action in range(4):
        with pytest.warns(UserWarning, match="the episode has ended"):
            after = env.step(action)
        np.testing.assert_equal(after, (observation, 0.0, terminated, truncated, info))
    env.reset()
    env.step(0)  # without a warning, which would be an error here


def test_a_mask_resets_some_games_of_the_vector() -> None:
    envs = gymnasium.make_vec(ID, 8, num_rows=2, num_cols=2, time_limit=9)
    _, infos = envs.reset(seed=1)
    ended = np.zeros(8, bool)
    while not ended.all():
        observations, _, terminated, truncated, infos = envs.step(np.argmax(infos["action_mask"], axis=1))
        ended = terminated | truncated
    mask = np.arange(8) % 3 == 0
    again, again_infos = envs.reset(options={"reset_mask": mask})
    assert (again_infos["score"][mask] == 0).all()
    np.testing.assert_equal(again[~mask], observations[~mask])
    np.testing.assert_equal(again_infos["score"][~mask], infos["score"][~mask])


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")  # MoviePy starts ffmpeg
def test_record_video_wrapper(tmp_path: Path) -> None:
    env = gymnasium.make(ID, render_mode="rgb_array", num_rows=4, num_cols=4, time_limit=9)
    env = wrappers.RecordVideo(env, str(tmp_path / "videos"), episode_trigger=lambda episode: episode == 0)
    rewards, _, _, _ = play_episode(env, seed=0)
    env.close()
    (video,) = tmp_path.glob("videos/*.mp4")
    assert imageio.imread(video, plugin="FFMPEG").shape == (
        len(rewards) + 1,
        drawing.layout(4, 4).height,
        drawing.layout(4, 4).width,
        3,
    )


def assert_shows(picture: Any, observation: np.ndarray) -> None:
    """Finds the head and the fruit of the observation in the picture."""
    place = drawing.layout(*observation.shape[:2])
    for feature, color in [(1, drawing.HEAD_COLOR), (FRUIT, drawing.FRUIT_COLOR)]:
        x, y = place.center(*cell_of(observation, feature))
        assert tuple(picture[y, x]) == color


def test_rgb_arrays_show_the_games_and_a_window_follows_one() -> None:
    sizes: dict[str, Any] = {"num_rows": 5, "num_cols": 7}
    env = gymnasium.make(ID, render_mode="rgb_array", **sizes)
    observation, _ = env.reset(seed=3)
    assert_shows(env.render(), observation)
    envs = gymnasium.make_vec(ID, 3, render_mode="rgb_array", **sizes)
    observations, _ = envs.reset(seed=3)
    for picture, observation in zip(envs.render() or (), observations, strict=True):
        assert_shows(picture, observation)
    env = gymnasium.make(ID, render_mode="human", **sizes)
    observation, info = env.reset(seed=3)
    assert_shows(drawing.pixels(pygame.display.get_surface()), observation)
    observation, *_ = env.step(np.argmax(info["action_mask"]))
    assert_shows(drawing.pixels(pygame.display.get_surface()), observation)
    env.close()
    assert not pygame.display.get_init()


@pytest.mark.parametrize("make", [gymnasium.make, lambda name: gymnasium.make_vec(name, 2)])
def test_rendering_without_a_mode_warns(make: Callable[[str], Any]) -> None:
    env = make(ID).unwrapped
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode must be one of"):
        assert env.render() is None


@pytest.mark.parametrize("entry", [gymnasium_snake.SnakeEnv, lambda **more: gymnasium_snake.SnakeVectorEnv(2, **more)])
def test_refuses_arguments_out_of_range(entry: Callable[..., Any]) -> None:
    for name, value in {"num_rows": 1, "num_cols": 33, "time_limit": 2**31, "render_mode": "ansi"}.items():
        with pytest.raises(ValueError, match=f"^{name} must be .*, got '?{value}'?$"):
            entry(**{name: value})


def test_the_vector_refuses_what_is_its_own() -> None:
    for arguments in ({"num_envs": 0}, {"num_envs": 1, "max_episode_steps": 0}):
        with pytest.raises(ValueError, match=r"must be .*, got 0$"):
            gymnasium.make_vec(ID, **arguments)
    envs = gymnasium.make_vec(ID, 2)
    with pytest.raises(gymnasium.error.ResetNeeded):
        envs.reset(options={"reset_mask": np.array([True, False])})
    for mask in ([True], [1, 0], [False, False]):
        with pytest.raises(ValueError, match=r"^options\['reset_mask'\] must be 2 booleans, at least one of them True"):
            envs.reset(options={"reset_mask": np.array(mask)})


def test_actions_may_be_of_jax_but_not_out_of_range() -> None:
    env, envs = gymnasium.make(ID), gymnasium.make_vec(ID, 2)
    env.reset(seed=0)
    envs.reset(seed=0)
    env.step(jnp.int32(1))
    envs.step(jnp.ones(2, jnp.int32))
    for action in (4, -1, 1.5):
        with pytest.raises(ValueError, match=rf"^action must be an integer in \[0, 4\), got {action}$"):
            env.step(action)
        with pytest.raises(ValueError, match=rf"^actions must be 2 integers in \[0, 4\), got \[0(.0)?, {action}\]$"):
            envs.step(np.array([0, action]))


@pytest.mark.parametrize("vector", [False, True])
def test_a_reset_comes_first(vector: bool) -> None:
    entry, size, action = (
        (gymnasium_snake.SnakeVectorEnv, (2,), [0, 0]) if vector else (gymnasium_snake.SnakeEnv, (), 0)
    )
    env = entry(*size, render_mode="rgb_array")
    for call in (lambda: env.step(action), env.render):
        with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
            call()


def test_the_example_learns() -> None:
    train = runpy.run_path(str(ROOT / "examples" / "gymnasium_actor_critic.py"))["train"]
    returns = train(num_steps=50_000, seed=0)
    quarter = len(returns) // 4
    assert np.mean(returns[-quarter:]) > np.mean(returns[:quarter]) + 2
