"""The arithmetic that training on Snake cannot do without: the operations of the network's products of matrices.

By hand, since XLA counts the body of a loop once, however often it runs. A layer `y = x W` with `f` operations forward
has `f` backward for the slope of `W` and, unless `x` is data, `f` for that of `x`.
"""

import jax
import jax.numpy as jnp

from envs.snake import FEATURES
from experiments.config.ranges import board_shape
from experiments.config.settings import Config
from experiments.runs.building import require_agent


def layer_flops(config: Config, half: str) -> dict[str, float]:
    """Counts a forward pass of the `policy` or the `value` half of a network for one observation, layer by layer."""
    rows, cols = board_shape(config.board_size)
    grids = jnp.zeros((1, rows, cols, len(FEATURES)))
    params = jax.eval_shape(require_agent(config).network.init, jax.random.key(0), grids)
    cells = -(-rows // 2) * -(-cols // 2)  # of both convolutions' outputs: a kernel is used once in every cell
    weights = {name: layer["w"] for name, layer in params.items() if name.startswith(half)}
    return {name: 2.0 * weight.size * (cells if weight.ndim == 4 else 1) for name, weight in weights.items()}


def update_flops(config: Config) -> float:
    """Counts an update without meta-gradient: acting, learning, and the values that returns bootstrap with."""
    policy, value = (layer_flops(config, half) for half in ("policy", "value"))
    acting, forward = sum(policy.values()), sum((policy | value).values())
    learning = 3 * forward - policy["policy_conv_2"] - value["value_conv_2"]  # both first layers see data
    bootstraps = config.num_envs * (1 + -(-config.rollout_length // config.time_limit))
    return config.num_envs * config.rollout_length * (acting + learning) + bootstraps * sum(value.values())
