"""The tabular testbed at growing batches, where the limit of every estimator's expectation is known exactly.

As environments are added, the mean of `multi_step(n)` approaches the meta-gradient through n expected updates; what is
left with few environments is bias. The true return's meta-gradient, which nothing in a window sees, stands beside it.
"""

from collections.abc import Mapping, Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents import actor_critic, tabular
from agents.actor_critic import LearnerState
from agents.agent import Agent, inner_problem
from envs.tabular import Tabular
from experiments.figures.tables import as_json
from experiments.studies.variance.analysis import Json, named
from experiments.studies.variance.sampling import (
    OWN_CRITIC,
    Point,
    Program,
    Start,
    check_estimator,
    make_estimates,
    make_windows,
)
from metagrad import hyperparameters, statistics
from metagrad.estimators import Estimator
from metagrad.hyperparameters import MetaParameters
from metagrad.windows import InnerProblem, Position

BATCHES = (4, 16, 64, 256)
"""Numbers of environments."""

STUDY_SIZE = 64
"""Windows of each of the repeated small studies that show how often an interval covers the truth."""

DESCRIBED = 1_024
"""Windows that the estimators are described with: the bootstrap's time grows with them."""

HORIZONS_SHOWN = (1, 2, 5, 10)
"""Besides the longest one."""

OF_UPDATES, OF_RETURN = "expected_updates", "return"
"""The two truths: of the outer loss through expected updates with the data held constant, and of the true return."""


def points(horizon: int, estimators: Mapping[str, Estimator]) -> list[Point]:
    """Returns a point for each batch size, smallest first, with the same learner, hyperparameters and truth.

    Args:
      horizon: the longest.
      estimators: those that are no weighted sums, by their names.

    Raises:
      UsageError: if one of them does not fit.
    """
    agent = tabular.study_agent(num_envs=1)
    for name, estimator in estimators.items():
        check_estimator(agent, estimator, name)
    mdp, names = agent.env, agent.tuning.tuned
    assert isinstance(mdp, Tabular)
    states = jnp.asarray(mdp.start, jnp.float32)
    learner = actor_critic.init(agent.network, agent.optimizer, jnp.eye(len(states)), jax.random.key(0))
    eta = hyperparameters.initial_meta_parameters(agent.tuning)
    truth = tabular.truth(agent, learner, states, eta, horizon)
    exact = {
        OF_UPDATES: _stack(truth.horizon_gradients, names),
        OF_RETURN: -_stack(truth.return_gradients, names),  # downhill, as a loss's
    }
    final_return = exact[OF_RETURN][-1]
    lengths = np.linalg.norm(exact[OF_UPDATES], axis=-1)
    cosines = exact[OF_UPDATES] @ final_return / lengths / np.linalg.norm(final_return)
    about = {
        "hyperparameters": {name: float(hyper.initial) for name, hyper in agent.tuning.hyperparameters.items()},
        "exact": {
            **{truth: dict(zip(names, gradients.T.tolist(), strict=True)) for truth, gradients in exact.items()},
            "cosine_to_return": cosines.tolist(),  # of the multi-step gradients, to the return's at the longest horizon
        },
    }
    return [
        Point(
            f"{num_envs}_environments",
            {"num_envs": num_envs, **about},
            (OWN_CRITIC,),
            _windows(tabular.study_agent(num_envs), horizon),
            lifetimes=None,
            fixed=(learner, states),
            eta=eta,
            exact=exact,
            components=names,
            own={name: _estimates(tabular.study_agent(num_envs), each) for name, each in estimators.items()},
        )
        for num_envs in BATCHES
    ]


def convergence(samples: Mapping[str, np.ndarray], points: list[Point], names: Sequence[str]) -> Json:
    """Compares the means of the multi-step estimators with the exact meta-gradients, batch size by batch size.

    Args:
      samples: float [N, n, M] of each point.
      points: as `points` made them.
      names: of the M meta-parameters.

    Returns:
      Parts of `variance.json`: `convergence`, an entry for each batch size and horizon, and the number and size of the
      studies whose 95% intervals `coverage` counts: the fraction that covers the truth, None without a study.
    """
    entries = []
    for point in points:
        gradients, exact = samples[point.name], point.exact[OF_UPDATES]
        num_studies = len(gradients) // STUDY_SIZE
        studies = gradients[: num_studies * STUDY_SIZE].reshape(num_studies, STUDY_SIZE, *gradients.shape[1:])
        repeated = statistics.mean(studies.swapaxes(0, 1))
        covered = (repeated.low <= exact) & (exact <= repeated.high)
        means = named(names, statistics.mean(gradients))
        biases = named(names, statistics.bias(gradients, np.broadcast_to(exact, gradients.shape)))
        longest = gradients.shape[1]
        for horizon in [*(shown for shown in HORIZONS_SHOWN if shown < longest), longest]:
            at = horizon - 1
            coverage = covered[:, at].mean(0).tolist() if num_studies else [None] * len(names)
            entries.append(
                {
                    "num_envs": point.about["num_envs"],
                    "horizon": horizon,
                    "exact": dict(zip(names, exact[at].tolist(), strict=True)),
                    "mean": means[at],
                    "bias": biases[at],
                    "coverage": dict(zip(names, coverage, strict=True)),
                }
            )
    sizes = {"num_windows": len(gradients), "num_studies": num_studies, "study_size": STUDY_SIZE}
    return {"convergence": entries, **sizes}


def by_environments(
    windows: Mapping[str, np.ndarray], own: Mapping[str, Mapping[str, np.ndarray]], points: list[Point]
) -> Json:
    """Tells how direction and noise of every estimator go with the number of environments.

    Args:
      windows: float [N, n, M] of each point.
      own: float [N, M] of each point, by the names of estimators that are no weighted sums.
      points: as `points` made them.

    Returns:
      The part `by_environments` of `variance.json`: an entry for each batch size, which holds by estimator the `cosine`
      of the mean to the true return's gradient at the longest horizon, and the `snr` of one window.
    """
    entries = []
    for point in points:
        gradients, truth = windows[point.name], point.exact[OF_RETURN][-1]
        samples = {
            "single_step": gradients[:, 0],
            "multi_step": gradients[:, -1],
            "mixing": gradients.mean(1),
            **{name: drawn[point.name] for name, drawn in own.items()},
        }
        described = {
            name: {
                "cosine": as_json(statistics.cosine(each, np.broadcast_to(truth, each.shape))),
                "snr": as_json(statistics.signal_to_noise(each)),
            }
            for name, each in samples.items()
        }
        entries.append({"num_envs": point.about["num_envs"], "estimators": described})
    return {"by_environments": entries}


def _problem(agent: Agent) -> tuple[InnerProblem, Start]:
    problem = inner_problem(agent)
    losses = problem._replace(outer_loss=lambda *inputs: {OWN_CRITIC: problem.outer_loss(*inputs)})

    def start(fixed: tuple[LearnerState, chex.Array], eta: MetaParameters, key: chex.PRNGKey) -> Position:
        return tabular.sampled_start(agent, *fixed, key)

    return losses, start


# The tables are so small that all windows of a chunk are best drawn at once, on a CPU as well.


def _windows(agent: Agent, horizon: int) -> Program:
    return make_windows(*_problem(agent), horizon, agent.tuning.tuned, (OWN_CRITIC,), jax.vmap)


def _estimates(agent: Agent, estimator: Estimator) -> Program:
    return make_estimates(*_problem(agent), estimator, agent.tuning.tuned, (OWN_CRITIC,), jax.vmap)


def _stack(gradients: MetaParameters, names: Sequence[str]) -> np.ndarray:
    return np.stack([gradients[name] for name in names], axis=-1)
