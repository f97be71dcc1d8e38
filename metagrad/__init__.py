"""Meta-gradient estimators over a window of inner updates; knows no environment, network or file.

What most users need is here: an inner problem and where it stands, its meta-gradient by any weighting of horizons, and
the same without derivatives. The modules say more.
"""

from metagrad.bootstrapped import bootstrapped
from metagrad.estimators import Estimator, from_weights, mixing, multi_step, single_step, weighted
from metagrad.evolution import evolution_strategies, lifetime_gradients
from metagrad.hyperparameters import POSITIVE, REAL, UNIT, Bijection, Hyperparameter
from metagrad.sampling_corrected import sampling_corrected
from metagrad.windows import InnerProblem, Position, Weights, advance, horizon_gradients, meta_gradient

__all__ = [
    "POSITIVE",
    "REAL",
    "UNIT",
    "Bijection",
    "Estimator",
    "Hyperparameter",
    "InnerProblem",
    "Position",
    "Weights",
    "advance",
    "bootstrapped",
    "evolution_strategies",
    "from_weights",
    "horizon_gradients",
    "lifetime_gradients",
    "meta_gradient",
    "mixing",
    "multi_step",
    "sampling_corrected",
    "single_step",
    "weighted",
]
