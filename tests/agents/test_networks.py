import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import networks
from agents.networks import actor_critic_network
from envs.snake import Observation


@pytest.mark.parametrize(
    ("extent", "kernel_size", "stride"),
    [((2, 2), 2, 2), ((5, 6), 2, 1), ((5, 6), 3, 2), ((12, 7), 2, 3), ((12, 7), 3, 1), ((12, 7), 1, 2)],
)
def test_convolve_is_a_convolution(extent, kernel_size, stride):
    maps = jax.random.normal(jax.random.key(0), (3, *extent, 4))
    kernel = jax.random.normal(jax.random.key(1), (kernel_size, kernel_size, 4, 5))
    expected = jax.lax.conv_general_dilated(
        maps, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    convolved = jax.jit(networks.convolve, static_argnums=2)(maps, kernel, stride)
    np.testing.assert_allclose(convolved, expected, rtol=1e-4, atol=1e-5)


def test_patch_convolution_has_haikus_parameters_and_output():
    maps = jax.random.normal(jax.random.key(0), (3, 5, 6, 4))
    ours = hk.without_apply_rng(hk.transform(lambda maps: networks.PatchConv2D(7, 2, 2, name="conv")(maps)))
    haikus = hk.without_apply_rng(hk.transform(lambda maps: hk.Conv2D(7, 2, 2, name="conv")(maps)))
    params = ours.init(jax.random.key(1), maps)
    jax.tree.map(np.testing.assert_array_equal, params, haikus.init(jax.random.key(1), maps))
    np.testing.assert_allclose(ours.apply(params, maps), haikus.apply(params, maps), rtol=1e-4, atol=1e-5)


def _observations(*leading, mask=True):
    grid = jax.random.uniform(jax.random.key(2), (*leading, 6, 5, 5))
    return Observation(grid, jnp.full((*leading, 4), mask))


def _network(shared_torso=False):
    """A network as one program each for its parameters and what it says: op by op, much more is compiled."""
    network = actor_critic_network(4, 8, 16, 16, shared_torso)
    return networks.Network(jax.jit(network.init), jax.jit(network.apply))


@pytest.mark.parametrize("shared_torso", [False, True])
def test_predictions_have_the_leading_axes_of_the_observations(shared_torso):
    network = _network(shared_torso)
    params = network.init(jax.random.key(0), _observations(2))
    for leading in [(2,), (3, 2)]:
        predictions = network.apply(params, _observations(*leading))
        assert predictions.policy.logits.shape == (*leading, 4)
        assert predictions.value.shape == leading
    assert any("value_conv" in name for name in params) is not shared_torso


def test_separate_torsos_share_no_parameter():
    network = _network()
    observations = _observations(2)
    params = network.init(jax.random.key(0), observations)
    of_policy = jax.grad(lambda params: network.apply(params, observations).policy.logits.sum())(params)
    of_value = jax.grad(lambda params: network.apply(params, observations).value.sum())(params)
    for policy, value in zip(jax.tree.leaves(of_policy), jax.tree.leaves(of_value), strict=True):
        assert not (np.any(policy) and np.any(value))


def test_masked_actions_have_no_probability_and_no_nan():
    network = _network()
    observations = _observations(3)
    mask = jnp.array([[True, False, True, True], [False, False, False, True], [False] * 4])
    observations = observations._replace(action_mask=mask)
    params = network.init(jax.random.key(0), observations)

    def entropies(params):
        log_probabilities = jax.nn.log_softmax(network.apply(params, observations).policy.logits)
        return -jnp.sum(jnp.exp(log_probabilities) * log_probabilities, -1)

    probabilities = jax.nn.softmax(network.apply(params, observations).policy.logits)
    assert np.all(probabilities[:2][~mask[:2]] == 0.0)
    np.testing.assert_allclose(probabilities[2], 0.25)  # nothing is possible: any move ends the game
    assert np.all(np.isfinite(entropies(params)))
    gradient = jax.grad(lambda params: entropies(params).sum())(params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


def test_every_layer_is_rectified():
    """A reference of two convolutions, with biases that keep some units off."""
    network = _network()
    observations = _observations(3)
    params = network.init(jax.random.key(0), observations)
    params = jax.tree.map(lambda leaf: leaf - 0.1 if leaf.ndim == 1 else leaf, params)
    maps = observations.grid
    for stride in (2, 1):
        layer = params[f"value_conv_{stride}"]
        maps = jax.lax.conv_general_dilated(
            maps, layer["w"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        maps = np.maximum(maps + layer["b"], 0.0)
        assert 0.05 < np.mean(maps == 0.0) < 0.95
    features = maps.reshape(3, -1)
    heads = [params[f"value_head/~/linear_{number}"] for number in (0, 1)]
    hidden = np.maximum(features @ heads[0]["w"] + heads[0]["b"], 0.0)
    expected = hidden @ heads[1]["w"] + heads[1]["b"]
    np.testing.assert_allclose(network.apply(params, observations).value, expected[:, 0], rtol=1e-4, atol=1e-5)
