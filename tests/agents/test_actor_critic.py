import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import actor_critic
from agents.networks import Predictions
from agents.policies import Categorical
from agents.rollouts import Rollout

T, B, A = 7, 5, 4
HYPER = {"discount": 0.9, "lambda": 0.7, "policy_cost": 1.3, "value_cost": 0.6, "entropy_cost": 0.05}


@pytest.fixture
def rollout():
    rng = np.random.default_rng(0)
    terminated = rng.random((T, B)) < 0.2
    truncated = ~terminated & (np.arange(T)[:, None] == rng.integers(0, T, B))
    return Rollout(
        observation=(),
        action=jnp.array(rng.integers(0, A, (T, B)), jnp.int32),
        reward=jnp.array(rng.random((T, B)), jnp.float32),
        terminated=jnp.array(terminated),
        truncated=jnp.array(truncated),
        bootstrap_observation=(),
        episode_return=jnp.zeros((T, B)),
        episode_length=jnp.zeros((T, B), jnp.int32),
    )


def test_targets_are_lambda_returns_that_end_at_terminations_and_bootstrap_at_truncations(rollout):
    rng = np.random.default_rng(1)
    values, bootstrap = rng.normal(size=(T, B)), rng.normal(size=(2, B))
    result = actor_critic.targets(jnp.float32(values), jnp.float32(bootstrap), rollout, HYPER)
    assert rollout.terminated.any()
    assert rollout.truncated.any()
    for b in range(B):
        following = bootstrap[0, b]
        for t in reversed(range(T)):
            next_value = bootstrap[0, b] if t == T - 1 else values[t + 1, b]
            if rollout.terminated[t, b]:
                bootstrapped = 0.0
            elif rollout.truncated[t, b]:
                bootstrapped = bootstrap[1, b]
            else:
                bootstrapped = (1 - HYPER["lambda"]) * next_value + HYPER["lambda"] * following
            following = rollout.reward[t, b] + HYPER["discount"] * bootstrapped
            np.testing.assert_allclose(result.returns[t, b], following, rtol=1e-5)
            np.testing.assert_allclose(result.advantages[t, b], following - values[t, b], rtol=1e-4, atol=1e-5)


def _predictions():
    rng = np.random.default_rng(2)
    return Predictions(Categorical(jnp.float32(rng.normal(size=(T, B, A)))), jnp.float32(rng.normal(size=(T, B))))


def test_loss_is_its_equation(rollout):
    predictions = _predictions()
    rng = np.random.default_rng(3)
    targets = actor_critic.Targets(*jnp.float32(rng.normal(size=(2, T, B))))
    log_policy = np.asarray(jax.nn.log_softmax(predictions.policy.logits))
    chosen = np.take_along_axis(log_policy, np.asarray(rollout.action)[..., None], -1)[..., 0]
    expected = {
        "policy": -np.mean(chosen * targets.advantages),
        "value": np.mean((targets.returns - predictions.value) ** 2) / 2,
        "entropy": np.mean(np.sum(np.exp(log_policy) * log_policy, -1)),
    }
    total, terms = actor_critic.loss(predictions, rollout.action, targets, HYPER)
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=1e-5)
    np.testing.assert_allclose(total, sum(HYPER[f"{name}_cost"] * value for name, value in expected.items()), rtol=1e-5)
    policy_only, _ = actor_critic.loss(predictions, rollout.action, targets, {"policy_cost": 2.0})
    np.testing.assert_allclose(policy_only, 2 * expected["policy"], rtol=1e-5)
