"""Agents in their environment, held fixed: from the checkpoints of a run, or trained for the study at some discounts.

Between two windows nothing is learned; each starts with environments that have walked on from those of the checkpoint,
every window with randomness of its own, until little of where they came from is left.
"""

import dataclasses
import math
import pathlib
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np

from agents import actor_critic, evaluation, rollouts, training
from agents.actor_critic import LearnerState
from agents.agent import Actor, Agent, Batch, inner_problem
from envs.snake import Snake
from experiments.config.own_code import is_own_code
from experiments.config.ranges import UsageError, refuse
from experiments.config.settings import Config
from experiments.runs.building import init_seeds, learning_of, require_agent
from experiments.runs.layout import over_devices
from experiments.runs.progress import Turn
from experiments.runs.training import train
from experiments.storage import checkpoints, config_file
from experiments.studies.variance import sampling
from experiments.studies.variance.sampling import OUTER_CRITIC, OWN_CRITIC, Point, Start
from experiments.studies.variance.settings import PHASES, Study
from metagrad import hyperparameters
from metagrad.hyperparameters import MetaParameters
from metagrad.windows import InnerProblem, Position

EPISODES = 256
"""Fresh episodes of one evaluation: enough for the updates before them to be worth their time."""

BEYOND, STEPS_PER_CELL = 0.05, 15
"""Episodes are cut after so many steps that this fraction of a constant reward's discounted weight lies beyond, and on
Snake after so many for each cell of the board: who has not ended by then mostly walks in circles."""


def trained_points(study: Study, folder: pathlib.Path, quiet: bool = False) -> list[Point]:
    """Trains an agent for each point in a folder, as far as it is not there already; nothing is tuned meanwhile."""
    runs = {name: dataclasses.replace(each, estimator="none", num_seeds=1) for name, each in study.trained.items()}
    *_, fixed = runs.values()
    # They differ in their discounts, which are data if they count as tuned: all points share the same programs.
    agent = require_agent(fixed)
    try:
        tuning = hyperparameters.tune(agent.tuning.hyperparameters, list(dict.fromkeys([*study.names, "discount"])))
    except ValueError as error:
        raise UsageError(f"`meta_params`: {error}") from error
    places = []
    for index, (name, config) in enumerate(runs.items(), 1):
        run = folder / f"train_{name}"
        train(config, run, quiet=quiet, turn=Turn(f"agent {index}/{len(runs)}, {name}"))
        places.append((name, run, config.num_env_steps))
    return _points(dataclasses.replace(agent, tuning=tuning), study, places)


def checkpoint_points(study: Study) -> list[Point]:
    """Takes checkpoints of a run, evenly spread over it, the last one included, earliest first.

    Raises:
      UsageError: if the run has fewer checkpoints, or they cannot be read.
    """
    assert study.checkpoint is not None
    run, number = pathlib.Path(study.checkpoint), study.num_checkpoints
    steps = checkpoints.checkpoint_steps(run)
    if len(steps) < number:
        refuse("num_checkpoints", number, f"at most the number of checkpoints in {run}, {len(steps)}")
    chosen = [steps[round(place)] for place in np.linspace(len(steps) - 1, 0, number)[::-1]]
    places = [(phase, run, env_steps) for phase, env_steps in zip(PHASES[number], chosen, strict=True)]
    return _points(require_agent(study.config.without_own_estimator()), study, places)


def _points(agent: Agent, study: Study, places: list[tuple[str, pathlib.Path, int]]) -> list[Point]:
    """Reads checkpoints, each given by a name, a run and its environment steps; they share their programs."""
    critics = (OWN_CRITIC,) if agent.outer_critic is None else (OUTER_CRITIC, OWN_CRITIC)
    problem = inner_problem(agent)._replace(outer_loss=partial(outer_losses, agent))
    start = make_start(agent, problem, study.burn_in)
    windows = sampling.make_windows(problem, start, study.config.horizon, study.names, critics, over_devices)
    own = {}
    for name, estimator in study.drawn_estimators().items():
        sampling.check_estimator(agent, estimator, study.drawn_names()[name].name)
        own[name] = sampling.make_estimates(problem, start, estimator, study.names, critics, over_devices)
    # Nothing that happens in a lifetime depends on the outer critic.
    problem = inner_problem(dataclasses.replace(agent, outer_critic=None))
    lifetimes = sampling.make_lifetimes(
        problem,
        make_start(agent, problem, study.burn_in),
        lambda position, key: jnp.mean(fresh_episodes(agent, position.learner_state, key).discounted),
        study.return_horizons,
        study.perturbation,
        study.names,
        over_devices,
    )
    play = jax.jit(partial(fresh_episodes, agent))
    update = agent.num_envs * agent.rollout_length
    window = study.config.horizon * update
    points = []
    for name, run, env_steps in places:
        settings = config_file.load(run / config_file.CONFIG)
        state = _read_state(study, settings, run, env_steps)
        first = {name: hyper.initial for name, hyper in agent.tuning.hyperparameters.items()}
        eta = state.eta or hyperparameters.meta_parameters_of(agent.tuning, first | settings.hyperparameters())
        hyper = hyperparameters.hyperparameters(agent.tuning, eta)
        seed = settings.seed + study.seed_index
        # A key that neither training nor the study uses.
        episodes = play(state.position.learner_state, jax.random.fold_in(jax.random.key(seed), 2**31 - 3))
        means = {what: float(np.mean(numbers)) for what, numbers in episodes._asdict().items()}
        about = {
            "checkpoint": str(run),
            "env_steps": env_steps,
            "seed": seed,
            "num_envs": agent.num_envs,
            "hyperparameters": {name: float(np.mean(value)) for name, value in training.by_path("", hyper).items()},
            "episodes": means | {"cut": float(np.mean(episodes.length >= _max_steps(agent)))},
            "max_episode_steps": _max_steps(agent),
            "env_steps_of_a_sample": {
                "single_step": update,
                "multi_step": window,
                "mixing": window,
                **{name: update * estimator.rollouts for name, estimator in study.drawn_estimators().items()},
                "evolution": round(2 * (window + EPISODES * means["length"])),
            },
        }
        fixed = (state.position.learner_state, state.position.actor_state)
        names = sampling.components(eta, study.names)
        points.append(Point(name, about, critics, windows, lifetimes, fixed, eta, {}, names, own))
    return points


def _read_state(study: Study, settings: Config, run: pathlib.Path, env_steps: int) -> training.TrainingState:
    """Reads the state of the study's seed from a checkpoint, and refuses one that had been dropped by then."""
    like = jax.eval_shape(partial(init_seeds, learning_of(require_agent(settings.without_own_estimator())), settings))
    states = checkpoints.read_checkpoint(run, env_steps, like)
    state = jax.tree.map(lambda leaf: leaf[study.seed_index], states)
    # What an own estimator's windows cost is known to its code alone, which a folder does not run.
    if is_own_code(settings.estimator):
        complete = states.num_updates.max()
    else:
        complete = env_steps // settings.steps_per_window * settings.updates_per_window
    if state.num_updates < complete:
        what = f"of a seed that {run} had not dropped by {env_steps} environment steps"
        refuse("seed_index", study.seed_index, what)
    return state


def outer_losses(agent: Agent, learner: LearnerState, batch: Batch) -> dict[str, chex.Array]:
    """Evaluates the outer loss by the agent's own critic and, where there is one, by the outer critic."""
    targets = {OWN_CRITIC: None} | ({} if batch.outer_targets is None else {OUTER_CRITIC: batch.outer_targets})
    return {
        critic: actor_critic.outer_loss(agent.network, agent.outer_hyperparameters, learner, batch.rollout, constants)
        for critic, constants in targets.items()
    }


def fresh_episodes(agent: Agent, learner: LearnerState, key: chex.PRNGKey) -> evaluation.Returns:
    """Plays fresh episodes under the outer discount."""
    discount = float(agent.outer_hyperparameters["discount"])
    return evaluation.episode_returns(
        agent.env, agent.network, learner.params, discount, EPISODES, _max_steps(agent), key
    )


def _max_steps(agent: Agent) -> int:
    """Returns the steps after which an episode is cut."""
    discount = float(agent.outer_hyperparameters["discount"])
    steps = math.ceil(math.log(BEYOND) / math.log(discount))
    return min(steps, STEPS_PER_CELL * agent.env.num_cells) if isinstance(agent.env, Snake) else steps


def make_start(agent: Agent, problem: InnerProblem, burn_in: int) -> Start:
    """Makes the function that walks some rollouts to the beginning of a window, from a fixed learner and actor."""
    collect = rollouts.collect(agent.env, agent.network, agent.rollout_length)

    def start(fixed: tuple[LearnerState, Actor], eta: MetaParameters, key: chex.PRNGKey) -> Position:
        learner, actor = fixed

        keys = jax.random.split(key, burn_in + 1)
        environments, _ = jax.lax.scan(
            lambda environments, key: (collect(learner.params, environments, key)[0], None),
            actor.environments,
            keys[:-1],
        )
        # The environments alone walk: the outer critic stays as it is, like the agent.
        return Position(learner, *problem.collect(learner, eta, actor._replace(environments=environments), keys[-1]))

    return start
