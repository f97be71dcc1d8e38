"""Search by the tree-structured Parzen estimator (TPE), which draws near settings that did well.

Bergstra, Bardenet, Bengio and Kégl, "Algorithms for Hyper-Parameter Optimization" (2011). The sampler is Optuna's, with
its own settings, but that it draws at random only as long as no setting has a return. It is asked for the settings of
a batch at once, none of which knows the returns of the others.
"""

import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from experiments.config.search import SEARCHED, Ranges, Settings
from experiments.storage.files import told, write_whole
from experiments.studies.search.trials import Outcome

STUDY = "study.log"
"""Optuna's journal, which `optuna-dashboard` opens."""

STUDY_NAME = "metagrad search"


def search(
    ranges: Ranges,
    num_settings: int,
    batch_size: int,
    seed: int,
    file: pathlib.Path,
    train: Callable[[int, Settings], Outcome],
) -> tuple[Settings, Outcome]:
    """Asks for settings batch by batch, has them trained, and tells what they return.

    A sampler begins anew with each call. It asks for the same settings again where `train` has the same outcomes, and
    so the file, which is written whole after each batch, is never read.

    Args:
      ranges: ends of the range of each hyperparameter in `SEARCHED`.
      num_settings: settings in all, at least 1.
      batch_size: settings of a batch, at least 1; the last batch may have fewer.
      seed: of the sampler.
      file: the study's journal, to be written.
      train: from the number of a batch and its settings to their outcome, at once where it was trained before.

    Returns:
      All settings in the order of asking, and their outcome. The sampler is told the mean return over a setting's
      seeds, or that the trial failed where one of them has no return.

    Raises:
      WriteError: if the file cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The first batch is random anyway. Optuna counts no failed trials, so a larger number would prolong that.
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    asked: list[Settings] = []
    outcomes: list[Outcome] = []
    for first in range(0, num_settings, batch_size):
        trials = [study.ask(_distributions(ranges)) for _ in range(min(batch_size, num_settings - first))]
        asked.append(_settings(trials, ranges))
        outcomes.append(train(len(outcomes), asked[-1]))
        for trial, returns in zip(trials, outcomes[-1].returns, strict=True):
            complete = bool(np.all(np.isfinite(returns)))
            result = (float(returns.mean()), TrialState.COMPLETE) if complete else (None, TrialState.FAIL)
            study.tell(trial, *result)
        _write(study, file)
    return (
        {name: np.concatenate([settings[name] for settings in asked]) for name in SEARCHED},
        Outcome(
            np.concatenate([outcome.returns for outcome in outcomes]),
            np.concatenate([outcome.diverged for outcome in outcomes]),
            sum(outcome.seconds for outcome in outcomes),
        ),
    )


def _write(study: optuna.Study, file: pathlib.Path) -> None:
    """Writes the study so far as a journal, all or nothing: Optuna reads none that ends within a line."""
    with told(file.parent), tempfile.TemporaryDirectory() as place:
        journal = pathlib.Path(place) / file.name
        storage = JournalStorage(JournalFileBackend(str(journal)))
        optuna.create_study(storage=storage, study_name=STUDY_NAME, direction="maximize").add_trials(study.trials)
        write_whole(file, journal.read_text())


def _name(name: str) -> str:
    """Returns what the study calls a hyperparameter, whose natural scale it has."""
    return f"1 - {name}" if SEARCHED[name].below_one else name


def _distributions(ranges: Ranges) -> dict[str, BaseDistribution]:
    """Returns the ranges on their natural scales, each even in the logarithm, as `sample` draws."""
    ends = {name: sorted(map(searched.natural, ranges[name])) for name, searched in SEARCHED.items()}
    return {_name(name): FloatDistribution(low, high, log=True) for name, (low, high) in ends.items()}


def _settings(trials: list[optuna.Trial], ranges: Ranges) -> Settings:
    """Returns what trials ask for, float32 [trials] each."""
    numbers = {name: np.array([trial.params[_name(name)] for trial in trials]) for name in SEARCHED}
    return {name: searched.values(numbers[name], ranges[name]) for name, searched in SEARCHED.items()}
