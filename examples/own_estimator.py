"""An estimator of your own beside mixing: the median of the horizons' gradients, which no horizon can carry away.

    python examples/own_estimator.py

The commands take it as well:
    python -m experiments.compare --estimators=mixing,examples.own_estimator:median --logdir=runs/median
"""

import jax
import jax.numpy as jnp

from experiments.config.comparison import make_configs
from experiments.config.settings import Config
from experiments.studies.comparison import compare
from metagrad import Estimator, horizon_gradients


def median(horizon: int) -> Estimator:
    """Takes the median of `g_1, ..., g_n`, each component by itself."""

    def estimate(problem, eta, start, key):
        gradients, end, metrics = horizon_gradients(problem, horizon, eta, start, key)
        return jax.tree.map(lambda of_horizons: jnp.median(of_horizons, 0), gradients), end, metrics

    return Estimator(updates=horizon, rollouts=horizon, estimate=estimate)


def main(**settings) -> dict:
    """Trains with both, and prints what each returns."""
    shared = {"environment": "catch", "num_seeds": 2, "num_env_steps": 128_000, "meta_params": ("discount",)}
    configs = make_configs(Config(**shared | settings), ["mixing", f"{__name__}:median"])
    comparison = compare(configs)
    for name, result in comparison["estimators"].items():
        print(f"{name}: {result['final_return']['estimate']:.2f}")
    return comparison


if __name__ == "__main__":
    main()
