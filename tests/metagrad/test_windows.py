"""The window on an inner problem whose every meta-gradient is known in closed form.

A scalar `x` follows SGD on a quadratic whose optimum is `target + tau_k`, with a tuned rate `alpha = exp(log_rate)`:

    x_{k+1} = x_k - alpha (x_k - target - tau_k),    l(x, tau) = (x - tau)^2 / 2
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from metagrad import estimators, windows

HORIZON = 6
ETA = {"log_rate": -1.0, "target": 0.7}
KEY = jax.random.key(3)


def _problem():
    def update(learner, eta, batch):
        x, count = learner
        x = x - jnp.exp(eta["log_rate"]) * (x - eta["target"] - batch)
        return (x, count + 1), {"x": x}

    def collect(learner, eta, actor, key):
        # Data depend on the learner, as an agent's do; the meta-gradient must hold them constant.
        return actor + 1, jax.random.normal(key) + learner[0]

    return windows.InnerProblem(update, collect, lambda learner, batch: (learner[0] - batch) ** 2 / 2)


def _start():
    return windows.Position((jnp.float64(0.9), jnp.int32(0)), jnp.int32(0), jnp.float64(-0.4))


def _eta():
    return {name: jnp.float64(value) for name, value in ETA.items()}


def _closed_form():
    """Returns g_1, ..., g_n and the data, from the solution x_k = c^k x_0 + sum_j c^(k-1-j) alpha (target + tau_j)."""
    position, taus = _start(), [float(_start().batch)]
    for k in range(HORIZON):
        position, _ = windows.advance(_problem(), _eta(), position, jax.random.fold_in(KEY, k))
        taus.append(float(position.batch))
    alpha = np.exp(ETA["log_rate"])
    shrink, start = 1 - alpha, float(_start().learner_state[0])
    gradients = {"log_rate": [], "target": []}
    for k in range(1, HORIZON + 1):
        pulls = [(k - 1 - j, ETA["target"] + taus[j]) for j in range(k)]
        x = shrink**k * start + sum(shrink**m * alpha * pull for m, pull in pulls)
        by_alpha = -k * shrink ** (k - 1) * start + sum(
            (shrink**m - m * alpha * shrink ** (m - 1.0)) * pull for m, pull in pulls
        )
        gradients["log_rate"].append((x - taus[k]) * alpha * by_alpha)
        gradients["target"].append((x - taus[k]) * (1 - shrink**k))
    return {name: np.array(values) for name, values in gradients.items()}


pytestmark = pytest.mark.usefixtures("float64")


def test_forward_mode_equals_the_closed_form():
    gradients, _, _ = jax.jit(lambda eta: windows.horizon_gradients(_problem(), HORIZON, eta, _start(), KEY))(_eta())
    for name, expected in _closed_form().items():
        np.testing.assert_allclose(gradients[name], expected, rtol=1e-12)


@pytest.mark.parametrize("horizon", [1, 2, HORIZON])
def test_reverse_mode_equals_the_closed_form(horizon):
    gradient, _, _ = windows.meta_gradient(_problem(), estimators.multi_step(horizon), _eta(), _start(), KEY)
    for name, expected in _closed_form().items():
        np.testing.assert_allclose(gradient[name], expected[horizon - 1], rtol=1e-12)


@pytest.mark.parametrize(
    "weights", [estimators.mixing(HORIZON), estimators.mixing(4, 0.5), estimators.weighted([0, 2, 0, 1, 0])]
)
def test_any_weighting_is_that_average_of_horizons_in_both_modes(weights):
    reverse, _, _ = windows.meta_gradient(_problem(), weights, _eta(), _start(), KEY)
    gradients, _, _ = windows.horizon_gradients(_problem(), len(weights), _eta(), _start(), KEY)
    forward = windows.combine(weights, gradients)
    for name, expected in _closed_form().items():
        expected = np.dot(weights, expected[: len(weights)])
        np.testing.assert_allclose(reverse[name], expected, rtol=1e-12)
        np.testing.assert_allclose(forward[name], expected, rtol=1e-12)


def test_both_modes_end_where_plain_learning_ends():
    position = _start()
    xs = []
    for k in range(HORIZON):
        position, metrics = windows.advance(_problem(), _eta(), position, jax.random.fold_in(KEY, k))
        xs.append(metrics["x"])
    _, reverse, reverse_metrics = windows.meta_gradient(_problem(), estimators.mixing(HORIZON), _eta(), _start(), KEY)
    _, forward, forward_metrics = windows.horizon_gradients(_problem(), HORIZON, _eta(), _start(), KEY)
    for end in (reverse, forward):
        jax.tree.map(lambda left, right: np.testing.assert_allclose(left, right, rtol=1e-13), position, end)
    for metrics in (reverse_metrics, forward_metrics):
        np.testing.assert_allclose(metrics["x"], np.array(xs), rtol=1e-13)
    assert end.actor_state == end.learner_state[1] == HORIZON


@pytest.mark.parametrize(("horizon", "eps_root"), [(1, 0.0), (3, 1e-10)])
def test_a_gradient_that_is_always_zero_does_not_break_either_mode(horizon, eps_root):
    """The root in Adam has an infinite slope there, unless something is under it: one update never meets it."""
    optimizer = optax.scale_by_adam(eps_root=eps_root)

    def loss(weights, batch):
        return (jax.nn.relu(weights) @ jnp.ones(2) - batch) ** 2 / 2

    def update(learner, eta, batch):
        weights, state = learner
        direction, state = optimizer.update(jax.grad(loss)(weights, batch), state)
        return (weights - jnp.exp(eta["log_rate"]) * direction, state), {}

    problem = windows.InnerProblem(
        update,
        lambda learner, eta, actor, key: (actor, jax.random.normal(key)),
        lambda learner, batch: loss(learner[0], batch),
    )
    weights = jnp.array([0.5, -1.0])
    start = windows.Position((weights, optimizer.init(weights)), (), jnp.float64(2.0))
    eta = {"log_rate": jnp.float64(-2.0)}

    def last_loss(eta):
        position = start
        for k in range(horizon):
            position, _ = windows.advance(problem, eta, position, jax.random.fold_in(KEY, k))
        return problem.outer_loss(position.learner_state, position.batch)

    step = {"log_rate": jnp.float64(1e-6)}
    higher, lower = (last_loss(jax.tree.map(change, eta, step)) for change in (jnp.add, jnp.subtract))
    expected = (higher - lower) / 2e-6
    forward = windows.horizon_gradients(problem, horizon, eta, start, KEY)[0]["log_rate"][-1]
    reverse = windows.meta_gradient(problem, estimators.multi_step(horizon), eta, start, KEY)[0]["log_rate"]
    np.testing.assert_allclose([forward, reverse], expected, rtol=1e-7)
