"""Tunes the step size of SGD while it fits a sine with a small network, by meta-gradients through its own updates.

    python examples/own_inner_problem.py

No environment and no agent: an inner problem is three pure functions. The step size begins far too small, and
grows forty-fold.
"""

import jax
import jax.numpy as jnp
import optax

from metagrad import InnerProblem, Position, meta_gradient, mixing

HORIZON, UNITS, BATCH_SIZE = 5, 32, 256
START = 1e-4  # of the step size


def loss(params, batch):
    """Returns the mean squared error, float []."""
    inputs, targets = batch
    hidden = jnp.tanh(inputs[:, None] * params["slopes"] + params["offsets"])
    return jnp.mean(jnp.square(hidden @ params["weights"] - targets))


def update(params, eta, batch):
    """Takes one step of SGD; the step size is exp(eta), which keeps it positive."""
    value, gradient = jax.value_and_grad(loss)(params, batch)
    rate = jnp.exp(eta["log_rate"])
    return jax.tree.map(lambda param, slope: param - rate * slope, params, gradient), {"loss": value}


def collect(params, eta, actor, key):
    """Draws the next batch; nothing collects it, so the actor is empty."""
    inputs = jax.random.uniform(key, (BATCH_SIZE,), minval=-jnp.pi, maxval=jnp.pi)
    return actor, (inputs, jnp.sin(inputs))


problem = InnerProblem(update, collect, outer_loss=loss)
meta_optimizer = optax.adam(0.1)


def main(num_windows: int = 400) -> tuple[jax.Array, jax.Array]:
    """Returns the step sizes and the losses, float [num_windows] each, and prints some."""
    key, slopes_key, weights_key, batch_key = jax.random.split(jax.random.key(0), 4)
    params = {
        "slopes": 2.0 * jax.random.normal(slopes_key, (UNITS,)),
        "offsets": jnp.linspace(-3.0, 3.0, UNITS),
        "weights": jax.random.normal(weights_key, (UNITS,)) / jnp.sqrt(UNITS),
    }
    eta = {"log_rate": jnp.log(START)}

    def step(carry, key):
        eta, state, position = carry
        gradient, position, metrics = meta_gradient(problem, mixing(HORIZON), eta, position, key)
        change, state = meta_optimizer.update(gradient, state)
        return (optax.apply_updates(eta, change), state, position), (jnp.exp(eta["log_rate"]), metrics["loss"].mean())

    start = eta, meta_optimizer.init(eta), Position(params, (), collect(params, eta, (), batch_key)[1])
    _, (rates, losses) = jax.jit(lambda start, keys: jax.lax.scan(step, start, keys))(
        start, jax.random.split(key, num_windows)
    )
    for window in range(0, num_windows, max(num_windows // 8, 1)):
        print(f"after {window * HORIZON:5} updates: step size {rates[window]:.5f}, loss {losses[window]:.4f}")
    return rates, losses


if __name__ == "__main__":
    main()
