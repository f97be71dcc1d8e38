"""Agents and optimizers made from settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.config.estimators import BUILT_IN
from experiments.config.presets import PRESETS
from experiments.config.settings import Config
from experiments.config.validation import make_environment, validate
from experiments.runs.building import make_agent
from metagrad import estimators

INNER = {"discount": 0.5, "policy_cost": 1.5, "value_cost": 0.2, "entropy_cost": 0.04, "learning_rate": 0.3}
META = {"horizon": 3, "meta_learning_rate": 0.25, "meta_learning_rate_halving": 0, "meta_gradient_clip": 2.0}
SIZES = {"num_channels": 2, "policy_width": 3, "value_width": 5, "num_envs": 6, "rollout_length": 7}
GAME = {"board_size": "4x5", "time_limit": 77}
OTHERS = {"meta_params": ("lambda", "value_cost"), "lambda_": 0.6, "outer_discount": 0.8, "outer_lambda": 0.9}
UNUSUAL = Config(estimator="multi_step", **INNER, **META, **SIZES, **GAME, **OTHERS)
"""Differs from the defaults wherever a test could take a setting for another."""


def changed(**settings):
    return make_agent(dataclasses.replace(UNUSUAL, **settings))


def _widths(network, env):
    """Returns how many numbers each layer of a network gives."""
    params = jax.eval_shape(lambda key: network.init(key, env.observation(env.initial(key))), jax.random.key(0))
    return {name: leaves["w"].shape[-1] for name, leaves in params.items()}


def _steps(optimizer, gradients):
    """Returns an optimizer's steps from gradients that are given."""

    def update(state, gradient):
        step, state = optimizer.update(gradient, state)
        return state, step

    gradients = jnp.asarray(gradients)
    return jax.lax.scan(update, optimizer.init(jnp.zeros_like(gradients[0])), gradients)[1]


def test_the_agent_is_what_its_settings_say():
    agent = make_agent(UNUSUAL)
    assert (agent.env.num_rows, agent.env.num_cols, agent.env.time_limit) == (4, 5, 77)
    assert (agent.num_envs, agent.rollout_length) == (6, 7)
    geometric = changed(estimator="mixing", mixing_decay=0.5, mixing_weights="geometric")
    for weighted, weights in (
        (agent, estimators.multi_step(3)),
        (changed(estimator="mixing", mixing_decay=0.5), estimators.mixing(3)),
        (geometric, estimators.mixing(3, 0.5)),
    ):
        assert weighted.estimator.estimate.args == (weights,)
        assert weighted.estimator[:2] == (3, 3)
    assert {name: hyper.initial for name, hyper in agent.tuning.hyperparameters.items()} == INNER | {"lambda": 0.6}
    assert agent.tuning.tuned == ("lambda", "value_cost")
    widths = _widths(agent.network, agent.env)
    assert widths["policy_conv_2"] == widths["value_conv_1"] == 2
    assert (widths["policy_head/~/linear_0"], widths["value_head/~/linear_0"]) == (3, 5)
    assert "shared_conv_2" in _widths(changed(shared_torso=True).network, agent.env)
    nothing = make_agent(UNUSUAL.with_estimator("none"))
    assert (nothing.estimator, nothing.tuning.tuned) == (None, ())
    assert nothing.outer_critic is None
    assert (agent.exact_targets, changed(exact_targets=False).exact_targets) == (True, False)


def test_the_outer_loss_has_settings_and_a_critic_of_its_own():
    agent = make_agent(UNUSUAL)
    always = {"discount": 0.8, "lambda": 0.9, "policy_cost": 1.0}
    assert agent.outer_hyperparameters == always
    more = changed(outer_value_cost=0.3, outer_entropy_cost=0.02).outer_hyperparameters
    assert more == always | {"value_cost": 0.3, "entropy_cost": 0.02}
    widths = _widths(agent.outer_critic.network, agent.env)
    assert (widths["value_conv_2"], widths["value_head/~/linear_0"]) == (2, 5)
    assert changed(outer_critic=False).outer_critic is None


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_optimizers_are_those_of_the_flags(name):
    agent = changed(optimizer=name)
    # A gradient and one of zero, after which Adam goes on by its momentum; and one as small as they are on Snake, whose
    # step a term under the root that is too large would shorten. The published RMSProp's is 1e-8.
    going_on = (0.9 * 0.1 / (1 - 0.9**2)) / np.sqrt(0.999 * 0.001 / (1 - 0.999**2))
    expected = {"adam": [1.0, going_on, 1.0], "rmsprop": [np.sqrt(1 / 0.1), 0.0, 1 / np.sqrt(0.1 + 1.0)]}[name]
    for optimizer, scale in ((agent.optimizer, 1.0), (agent.outer_critic.optimizer, -0.3)):
        steps = [*_steps(optimizer, [2.0, 0.0]), *_steps(optimizer, [1e-4])]
        np.testing.assert_allclose(steps, scale * np.array(expected), rtol=0.01)


def test_the_meta_optimizer_is_adam_on_clipped_gradients():
    gradients = np.array([[30.0, -40.0], [0.3, 0.4]])
    first, second = np.array([1.2, -1.6]), gradients[1]  # of length 2, to which the first is clipped
    mean = (0.09 * first + 0.1 * second) / (1 - 0.9**2)
    square = (0.000999 * first**2 + 0.001 * second**2) / (1 - 0.999**2)
    expected = [-0.25 * np.sign(first), -0.25 * mean / np.sqrt(square)]
    np.testing.assert_allclose(_steps(make_agent(UNUSUAL).meta_optimizer, gradients), expected, rtol=1e-3)
    np.testing.assert_allclose(_steps(make_agent(UNUSUAL).meta_optimizer, [[1e-4]]), [[-0.25]], rtol=0.01)


@pytest.mark.parametrize(("estimator", "meta_updates"), [("single_step", 12), ("mixing", 3)])
def test_the_meta_learning_rate_falls_by_inner_updates(estimator, meta_updates):
    """Adam's steps along a gradient that stays the same are as long as its learning rate."""
    for halving, expected in ((12, [0.5, 0.25, 0.5 / 3]), (0, [0.5] * 3)):
        rate = {"meta_learning_rate": 0.5, "meta_learning_rate_halving": halving}
        optimizer = make_agent(Config(estimator=estimator, horizon=4, **rate)).meta_optimizer
        steps = _steps(optimizer, [-0.3] * (2 * meta_updates + 1))
        np.testing.assert_allclose(steps[::meta_updates], expected, rtol=1e-4)


def test_presets_are_valid_for_every_estimator():
    for preset in PRESETS.values():
        for estimator in BUILT_IN[:-1]:  # the last has three times the rollouts, which no preset was made for
            validate(dataclasses.replace(Config(**preset), estimator=estimator))


def test_without_an_action_mask_the_agent_sees_the_maps_alone():
    told, untold = (make_environment(Config(action_mask=mask)) for mask in (True, False))
    state = told.initial(jax.random.key(0))
    np.testing.assert_array_equal(untold.observation(state), told.observation(state).grid)
