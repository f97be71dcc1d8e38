"""gymnax's environments through the adapter, where gymnax is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("gymnax")

import gymnax

from envs import environment
from envs.gymnax_adapter import Gymnax
from experiments.config import environments
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.config.validation import validate
from experiments.runs import training as loop


@pytest.mark.parametrize(("name", "limit"), [("Breakout-MinAtar", 1_000), ("CartPole-v1", 12)])
def test_transitions_are_gymnaxs(name, limit):
    """Resets, ends of both kinds and keys included; CartPole's time limit is low enough to be met."""
    env = Gymnax(name)
    original, params = gymnax.make(name)
    if limit != params.max_steps_in_episode:
        params = params.replace(max_steps_in_episode=limit)
        object.__setattr__(env, "_params", params)
    assert env.time_limit == limit
    assert env.num_actions == original.num_actions
    step = jax.jit(lambda *arguments: environment.step(env, *arguments))
    state = env.initial(jax.random.key(0))
    _, theirs = original.reset(jax.random.key(0), params)
    ends = []
    for time in range(60):
        key = jax.random.key(time)
        # The pole stands until the time limit, and then is pushed over before it.
        action = jnp.int32(time % 2 if time < 20 else 1)
        observation, theirs, reward, terminated, truncated, info = original.step(key, theirs, action, params)
        state, timestep = step(state, action, key)
        expected = (observation, info["final_observation"], reward, terminated, truncated & ~terminated)
        for found, wanted in zip(timestep, expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-7)
        ends.append((bool(terminated), bool(truncated)))
    assert any(terminated for terminated, _ in ends)
    assert any(truncated for _, truncated in ends) == (limit == 12)


def test_training_on_minatar():
    sizes = {"num_envs": 4, "rollout_length": 10, "num_channels": 2, "policy_width": 4, "value_width": 4}
    config = Config(environment="gymnax:Breakout-MinAtar", horizon=2, num_seeds=2, num_env_steps=4_000, **sizes)
    metrics, _ = loop.train(config, quiet=True)
    assert np.isfinite(metrics["meta_grad/discount"]).all()
    assert np.nanmin(metrics["episode_length"]) > 1
    assert np.nanmax(metrics["episode_return"]) > 0


@pytest.mark.parametrize(
    ("name", "complaint"), [("Tetris", "Tetris is not in registered"), ("Pendulum-v1", "are not a finite number")]
)
def test_what_is_not_there_or_not_discrete_is_refused(name, complaint):
    for fits in ("MountainCar-v0", "Asterix-MinAtar", "Catch-bsuite", "FourRooms-misc"):
        environments.make(f"gymnax:{fits}")
    with pytest.raises(UsageError, match=f"^environment=gymnax:{name}: must be .*{complaint}"):
        validate(Config(environment=f"gymnax:{name}"))
