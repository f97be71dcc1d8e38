"""Population-based training (PBT), which searches for a schedule of hyperparameters in one life of a population.

Jaderberg et al., "Population Based Training of Neural Networks" (2017), arXiv 1711.09846. At some logging points each
of the worst fifth takes over learner, optimizer, critic, environments and hyperparameters from a random one of the best
fifth (*exploit*, by truncation selection), and then multiplies each hyperparameter by 0.8 or 1.2 on its natural scale
(*explore*). Its random numbers stay its own.

What happened follows from the metrics, the first hyperparameters and the seed alone, so nothing else need be stored.
"""

import pathlib
from typing import Any, NamedTuple

import numpy as np

from experiments.config.search import SEARCHED, Ranges, Settings, sample
from experiments.config.settings import Config
from experiments.figures.averages import over_last_tenth
from experiments.figures.outcome import final_returns
from experiments.runs.progress import Turn
from experiments.runs.seeds import Starts, Succession
from experiments.storage.metrics import Metrics, dropped_seeds
from experiments.studies.search.trials import Outcome, train_starts
from metagrad import statistics

FACTORS = (0.8, 1.2)
"""Of a perturbation, one as likely as the other."""


class Exploitation(NamedTuple):
    """What happened at one logging point.

    Attributes:
      env_steps: of one member so far.
      scores: float [N], mean episode returns since the exploitation before; NaN where no episode ended, or the member
        diverged.
      succession: of the N members.
    """

    env_steps: int
    scores: np.ndarray
    succession: Succession


class Population(NamedTuple):
    """What became of a population.

    Attributes:
      starts: hyperparameters that its N members started from.
      exploitations: in order.
      outcome: of the N members, each with one seed. A return is that of the lineage: where a member took over from
        another during the last tenth of training, what the other returned counts until then.
    """

    starts: Settings
    exploitations: list[Exploitation]
    outcome: Outcome

    def hyperparameters(self) -> Settings:
        """Returns the members' last hyperparameters."""
        return self.exploitations[-1].succession.hyperparameters if self.exploitations else self.starts


def train(
    config: Config, ranges: Ranges, num_members: int, exploit_every: int, folder: pathlib.Path, quiet: bool = False
) -> Population:
    """Trains a population, whose members start from random settings, each with a seed of its own.

    Args:
      config: validated settings, with estimator `none`; of its seeds the first counts.
      ranges: ends of the range of each hyperparameter in `SEARCHED`.
      num_members: N, at least 2.
      exploit_every: environment steps of a member from one exploitation to the next, at least 1.
      folder: of the run.
      quiet: whether to show no progress.

    Returns:
      The population.

    Raises:
      Exception: as `searching.search`.
    """
    settings = sample(ranges, num_members, config.seed)

    def exploited(metrics: Metrics) -> list[Exploitation]:
        return exploitations(metrics, settings, ranges, exploit_every, config.num_env_steps, config.seed)

    def between(metrics: Metrics) -> Succession:
        nobody = np.arange(num_members)
        made = exploited(metrics)
        if not made:
            return Succession(nobody, settings)
        here = made[-1].env_steps == metrics["env_steps"][-1, 0]
        return made[-1].succession if here else made[-1].succession._replace(sources=nobody)

    starts = Starts(config.seed + np.arange(num_members, dtype=np.int32), settings)
    turn = Turn(f"a population of {num_members}")
    metrics, seconds = train_starts(config, starts, folder, turn, quiet, between)
    made = exploited(metrics)
    returns = _of_lineages(metrics, made)
    return Population(settings, made, Outcome(returns[:, None], dropped_seeds(metrics)[:, None], seconds))


def exploitations(
    metrics: Metrics, starts: Settings, ranges: Ranges, exploit_every: int, num_env_steps: int, seed: int
) -> list[Exploitation]:
    """Returns what happened up to the last logging point; later ones change nothing in it.

    Args:
      metrics: columns of `metrics.csv`, float [points, N].
      starts: the first hyperparameters, float32 [N].
      ranges: that perturbed ones are clipped to.
      exploit_every: environment steps; each multiple of it is followed by an exploitation at the next logging point,
        but the last logging point has none.
      num_env_steps: environment steps at the end of training.
      seed: the random numbers of an exploitation derive from it and the environment steps.
    """
    made: list[Exploitation] = []
    env_steps, hyperparameters, first = metrics["env_steps"][:, 0].astype(int), starts, 0
    for point, (before, now) in enumerate(zip([0, *env_steps[:-1]], env_steps, strict=True), 1):
        if now // exploit_every == before // exploit_every or now == num_env_steps:
            continue
        diverged = dropped_seeds({name: column[:point] for name, column in metrics.items()})
        scores = np.where(diverged, np.nan, statistics.mean(metrics["episode_return"][first:point]).estimate)
        succession = exploit(scores, diverged, hyperparameters, ranges, np.random.default_rng([seed, now]))
        made.append(Exploitation(int(now), scores, succession))
        hyperparameters, first = succession.hyperparameters, point
    return made


def exploit(
    scores: np.ndarray,
    diverged: np.ndarray,
    hyperparameters: Settings,
    ranges: Ranges,
    random: np.random.Generator,
) -> Succession:
    """Lets the worst fifth take over from the best fifth, and perturbs what they took over.

    A fifth is rounded down, but at least one member. Those without a score come after those with one, and those that
    diverged come last. Of these all take over, and none without a score is taken over from.

    Args:
      scores: float [N], NaN where there is none.
      diverged: bool [N].
      hyperparameters: float32 [N] each.
      ranges: that perturbed values are clipped to.
      random: what chooses.

    Returns:
      Who takes over from whom, and the hyperparameters thereafter.
    """
    number = len(scores)
    order = np.lexsort((np.where(np.isnan(scores), np.inf, -scores), diverged))
    fifth = max(number // 5, 1)
    best = [member for member in order[:fifth] if not np.isnan(scores[member])]
    sources = np.arange(number)
    if not best:
        return Succession(sources, hyperparameters)
    worst = [member for member in order[-max(fifth, diverged.sum()) :] if member not in best]
    sources[worst] = random.choice(best, len(worst))
    following = {}
    for name, searched in SEARCHED.items():
        following[name] = hyperparameters[name][sources]
        numbers = searched.natural(following[name][worst].astype(float))
        following[name][worst] = searched.values(numbers * random.choice(FACTORS, len(worst)), ranges[name])
    return Succession(sources, following)


def ancestors(made: list[Exploitation], members: Any) -> np.ndarray:
    """Returns whom members descend from, int [K + 1, ...], in each of the K + 1 stretches between K exploitations."""
    line = [np.asarray(members)]
    for exploitation in reversed(made):
        line.append(exploitation.succession.sources[line[-1]])
    return np.stack(line[::-1])


def _of_lineages(metrics: Metrics, made: list[Exploitation]) -> np.ndarray:
    """Returns the members' final returns, float [N], along their lineages."""
    env_steps, returns = metrics["env_steps"][:, 0], metrics["episode_return"]
    line = ancestors(made, np.arange(returns.shape[1]))
    stretches = np.searchsorted([exploitation.env_steps for exploitation in made], env_steps)
    returns = np.take_along_axis(returns, line[stretches], 1)
    return np.where(dropped_seeds(metrics), np.nan, over_last_tenth(env_steps, returns))


class Stretch(NamedTuple):
    """A part of a schedule.

    Attributes:
      env_steps: from which on it holds.
      member: of the population, who was trained with it.
      hyperparameters: float32 [] each.
    """

    env_steps: int
    member: int
    hyperparameters: dict[str, np.ndarray]


def schedule(population: Population, member: int) -> list[Stretch]:
    """Returns the hyperparameters that a member's lineage was trained with, in order."""
    line = ancestors(population.exploitations, member)
    begun = [(0, population.starts)]
    begun += [(made.env_steps, made.succession.hyperparameters) for made in population.exploitations]
    return [
        Stretch(env_steps, int(member), {name: column[member] for name, column in values.items()})
        for (env_steps, values), member in zip(begun, line, strict=True)
    ]


def follow(config: Config, stretches: list[Stretch], folder: pathlib.Path, quiet: bool = False) -> Outcome:
    """Trains every seed of a run with a schedule.

    Args:
      config: validated settings, with estimator `none`.
      stretches: of the schedule, which begin at logging points of the run.
      folder: of the run.
      quiet: whether to show no progress.

    Returns:
      The outcome, of one setting.

    Raises:
      Exception: as `searching.search`.
    """
    begins = [stretch.env_steps for stretch in stretches]

    def between(metrics: Metrics) -> Succession:
        stretch = stretches[np.searchsorted(begins, metrics["env_steps"][-1, 0], side="right") - 1]
        return Succession(np.arange(config.num_seeds), _repeated(stretch, config.num_seeds))

    starts = Starts(
        config.seed + np.arange(config.num_seeds, dtype=np.int32), _repeated(stretches[0], config.num_seeds)
    )
    turn = Turn(f"the best member's schedule, {config.num_seeds} seeds")
    metrics, seconds = train_starts(config, starts, folder, turn, quiet, between)
    return Outcome(final_returns(metrics)[None], dropped_seeds(metrics)[None], seconds)


def _repeated(stretch: Stretch, number: int) -> Settings:
    return {name: np.repeat(value, number) for name, value in stretch.hyperparameters.items()}
