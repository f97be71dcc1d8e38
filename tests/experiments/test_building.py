"""Agents and optimizers made from settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from miniature import UNUSUAL

from experiments.config import settings as config_lib
from experiments.config import validation
from experiments.config.settings import Config
from experiments.runs.building import make_agent
from metagrad import estimators


def _shapes(network, env):
    """Returns the shapes of a network's parameters, without computing any."""
    observation = jax.eval_shape(
        jax.vmap(env.observation), jax.vmap(env.initial)(jax.random.split(jax.random.key(0), 1))
    )
    params = jax.eval_shape(network.init, jax.random.key(0), observation)
    return {name: leaves["w"].shape for name, leaves in params.items()}


def _steps(optimizer, gradients):
    """Returns an optimizer's steps from gradients that are given."""
    state = optimizer.init(jnp.zeros_like(jnp.asarray(gradients[0])))
    steps = []
    for gradient in gradients:
        step, state = optimizer.update(jnp.asarray(gradient), state)
        steps.append(np.asarray(step))
    return np.array(steps)


def test_the_agent_is_what_its_settings_say():
    agent = make_agent(UNUSUAL)
    assert (agent.env.num_rows, agent.env.num_cols, agent.env.time_limit) == (4, 5, 77)
    assert (agent.num_envs, agent.rollout_length) == (6, 7)
    assert agent.weights == estimators.multi_step(3)
    mixing = dataclasses.replace(UNUSUAL, estimator="mixing", mixing_decay=0.5)
    assert make_agent(mixing).weights == estimators.mixing(3)
    geometric = dataclasses.replace(mixing, mixing_weights="geometric")
    assert make_agent(geometric).weights == estimators.mixing(3, 0.5)
    assert agent.tuning.tuned == ("lambda", "value_cost")
    assert agent.tuning.initial == {
        "discount": 0.5,
        "lambda": 0.6,
        "policy_cost": 1.5,
        "value_cost": 0.2,
        "entropy_cost": 0.04,
        "learning_rate": 0.3,
    }
    shapes = _shapes(agent.network, agent.env)
    assert shapes["policy_conv_2"][-1] == shapes["value_conv_1"][-1] == 2
    assert shapes["policy_head/~/linear_0"][-1] == 3
    assert shapes["value_head/~/linear_0"][-1] == 5
    assert "shared_conv_2" in _shapes(make_agent(dataclasses.replace(UNUSUAL, shared_torso=True)).network, agent.env)
    nothing = make_agent(UNUSUAL.with_estimator("none"))
    assert nothing.weights == nothing.tuning.tuned == ()
    assert nothing.outer_critic is None


def test_the_outer_loss_has_settings_of_its_own():
    always = {"discount": 0.8, "lambda": 0.9, "policy_cost": 1.0}
    assert make_agent(UNUSUAL).outer_hyperparameters == always
    costs = {"outer_value_cost": 0.3, "outer_entropy_cost": 0.02}
    more = make_agent(dataclasses.replace(UNUSUAL, **costs)).outer_hyperparameters
    assert more == always | {"value_cost": 0.3, "entropy_cost": 0.02}
    assert make_agent(dataclasses.replace(UNUSUAL, outer_critic=False)).outer_critic is None
    assert make_agent(UNUSUAL).exact_targets
    assert not make_agent(dataclasses.replace(UNUSUAL, exact_targets=False)).exact_targets
    critic = make_agent(UNUSUAL).outer_critic
    shapes = _shapes(critic.network, make_agent(UNUSUAL).env)
    assert (shapes["value_conv_2"][-1], shapes["value_head/~/linear_0"][-1]) == (2, 5)


def test_optimizers_are_those_of_the_flags():
    # After one gradient, a gradient of zero: Adam goes on by its momentum, RMSProp stops.
    going_on = (0.9 * 0.1 / (1 - 0.9**2)) / np.sqrt(0.999 * 0.001 / (1 - 0.999**2))
    # RMSProp's mean square starts at zero, of which it keeps 0.9.
    for name, first, second in (("adam", 1.0, going_on), ("rmsprop", np.sqrt(1 / 0.1), 0.0)):
        agent = make_agent(dataclasses.replace(UNUSUAL, optimizer=name))
        np.testing.assert_allclose(_steps(agent.optimizer, [[2.0], [0.0]])[:, 0], [first, second], rtol=1e-3)
        critic_steps = _steps(agent.outer_critic.optimizer, [[2.0], [0.0]])[:, 0]
        np.testing.assert_allclose(critic_steps, [-0.3 * first, -0.3 * second], rtol=1e-3)


@pytest.mark.parametrize(("name", "expected"), [("adam", 1.0), ("rmsprop", 1 / np.sqrt(0.1 + 1.0))])
def test_small_gradients_make_steps_as_long_as_they_should(name, expected):
    """A term under the root that is too large would shorten them, and meta-gradients of 1e-4 are usual on Snake.

    The published RMSProp's is as large as such a gradient's square.
    """
    agent = make_agent(dataclasses.replace(UNUSUAL, optimizer=name))
    steps = {agent.optimizer: expected, agent.outer_critic.optimizer: -0.3 * expected, agent.meta_optimizer: -0.25}
    for optimizer, step in steps.items():
        np.testing.assert_allclose(_steps(optimizer, [[1e-4]]), [[step]], rtol=0.01)


def test_the_meta_optimizer_is_adam_on_clipped_gradients():
    gradients = np.array([[30.0, -40.0], [0.3, 0.4]])
    first, second = [1.2, -1.6] * np.ones(2), gradients[1]  # of length 2, to which the first is clipped
    mean = (0.09 * first + 0.1 * second) / (1 - 0.9**2)
    square = (0.000999 * first**2 + 0.001 * second**2) / (1 - 0.999**2)
    expected = [-0.25 * np.sign(first), -0.25 * mean / np.sqrt(square)]
    np.testing.assert_allclose(_steps(make_agent(UNUSUAL).meta_optimizer, gradients), expected, rtol=1e-3)


@pytest.mark.parametrize(("estimator", "meta_updates"), [("single_step", 12), ("mixing", 3)])
def test_the_meta_learning_rate_falls_by_inner_updates(estimator, meta_updates):
    """Adam's steps along a gradient that stays the same are as long as its learning rate."""
    config = Config(estimator=estimator, horizon=4, meta_learning_rate=0.5, meta_learning_rate_halving=12)
    for halving, expected in ((12, [0.5, 0.25, 0.5 / 3]), (0, [0.5] * 3)):
        optimizer = make_agent(dataclasses.replace(config, meta_learning_rate_halving=halving)).meta_optimizer
        eta = {"discount": jnp.float32(0.0)}
        state, steps = optimizer.init(eta), []
        for _ in range(2 * meta_updates + 1):
            step, state = optimizer.update({"discount": jnp.float32(-0.3)}, state, eta)
            steps.append(float(step["discount"]))
        np.testing.assert_allclose(steps[::meta_updates], expected, rtol=1e-4)


def test_presets_are_valid_for_every_estimator():
    for preset in config_lib.PRESETS.values():
        for estimator in config_lib.ESTIMATORS:
            validation.validate(dataclasses.replace(Config(**preset), estimator=estimator))


def test_without_an_action_mask_the_agent_sees_the_maps_alone():
    told, untold = (validation.make_environment(Config(action_mask=mask)) for mask in (True, False))
    state = told.initial(jax.random.key(0))
    np.testing.assert_array_equal(untold.observation(state), told.observation(state).grid)
