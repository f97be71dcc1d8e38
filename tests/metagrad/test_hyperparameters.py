import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.hyperparameters import BIJECTIONS, actor_critic_hyperparameters
from metagrad import hyperparameters

INITIAL = {
    "discount": 0.97,
    "lambda": 0.9,
    "policy_cost": 1.0,
    "value_cost": 0.5,
    "entropy_cost": 0.01,
    "learning_rate": 1e-3,
}
UNIT = ["discount", "lambda"]
POSITIVE = sorted(set(BIJECTIONS) - set(UNIT))


@settings(max_examples=25)  # each compiles
@given(discount=st.floats(1e-6, 1 - 1e-6), cost=st.floats(1e-20, 1e20))
def test_initial_values_map_to_themselves_exactly(discount, cost):
    initial = dict.fromkeys(UNIT, discount) | dict.fromkeys(POSITIVE, cost)
    tuning = hyperparameters.tune(actor_critic_hyperparameters(initial), list(BIJECTIONS))
    eta = hyperparameters.initial_meta_parameters(tuning)
    for values in (_values(tuning, eta), jax.jit(lambda eta: _values(tuning, eta))(eta)):
        for name in BIJECTIONS:
            assert values[name] == np.float32(initial[name]), name


def test_what_is_not_tuned_stays():
    tuning = hyperparameters.tune(actor_critic_hyperparameters(INITIAL), ["discount"])
    values = _values(tuning, {"discount": jnp.float32(1.0)})
    assert values["discount"] > INITIAL["discount"]
    for name in set(BIJECTIONS) - {"discount"}:
        assert values[name] == np.float32(INITIAL[name])


@given(eta=st.floats(-1e30, 1e30))
def test_values_stay_inside_their_open_interval(eta):
    tuning = hyperparameters.tune(actor_critic_hyperparameters(INITIAL), list(BIJECTIONS))
    values = _values(tuning, dict.fromkeys(BIJECTIONS, jnp.float32(eta)))
    for name, bijection in BIJECTIONS.items():
        assert bijection.low < values[name] < bijection.high


@pytest.mark.parametrize("eta", [-3.0, 0.5, 4.0])
def test_equations(eta):
    with jax.enable_x64(True):
        tuning = hyperparameters.tune(actor_critic_hyperparameters(INITIAL), list(BIJECTIONS))
        values = _values(tuning, dict.fromkeys(BIJECTIONS, jnp.float64(eta)))
        for name in UNIT:
            log_odds = np.log(INITIAL[name] / (1 - INITIAL[name])) + eta
            np.testing.assert_allclose(values[name], 1 / (1 + np.exp(-log_odds)), rtol=1e-12)
        for name in POSITIVE:
            np.testing.assert_allclose(values[name], INITIAL[name] * np.exp(eta), rtol=1e-12)


@pytest.mark.parametrize("eta", [-30.0, -12.0, 0.0, 3.0, 12.0, 16.0, 30.0])
def test_derivatives_near_the_ends_keep_their_digits(eta):
    """In single precision, where one minus the value has lost some digits, or all."""
    tuning = hyperparameters.tune(actor_critic_hyperparameters(INITIAL), list(BIJECTIONS))
    for name in UNIT:
        slope = jax.grad(lambda eta, name=name: _values(tuning, dict.fromkeys(BIJECTIONS, eta))[name])(jnp.float32(eta))
        log_odds = np.log(INITIAL[name] / (1 - INITIAL[name])) + eta
        expected = 1 / (1 + np.exp(-log_odds)) / (1 + np.exp(log_odds))
        np.testing.assert_allclose(slope, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("changed", "tuned", "message"),
    [
        ({"discount": 1.5}, [], r"discount must be in \(0, 1\), got 1.5"),
        ({"discount": 1.0}, ["discount"], r"discount must be in \(0, 1\), got 1.0"),
        ({"value_cost": -0.1}, [], r"value_cost must be in \(0, inf\)"),
        ({"learning_rate": float("inf")}, [], "learning_rate must be in"),
        ({"entropy_cost": 0.0}, ["entropy_cost"], "entropy_cost must be in"),
        ({"temperature": 1.0}, [], "initial must have the names"),
        ({}, ["temperature"], "tuned must be among discount, lambda, .*; got 'temperature'"),
        ({}, ["lambda", "lambda"], "must not repeat"),
    ],
)
def test_impossible_descriptions_are_refused(changed, tuned, message):
    with pytest.raises(ValueError, match=message):
        hyperparameters.tune(actor_critic_hyperparameters(INITIAL | changed), tuned)


def test_fixed_values_may_lie_on_an_end():
    tuning = hyperparameters.tune(
        actor_critic_hyperparameters(INITIAL | {"entropy_cost": 0.0, "lambda": 1.0}), ["discount"]
    )
    values = _values(tuning, hyperparameters.initial_meta_parameters(tuning))
    assert values["entropy_cost"] == 0.0
    assert values["lambda"] == 1.0


def _values(tuning, eta):
    return hyperparameters.hyperparameters(tuning, eta)
