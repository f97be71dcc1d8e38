"""The work of training: the arithmetic that it cannot do without, by hand, and what XLA counts of a program.

By hand, since XLA counts the body of a loop once, however often it runs, and counts what is computed twice, which is a
way to save memory and no work that had to be done. Only the network's products of matrices count: on Snake there is
little else. A layer `y = x W` with `f` operations forward has `f` backward for the slope of `W` and, unless `x` is
data, `f` for that of `x`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents import networks
from envs.snake import FEATURES, MOVES
from experiments.config.ranges import board_shape
from experiments.config.settings import Config


class Work(NamedTuple):
    """What one call of a program does; None where it is not told.

    Attributes:
      flops: floating-point operations.
      bytes: read from and written to memory.
    """

    flops: float | None = None
    bytes: float | None = None


class Half(NamedTuple):
    """Floating-point operations of a network's torso and head for one observation.

    Attributes:
      forward: of all layers.
      first: of the first layer, whose input is data.
    """

    forward: float
    first: float

    @property
    def backward(self) -> float:
        """Of the slope of the parameters, after the forward pass."""
        return 2 * self.forward - self.first

    @property
    def gradient_backward(self) -> float:
        """Of the backward pass through forward and backward pass together, as every meta-gradient needs it.

        The forward pass has the slopes of its weights and its inputs, `2 forward - first`; so has the slope of the
        weights; and the slope of the inputs, which the first layer lacks, `2 (forward - first)`.
        """
        return 6 * self.forward - 4 * self.first


def halves(config: Config) -> tuple[Half, Half]:
    """Counts the operations of policy and value on Snake, where they share no torso.

    Args:
      config: the settings.

    Returns:
      Those of the policy's half of the network, and those of the value's.
    """

    def half(name: str) -> Half:
        flops = {place: 2.0 * inner * cols * uses for place, inner, cols, uses in _layers(config, name)}
        return Half(sum(flops.values()), flops[f"{name}_conv_2"])

    return half("policy"), half("value")


def _layers(config: Config, name: str) -> list[tuple[str, int, int, int]]:
    """Returns a half's layers on Snake: name, inputs, outputs, and how often an observation uses its weights."""
    rows, cols = board_shape(config.board_size)
    network = networks.actor_critic_network(len(MOVES), config.num_channels, config.policy_width, config.value_width)
    params = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, rows, cols, len(FEATURES))))
    cells = -(-rows // 2) * -(-cols // 2)  # of both convolutions' outputs
    return [
        # A kernel is used once in every cell, a matrix once.
        (place, layer["w"].size // layer["w"].shape[-1], layer["w"].shape[-1], cells if layer["w"].ndim == 4 else 1)
        for place, layer in params.items()
        if place.startswith(name)
    ]


def update_flops(config: Config) -> float:
    """Counts an update without meta-gradient: acting, learning, and the values that returns bootstrap with.

    Args:
      config: the settings.

    Returns:
      The floating-point operations.
    """
    policy, value = halves(config)
    learning = sum(half.forward + half.backward for half in (policy, value))
    return _observations(config) * (policy.forward + learning) + _bootstraps(config) * value.forward


def window_flops(config: Config, horizon: int, num_directions: int | None = None) -> float:
    """Counts the least that a window with a meta-gradient can do: nothing is computed twice.

    The first update is differentiated in the meta-parameters alone: one tangent through the network. Behind the last
    one only the policy counts, by its own parameters and by the values in its advantages. Outer losses between share
    the passes of the updates at the same parameters and data.

    Args:
      config: the settings.
      horizon: n, the updates.
      num_directions: M, the meta-parameters, each of which forward mode pushes through the updates by itself; None
        for reverse mode.

    Returns:
      The floating-point operations.
    """
    policy, value = halves(config)
    observations, bootstraps = _observations(config), _bootstraps(config)
    updates = horizon * update_flops(config)
    if config.outer_critic:  # a network like the value's half
        updates += horizon * (observations * (value.forward + value.backward) + bootstraps * value.forward)
    if horizon == 1:
        chain = observations * policy.backward
    else:
        chain = observations * (policy.gradient_backward + value.backward + policy.backward + value.backward)
        chain += (horizon - 2) * observations * (policy.gradient_backward + value.gradient_backward)
        chain += (horizon - 1) * bootstraps * value.backward
    outer = observations * policy.forward
    if num_directions is None:
        return updates + chain + outer + observations * policy.backward
    return updates + num_directions * chain + outer + horizon * observations * policy.backward


class Product(NamedTuple):
    """Products of matrices [rows, inner], as many as `times`, and the same [inner, cols], one after another."""

    rows: int
    inner: int
    cols: int
    times: int = 1


def update_products(config: Config) -> list[Product]:
    """Lists the products whose operations `update_flops` counts, a layer's each as large as the data allow.

    Args:
      config: the settings.

    Returns:
      The products.
    """
    observations, bootstraps = _observations(config), _bootstraps(config)
    products = []
    for name in ("policy", "value"):
        for place, inner, cols, uses in _layers(config, name):
            rows = observations * uses
            products += [Product(rows, inner, cols), Product(inner, rows, cols)]  # forward, and the weights' slope
            if place != f"{name}_conv_2":
                products.append(Product(rows, cols, inner))  # the inputs' slope
            if name == "policy":
                products.append(Product(config.num_envs * uses, inner, cols, config.rollout_length))  # acting
            else:
                products.append(Product(bootstraps * uses, inner, cols))
    return products


def counted(compiled: jax.stages.Compiled) -> Work:
    """Returns what XLA counts of a program, which has no loop if this is to mean anything."""
    cost: Mapping[str, float] = compiled.cost_analysis() or {}
    return Work(cost.get("flops"), cost.get("bytes accessed"))


def peak_bytes(compiled: jax.stages.Compiled) -> float:
    """Returns the memory that a program needs by its compiler's plan: what goes in and comes out included."""
    plan: Any = compiled.memory_analysis()
    total = plan.temp_size_in_bytes + plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return float(total)


def _observations(config: Config) -> int:
    return config.num_envs * config.rollout_length


def _bootstraps(config: Config) -> int:
    return config.num_envs * (1 + -(-config.rollout_length // config.time_limit))
