"""The networks: a torso that fits the observation, a policy head, whose actions may be masked, value heads.

An observation is an array, or anything with two fields: `grid`, such an array, and `action_mask`, bool [A]. The array's
number of axes says what it is: [rows, columns, channels] and [rows, columns] are grids, for convolutions; [features] is
a vector, for a layer of units. Bytes, uint8, are pixels, which become numbers in [0, 1]; all other numbers stay as they
are. For anything else there is a `Network` of your own.

The convolutions are written as products of matrices. Under `jax.vmap` over seeds an ordinary convolution becomes a
grouped one, which is slower, and inside a loop XLA's CPU convolution falls back to a path that is slower by far.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp

from agents.policies import Categorical, Gaussian

MASKED_LOGIT = -1e9
"""Logit of an action that is forbidden: probability zero, yet finite, so that entropies and gradients have no NaN."""


class Predictions(NamedTuple):
    """What the network says of a batch of observations.

    Attributes:
      policy: a `policies.Policy`, a tuple of arrays [..., D].
      value: float [...], the expected return.
    """

    policy: Any
    value: chex.Array


class Network(NamedTuple):
    """A pair of pure functions.

    Attributes:
      init: from (key, observations [N, ...]) to parameters.
      apply: from (parameters, observations [..., *one observation's shape]) to `Predictions`.
    """

    init: Callable[[chex.PRNGKey, Any], hk.Params]
    apply: Callable[[hk.Params, Any], Predictions]


class ValueNetwork(NamedTuple):
    """A pair of pure functions.

    Attributes:
      init: from (key, observations [N, ...]) to parameters.
      apply: from (parameters, observations [..., *one observation's shape]) to values, float [...].
    """

    init: Callable[[chex.PRNGKey, Any], hk.Params]
    apply: Callable[[hk.Params, Any], chex.Array]


class PatchConv2D(hk.Module):
    """`hk.Conv2D` with `SAME` padding (same parameters, same output) as products of matrices."""

    def __init__(self, output_channels: int, kernel_size: int, stride: int, name: str | None = None) -> None:
        super().__init__(name=name)
        self.output_channels = output_channels
        self.kernel_size = kernel_size
        self.stride = stride

    def __call__(self, maps: chex.Array) -> chex.Array:
        """Convolves feature maps.

        Args:
          maps: float [N, H, W, C].

        Returns:
          float [N, ceil(H / stride), ceil(W / stride), output_channels].
        """
        chex.assert_rank(maps, 4)
        size, stride, channels = self.kernel_size, self.stride, maps.shape[-1]
        fan_in = size * size * channels
        kernel_shape = (size, size, channels, self.output_channels)
        kernel = hk.get_parameter("w", kernel_shape, maps.dtype, hk.initializers.TruncatedNormal(fan_in**-0.5))
        bias = hk.get_parameter("b", (self.output_channels,), maps.dtype, jnp.zeros)

        return convolve(maps, kernel, stride) + bias


def convolve(maps: chex.Array, kernel: chex.Array, stride: int) -> chex.Array:
    """Convolves with `SAME` padding, as products of two matrices.

    Blocks of stride×stride cells become the channels of one, which leaves a convolution of stride one with fewer taps.
    Its taps along a row are gathered before the product; those along a column are added up after it.

    Args:
      maps: float [N, H, W, C].
      kernel: float [K, K, C, D].
      stride: of both axes.

    Returns:
      float [N, ceil(H / stride), ceil(W / stride), D].
    """
    size, _, channels, outputs = kernel.shape
    rows, cols = (-(-extent // stride) for extent in maps.shape[1:3])
    low, high = zip(*(_block_padding(extent, size, stride) for extent in maps.shape[1:3]), strict=True)
    padded = jnp.pad(maps, [(0, 0), (low[0], high[0]), (low[1], high[1]), (0, 0)])
    block_rows, block_cols = (extent // stride for extent in padded.shape[1:3])
    blocks = padded.reshape(-1, block_rows, stride, block_cols, stride, channels).swapaxes(2, 3)
    blocks = blocks.reshape(-1, block_rows, block_cols, stride * stride * channels)

    taps = -(-size // stride)
    excess = taps * stride - size
    block_kernel = jnp.pad(kernel, [(0, excess), (0, excess), (0, 0), (0, 0)])
    block_kernel = block_kernel.reshape(taps, stride, taps, stride, channels, outputs).swapaxes(1, 2)

    strips = jnp.concatenate([_window(blocks, 2, tap, cols) for tap in range(taps)], axis=-1)
    # Plain products of two matrices: with more axes, XLA copies a transposed operand for the kernel's gradient.
    flat_strips = strips.reshape(-1, strips.shape[-1])
    products = [flat_strips @ row_kernel.reshape(-1, outputs) for row_kernel in block_kernel]
    shifted = [
        _window(product.reshape(-1, block_rows, cols, outputs), 1, tap, rows) for tap, product in enumerate(products)
    ]
    return sum(shifted[1:], shifted[0])


def _window(maps: chex.Array, axis: int, start: int, size: int) -> chex.Array:
    """Takes `size` entries of an axis from `start` on, zeros behind its end.

    As one `pad` with negative widths: its derivatives of any order are pads as well, which XLA fuses.
    """
    widths = [(0, 0, 0)] * maps.ndim
    widths[axis] = (-start, start + size - maps.shape[axis], 0)
    return jax.lax.pad(maps, jnp.zeros((), maps.dtype), widths)


def _block_padding(extent: int, size: int, stride: int) -> tuple[int, int]:
    """Returns the padding of one axis: TensorFlow's `SAME` padding in front, up to a whole block behind."""
    low = max((-(-extent // stride) - 1) * stride + size - extent, 0) // 2
    return low, -(low + extent) % stride


def actor_critic_network(
    num_actions: int,
    num_channels: int,
    policy_width: int,
    value_width: int,
    shared_torso: bool = False,
    dtype: Any = float,
    num_axes: int = 3,
    hidden_layers: int = 1,
    continuous: bool = False,
) -> Network:
    """Builds the network: torsos and heads.

    The torso of a grid is two 2×2 convolutions (strides 2 and 1), that of a vector a layer as wide as the head's.

    Args:
      num_actions: A, the number of discrete actions, or of the real numbers that an action has.
      num_channels: channels of each convolution; of no effect on a vector.
      policy_width: units of each hidden layer of the policy head.
      value_width: units of each hidden layer of the value head.
      shared_torso: whether policy and value share one torso; by default each has its own.
      dtype: of the parameters and everything computed with them; by default JAX's float, of the precision that it has.
      num_axes: of one observation's array; see `observation_axes`.
      hidden_layers: of each head.
      continuous: whether an action is real numbers: a Gaussian policy, whose deviations are parameters, 1 at first.

    Returns:
      The network. Where an observation has an action mask, what it forbids has probability zero.
    """

    def forward(observation: Any) -> Predictions:
        inputs = _numbers(observation, dtype)
        policy_features = _torso("shared" if shared_torso else "policy", num_channels, policy_width)(inputs)
        value_features = policy_features if shared_torso else _torso("value", num_channels, value_width)(inputs)
        logits = hk.nets.MLP([policy_width] * hidden_layers + [num_actions], name="policy_head")(policy_features)
        value = hk.nets.MLP([value_width] * hidden_layers + [1], name="value_head")(value_features)
        if continuous:
            log_std = hk.get_parameter("log_std", (num_actions,), logits.dtype, jnp.zeros)
            policy: Any = Gaussian(logits, jnp.broadcast_to(log_std, logits.shape))
        else:
            policy = Categorical(mask_logits(logits, observation))
        return Predictions(policy, value[..., 0])

    return Network(*_over_any_axes(forward, num_axes))


def value_network(num_channels: int, width: int, dtype: Any = float, num_axes: int = 3) -> ValueNetwork:
    """Builds the value half of `actor_critic_network`: a torso and a head with one hidden layer.

    Args:
      num_channels: channels of each convolution; of no effect on a vector.
      width: units of the head's hidden layer.
      dtype: of the parameters and everything computed with them; by default JAX's float, of the precision that it has.
      num_axes: of one observation's array; see `observation_axes`.

    Returns:
      The network, for the same observations.
    """

    def forward(observation: Any) -> chex.Array:
        features = _torso("value", num_channels, width)(_numbers(observation, dtype))
        return hk.nets.MLP([width, 1], name="value_head")(features)[..., 0]

    return ValueNetwork(*_over_any_axes(forward, num_axes))


def observation_axes(observation: Any) -> int:
    """Returns the number of axes of an observation's array, by which the networks here are chosen.

    Args:
      observation: the shapes of one.

    Raises:
      ValueError: if there is no network here for such observations.
    """
    array = _inputs(observation)
    rank = getattr(array, "ndim", None)
    real = rank is not None and any(
        jnp.issubdtype(array.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating)
    )
    if rank not in (1, 2, 3) or not real or not array.size:
        raise ValueError(
            "an observation must be an array [features], [rows, columns] or [rows, columns, channels] of real numbers, "
            "at least one, or have such an array as its field grid beside action_mask, for a network to be chosen, and "
            f"is {describe(observation)}"
        )
    return rank


def describe(shapes: Any) -> str:
    """Returns a tree of shapes in words, such as float32[10, 5]."""
    leaves = [f"{leaf.dtype}{list(leaf.shape)}" for leaf in jax.tree.leaves(shapes)]
    kind = "" if hasattr(shapes, "shape") else f"{type(shapes).__name__} of "
    return kind + (", ".join(leaves) or "no arrays")


def mask_logits(logits: chex.Array, observation: Any) -> chex.Array:
    """Takes all probability from the actions that an observation forbids, if it has an action mask.

    Args:
      logits: float [..., A].
      observation: with or without a field `action_mask`, bool [..., A].

    Returns:
      Logits, float [..., A].
    """
    mask = getattr(observation, "action_mask", None)
    return logits if mask is None else jnp.where(mask, logits, MASKED_LOGIT)


def _inputs(observation: Any) -> Any:
    """Returns the array that a network sees: the observation's `grid`, or the observation itself."""
    return getattr(observation, "grid", observation)


def _numbers(observation: Any, dtype: Any) -> chex.Array:
    """Returns what a network computes with: the same numbers, but for pixels, which are scaled to [0, 1]."""
    inputs = _inputs(observation)
    return inputs.astype(dtype) / 255 if inputs.dtype == jnp.uint8 else inputs.astype(dtype)


def _torso(name: str, num_channels: int, width: int) -> Callable[[chex.Array], chex.Array]:
    """Makes the layers from inputs [N, ...] to features [N, F], which fit the inputs' axes."""

    def torso(inputs: chex.Array) -> chex.Array:
        if inputs.ndim == 2:
            return jax.nn.relu(hk.Linear(width, name=f"{name}_layer")(inputs))
        maps = inputs if inputs.ndim == 4 else inputs[..., None]
        for stride in (2, 1):
            maps = jax.nn.relu(PatchConv2D(num_channels, 2, stride, f"{name}_conv_{stride}")(maps))
        return hk.Flatten()(maps)

    return torso


def _over_any_axes(forward: Callable[[Any], Any], num_axes: int) -> tuple[Callable, Callable]:
    """Makes `init` and `apply` of a function of observations [N, ...]; `apply` takes any number of leading axes."""
    transformed: hk.Transformed = hk.without_apply_rng(hk.transform(forward))

    def apply(params: hk.Params, observation: Any) -> Any:
        leading = _inputs(observation).shape[:-num_axes]
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[len(leading) :]), observation)
        return jax.tree.map(lambda leaf: leaf.reshape(*leading, *leaf.shape[1:]), transformed.apply(params, flat))

    return transformed.init, apply


def tabular_network(num_states: int, num_actions: int, scale: float = 0.0) -> Network:
    """Builds tables of logits and values, applied to indicators of states.

    Args:
      num_states: S.
      num_actions: A.
      scale: standard deviation of the initial entries.

    Returns:
      The network. Its observations are float [..., S].
    """

    def init(key: chex.PRNGKey, observation: chex.Array) -> hk.Params:
        del observation
        policy_key, value_key = jax.random.split(key)
        return {
            "policy": {"table": scale * jax.random.normal(policy_key, (num_states, num_actions))},
            "value": {"table": scale * jax.random.normal(value_key, (num_states,))},
        }

    def apply(params: hk.Params, observation: chex.Array) -> Predictions:
        logits = observation @ params["policy"]["table"]
        return Predictions(Categorical(logits), observation @ params["value"]["table"])

    return Network(init, apply)


def tabular_critic(num_states: int) -> ValueNetwork:
    """Builds a table of values, zeros at first, applied to indicators of S states."""
    return ValueNetwork(
        init=lambda key, observation: {"value": {"table": jnp.zeros(num_states)}},
        apply=lambda params, observation: observation @ params["value"]["table"],
    )
