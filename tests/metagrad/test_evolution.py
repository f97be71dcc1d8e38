"""Evolution strategies, held against two problems whose truth is known.

The first is linear with a quadratic outcome, so the estimates are unbiased at any scale: a vector `x` is pulled towards
`eta["target"]` plus data that depend on where the learner is, which a horizon gradient would hold constant,

    x_{k+1} = x_k + RATE (target + tau_k - x_k),    tau_k ~ N(COUPLING x_k, 1) for k > 0,    f(x) = -|x - GOAL|^2 / 2.

The second is the tabular study, where `agents.tabular.return_gradients` is exact.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import actor_critic
from agents import tabular as agent_tabular
from agents.agent import inner_problem
from envs import tabular
from metagrad import evolution, hyperparameters, windows

KEY = jax.random.key(7)
HORIZONS = (1, 2, 5)
RATE, COUPLING = 0.4, 0.5
GOAL = np.array([2.0, -1.0])
TARGET = np.array([0.5, 0.1])


pytestmark = pytest.mark.usefixtures("float64")


def _problem():
    def update(x, eta, batch):
        return x + RATE * (eta["target"] + batch - x), {}

    def collect(x, eta, actor, key):
        return actor, COUPLING * x + jax.random.normal(key, x.shape)

    return windows.InnerProblem(update, collect, lambda x, batch: jnp.zeros(()))


def _outcome(x, key):
    del key
    return -jnp.sum((x - GOAL) ** 2) / 2


def _of_position(evaluate, position, key):
    return evaluate(position.learner_state, key)


def _estimates(keys, evaluate=_outcome, problem=None, horizons=HORIZONS, scale=0.5, target=TARGET):
    """Returns the estimates for a key, or for keys with a leading axis; float [..., horizons, 2]."""
    problem = problem or _problem()
    start = windows.Position(jnp.zeros(2), (), jnp.ones(2))
    eta = {"target": jnp.asarray(target)}

    def estimate(key):
        of_position = functools.partial(_of_position, evaluate)
        return evolution.lifetime_gradients(problem, of_position, horizons, scale, eta, start, key)["target"]

    return jax.jit(estimate if keys.ndim == 0 else jax.vmap(estimate))(keys)


def _exact(horizons):
    """Returns the means of x_k and their derivatives in the target, [K, 2] and [K]."""
    x, slope, means, slopes = np.zeros(2), 0.0, [], []
    for k in range(max(horizons)):
        tau, tau_slope = (np.ones(2), 0.0) if k == 0 else (COUPLING * x, COUPLING * slope)
        x, slope = x + RATE * (TARGET + tau - x), slope + RATE * (1.0 + tau_slope - slope)
        means.append(x)
        slopes.append(slope)
    chosen = np.array(horizons) - 1
    return np.array(means)[chosen], np.array(slopes)[chosen]


def _assert_means(samples, exact, name=""):
    """Asserts that the means over the leading axis are the exact values within four standard errors."""
    samples = np.asarray(samples)
    errors = samples.std(0) / np.sqrt(len(samples))
    assert np.all(np.abs(samples.mean(0) - exact) <= 4 * errors), name
    assert np.all(8 * errors < np.abs(exact)), name  # so that half as much again could not pass


def test_a_quadratic_outcomes_gradient_is_unbiased_at_any_scale():
    samples = _estimates(jax.random.split(KEY, 40_000), scale=2.0)
    means, slopes = _exact(HORIZONS)
    _assert_means(samples, (GOAL - means) * slopes[:, None])


def test_a_cubic_outcomes_bias_is_what_smoothing_says():
    # E[d/dx (x + s e)^3] = 3 x^2 + 3 s^2, with x_1 = RATE (target + 1) and so a perturbation of RATE times the scale.
    samples = _estimates(jax.random.split(KEY, 40_000), lambda x, key: jnp.sum(x**3), horizons=(1,), scale=2.0)
    means, slopes = _exact((1,))
    _assert_means(samples, 3 * slopes[:, None] * (means**2 + (RATE * 2.0) ** 2))


def test_one_pair_of_a_linear_outcome_is_exact_along_its_direction():
    # One pair says `(slope . direction) direction` for each horizon, so the horizons' ratios are free of all noise.
    estimates = _estimates(KEY, lambda x, key: x @ GOAL, horizons=(1, 2, 3, 7))
    slopes = _exact((1, 2, 3, 7))[1]
    np.testing.assert_allclose(estimates / estimates[:1], np.outer(slopes / slopes[0], [1.0, 1.0]), rtol=1e-10)


def test_randomness_is_common_to_both_lifetimes():
    still = _problem()._replace(update=lambda x, eta, batch: (x + batch, {}))
    for evaluate, problem in (
        (lambda x, key: jax.random.normal(key), _problem()),  # the evaluation's
        (_outcome, still),  # the data's, which eta does not move
    ):
        np.testing.assert_array_equal(_estimates(KEY, evaluate, problem), np.zeros((3, 2)))


def test_pairs_are_antithetic():
    # Even in eta about where eta is: both lifetimes reach the same outcome, to the bit.
    copy = _problem()._replace(update=lambda x, eta, batch: (eta["target"], {}))
    even = _estimates(KEY, lambda x, key: jnp.sum(x**2), copy, target=np.zeros(2))
    np.testing.assert_array_equal(even, np.zeros((3, 2)))


def test_directions_are_independent_of_the_data():
    # Antithesis hides odd moments; were the directions the data's own noise, these means would be 3.
    scaled = windows.InnerProblem(
        update=lambda x, eta, batch: (eta["target"] * batch**2, {}),
        collect=lambda x, eta, actor, key: (actor, jax.random.normal(key, (2,))),
        outer_loss=_problem().outer_loss,
    )
    keys = jax.random.split(KEY, 20_000)
    _assert_means(_estimates(keys, lambda x, key: jnp.sum(x), scaled, horizons=(2,))[:, 0], 1.0)


def test_keys_are_the_windows_and_each_evaluations_own():
    used = {"data": [], "evaluation": []}

    def record(purpose, key):
        jax.debug.callback(lambda data: used[purpose].append(tuple(np.asarray(data))), jax.random.key_data(key))

    def collect(x, eta, actor, key):
        record("data", key)
        return _problem().collect(x, eta, actor, key)

    def evaluate(x, key):
        record("evaluation", key)
        return jnp.sum(x)

    horizons = (2, 3, 6)
    _estimates(KEY, evaluate, _problem()._replace(collect=collect), horizons).block_until_ready()
    jax.effects_barrier()
    window = [tuple(np.asarray(jax.random.key_data(jax.random.fold_in(KEY, k)))) for k in range(6)]
    assert sorted(used["data"]) == sorted(window * 2)
    # Two lifetimes, and no evaluation at any other horizon.
    assert len(used["evaluation"]) == 2 * len(horizons)
    assert len(set(used["evaluation"])) == len(horizons)
    assert not set(used["evaluation"]) & set(window)


def test_a_horizons_estimate_does_not_depend_on_the_others():
    def noisy(x, key):
        return jnp.sum(x) * jax.random.normal(key)

    together = _estimates(KEY, noisy, horizons=(1, 3, 4))
    np.testing.assert_allclose(_estimates(KEY, noisy, horizons=(3,))[0], together[1], rtol=1e-12)


def test_meta_parameters_keep_their_structure_and_may_be_mapped_over_in_any_way():
    eta = {"rate": jnp.float32(-1.0), "targets": jnp.ones((2, 3), jnp.float32)}

    def update(x, eta, batch):
        return x + jax.nn.sigmoid(eta["rate"]) * (jnp.sum(eta["targets"]) + batch - x), {}

    def collect(x, eta, actor, key):
        return actor, x + jax.random.normal(key, dtype=jnp.float32)

    problem = windows.InnerProblem(update, collect, lambda x, batch: x)
    start = windows.Position(jnp.float32(0.3), (), jnp.float32(1.0))

    def estimate(key):
        return evolution.lifetime_gradients(
            problem, lambda here, key: here.learner_state, HORIZONS, 0.1, eta, start, key
        )

    keys = jax.random.split(KEY, 4)
    mapped, vmapped = jax.lax.map(estimate, keys), jax.vmap(estimate)(keys)
    for name, leaf in eta.items():
        assert mapped[name].shape == (4, len(HORIZONS), *leaf.shape)
        assert mapped[name].dtype == jnp.float32
        np.testing.assert_allclose(mapped[name], vmapped[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("horizons", [(), (0, 1), (2, 1), (1, 1), (-1,)])
def test_impossible_horizons_are_refused(horizons):
    with pytest.raises(ValueError, match="horizons must be positive and increasing"):
        _estimates(KEY, horizons=horizons)


@pytest.mark.parametrize("scale", [0.0, -0.1, np.inf, np.nan])
def test_an_impossible_scale_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be positive"):
        _estimates(KEY, scale=scale)


def _study(num_envs):
    agent = agent_tabular.study_agent(num_envs)
    learner = actor_critic.init(agent.network, agent.optimizer, jnp.eye(agent.env.num_states), KEY)
    return agent, learner, jnp.asarray(agent.env.start), hyperparameters.initial_meta_parameters(agent.tuning)


@functools.cache
def _return_gradients():
    gradients = agent_tabular.truth(*_study(1), max(HORIZONS)).return_gradients
    return {name: leaf[np.array(HORIZONS) - 1] for name, leaf in gradients.items()}


def _discounted_return(agent, position, key):
    del key
    policy = jax.nn.softmax(position.learner_state.params["policy"]["table"])
    return tabular.discounted_return(agent.env, policy, agent.outer_hyperparameters["discount"])


# At a scale of 0.1 smoothing moves these gradients by less than half a percent, lambda's at horizon 5 by 3 percent.


def test_exact_updates_estimates_agree_with_the_return_gradients():
    agent, learner, states, eta = _study(1)
    start = agent_tabular.exact_start(agent, learner, states)
    estimate = functools.partial(
        evolution.lifetime_gradients,
        agent_tabular.exact_problem(agent),
        functools.partial(_discounted_return, agent),
        HORIZONS,
        0.1,
        eta,
        start,
    )
    samples = jax.jit(jax.vmap(estimate))(jax.random.split(KEY, 10_000))
    for name, exact in _return_gradients().items():
        _assert_means(samples[name], exact, name)


def test_online_the_mean_is_minus_the_outcomes_slope_and_life_goes_on_unperturbed():
    # The last batch moves with eta as the learner before it does; what was expected at the start cancels in a pair.
    problem = _problem()._replace(outcome=lambda start: lambda batch: (batch - start.batch) @ GOAL)
    start, eta = windows.Position(jnp.zeros(2), (), jnp.ones(2)), {"target": jnp.asarray(TARGET)}
    estimator = evolution.evolution_strategies(3, scale=0.5, pairs=2)
    assert estimator[:2] == (3, 15)
    keys = jax.random.split(KEY, 10_000)
    gradients, ends, _ = jax.jit(jax.vmap(functools.partial(estimator.estimate, problem, eta, start)))(keys)
    _, slopes = _exact((3,))
    _assert_means(gradients["target"], -COUPLING * slopes[0] * GOAL)
    means, _ = _exact((3,))
    _assert_means(ends.learner_state, means[0])


def test_online_the_agents_outcome_rises_where_the_true_return_does():
    """Walking to the chain's end takes more steps than stopping, and an untrained critic expects nothing of either."""
    agent, learner, states, eta = _study(64)
    estimator = evolution.evolution_strategies(5, scale=0.1)

    def estimate(key):
        start_key, window_key = jax.random.split(key)
        start = agent_tabular.sampled_start(agent, learner, states, start_key)
        return estimator.estimate(inner_problem(agent), eta, start, window_key)[0]["discount"]

    samples = np.asarray(jax.jit(jax.vmap(estimate))(jax.random.split(KEY, 400)))
    assert _return_gradients()["discount"][-1] > 0.0
    assert samples.mean() < -4 * samples.std() / np.sqrt(len(samples))
