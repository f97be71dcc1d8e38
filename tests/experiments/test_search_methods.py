"""Search by TPE and by population-based training, in miniature."""

import json
import os
import signal
import sys

import command_line
import jax
import numpy as np
import optuna
import pytest
import tables
from test_search import RANGES, SEARCH, breaking

from experiments import search as command
from experiments.config.search import SEARCHED
from experiments.config.settings import Config
from experiments.runs import seeds
from experiments.runs.layout import lay_out
from experiments.runs.seeds import Seeds, Starts, Succession
from experiments.storage.metrics import read_metrics
from experiments.studies.search import pbt, picture, report, tpe
from experiments.studies.search.pbt import Stretch
from experiments.studies.search.trials import Outcome

METHODS = {
    "tpe": ["--method=tpe", "--num_settings=4", "--num_seeds=1", "--batch_size=2"],
    "pbt": ["--method=pbt", "--exploit_every=700"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A search by each method, from flags to files, that nothing stopped; of six members the second breaks."""
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pbt, "sample", breaking)
        for name, flags in METHODS.items():
            made[name] = tmp_path_factory.mktemp(name)
            assert not command_line.run(command, *SEARCH, *flags, f"--logdir={made[name]}")
    return made


def _results(folder):
    return json.loads((folder / "search.json").read_text())


@pytest.mark.parametrize(("name", "num_points", "stops"), [("tpe", 132, (60, 100)), ("pbt", 88, (30, 60))])
def test_a_search_that_was_stopped_ends_with_the_same(name, num_points, stops, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(pbt, "sample", breaking)
    monkeypatch.setattr(os, "_exit", sys.exit)
    wait, points = seeds.wait, []

    def signalled(summary):
        wait(summary)
        points.append(None)
        if len(points) in stops:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(seeds, "wait", signalled)
    for _ in stops:
        assert command_line.run(command, *SEARCH, *METHODS[name], f"--logdir={tmp_path}") == 128 + signal.SIGTERM
    assert not command_line.run(command, *SEARCH, *METHODS[name], f"--logdir={tmp_path}")
    assert _results(tmp_path) | {"wall_seconds": None} == _results(whole[name]) | {"wall_seconds": None}
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in whole[name].iterdir()}
    assert len(points) == num_points  # none is lost or trained again


def _opposite(outcome):
    return outcome._replace(returns=-outcome.returns)


def test_tpe_learns_from_what_it_was_told(tmp_path):
    """The return is highest at a discount of 0.99, whatever else; where lambda is low, training breaks."""
    calls = []

    def train(number, settings):
        calls.append(number)
        peak = -np.abs(np.log10((1.0 - settings["discount"]) / 0.01))
        returns = np.where(settings["lambda"] < 0.3, np.nan, peak)[:, None] + [-0.1, 0.1]
        return Outcome(returns, np.isnan(returns), 1.0)

    def stopped(number, settings):
        if number == 2:
            raise KeyboardInterrupt
        return train(number, settings)

    arguments = (RANGES, 30, 8, 7, tmp_path / "study.log")
    with pytest.raises(KeyboardInterrupt):
        tpe.search(*arguments, stopped)
    settings, outcome = tpe.search(*arguments, train)
    again, _ = tpe.search(*arguments[:-1], tmp_path / "other", train)
    assert calls == [0, 1, *range(4), *range(4)]
    assert outcome.returns.shape == (30, 2)
    assert outcome.seconds == 4.0
    for name in SEARCHED:
        np.testing.assert_array_equal(settings[name], again[name])
        assert settings[name].dtype == np.float32
        low, high = np.float32(RANGES[name])
        assert low <= settings[name].min() < settings[name].max() <= high
    assert np.isnan(outcome.returns[:8]).any()
    opposite, _ = tpe.search(*arguments[:-1], tmp_path / "opposite", lambda *asked: _opposite(train(*asked)))
    np.testing.assert_array_equal(opposite["discount"][:8], settings["discount"][:8])
    assert np.all(opposite["discount"][8:16] != settings["discount"][8:16])
    means = outcome.returns.mean(1)
    assert np.nanmax(means[8:]) > np.nanmax(means[:8])
    assert np.nanmedian(means[16:]) > np.nanmedian(means[:8]) + 0.3
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.log"))
    study = optuna.load_study(study_name=None, storage=optuna.storages.JournalStorage(backend))
    kept = np.array([np.nan if trial.value is None else trial.value for trial in study.trials])
    np.testing.assert_allclose(kept, means)
    assert all(
        trial.state.name == ("FAIL" if np.isnan(mean) else "COMPLETE")
        for trial, mean in zip(study.trials, means, strict=True)
    )
    np.testing.assert_allclose([1.0 - trial.params["1 - discount"] for trial in study.trials], settings["discount"])


def test_the_worst_fifth_takes_over_from_the_best_fifth_and_perturbs():
    scores = np.array([5.0, 1.0, 9.0, 3.0, 8.0, 2.0, 4.0, 6.0, 7.0, np.nan, 0.0])
    diverged = np.zeros(11, bool)
    spread = np.linspace(0.0, 1.0, 11, dtype=np.float32)
    before = {name: np.float32(low) + spread * np.float32(high - low) for name, (low, high) in RANGES.items()}
    seen = []
    for seed in range(64):
        sources, after = pbt.exploit(scores, diverged, before, RANGES, np.random.default_rng(seed))
        assert set(np.flatnonzero(sources != np.arange(11))) == {9, 10}  # without a score, and the lowest
        assert set(sources[[9, 10]]) <= {2, 4}
        for name, searched in SEARCHED.items():
            np.testing.assert_array_equal(np.delete(after[name], [9, 10]), np.delete(before[name], [9, 10]))
            low, high = np.float32(RANGES[name])
            for member in (9, 10):
                value = before[name][sources[member]].astype(float)
                factors = [
                    np.clip(searched.natural(searched.natural(value) * factor), low, high) for factor in (0.8, 1.2)
                ]
                place = np.isclose(after[name][member], factors, rtol=1e-6)
                assert place.sum() == 1
                seen.append((member, sources[member], name, int(place.argmax())))
    assert len(set(seen)) == 2 * 2 * 4 * 2  # all that may happen does
    at_an_end = {name: np.full(11, ends[1], np.float32) for name, ends in RANGES.items()}
    _, clipped = pbt.exploit(scores, diverged, at_an_end, RANGES, np.random.default_rng(0))
    assert all(clipped[name].max() == np.float32(RANGES[name][1]) for name in RANGES)
    diverged[[2, 3, 4, 5]] = True
    broken = np.where(diverged, np.nan, scores)
    sources, _ = pbt.exploit(broken, diverged, before, RANGES, np.random.default_rng(0))
    assert set(np.flatnonzero(sources != np.arange(11))) == {2, 3, 4, 5}  # more than a fifth
    assert set(sources[diverged]) <= {7, 8}
    sources, after = pbt.exploit(np.full(11, np.nan), diverged, before, RANGES, np.random.default_rng(0))
    assert sources.tolist() == [*range(11)]  # nobody to take over from
    assert after == before


def test_members_that_take_over_go_their_own_ways():
    agent = tables.agent(estimator=None, outer_critic=None)
    rates = np.array([0.5, 0.5, 0.4], np.float32)
    population = Seeds(agent, Starts(np.arange(3, dtype=np.int32), {"learning_rate": rates}), lay_out(3))
    population.begin(None)
    population.advance(np.full(3, 2))
    before = population.states()
    population.succeed(Succession(np.array([0, 0, 2]), {"learning_rate": rates}))
    after = population.states()
    np.testing.assert_array_equal(after.key, before.key)
    population.advance(np.full(3, 3))
    assert after.num_updates.tolist() == [2, 2, 2]
    taken_over, ends = (jax.tree.leaves(state.position.learner_state.params) for state in (after, population.states()))
    for here, end in zip(taken_over, ends, strict=True):
        np.testing.assert_array_equal(here[0], here[1])
        assert not np.array_equal(here[0], here[2])
        assert not np.array_equal(end[0], end[1])


def test_a_member_that_diverged_is_revived_and_the_best_lineage_confirmed(whole, figures, tmp_path):
    results, best = _results(whole["pbt"]), _results(whole["pbt"])["best"]
    assert results["env_steps"] == (6 + 2) * 2_600
    assert [exploitation["env_steps"] for exploitation in results["exploitations"]] == [720, 1440, 2100]
    first = results["exploitations"][0]
    assert [score is None for score in first["scores"]] == [False, True, False, False, False, False]
    (copy,) = first["copies"]
    assert (copy["to"], copy["from"]) == (1, np.nanargmax(np.array(first["scores"], float)))
    metrics = read_metrics(whole["pbt"] / "searching")
    assert np.isnan(metrics["loss/value"][:12, 1]).all()
    assert np.isfinite(metrics["loss/value"][12:]).all()
    scores = metrics["episode_return"][12:24]
    np.testing.assert_allclose(results["exploitations"][1]["scores"], np.nanmean(scores, 0))
    assert results["settings"][1]["returns"] != [None]
    assert best["seeds"] == [13, 14]  # after those of six members
    assert [stretch["env_steps"] for stretch in best["schedule"]] == [0, 720, 1440, 2100]
    member = best["setting"]
    for stretch, made in zip(best["schedule"][:0:-1], results["exploitations"][::-1], strict=True):
        assert stretch["member"] == member
        copied = {copy["to"]: copy for copy in made["copies"]}
        if member in copied:
            assert stretch["hyperparameters"] == copied[member]["hyperparameters"]
            member = copied[member]["from"]
    assert best["schedule"][0] == {"env_steps": 0, "member": member, "hyperparameters": results["starts"][member]}
    assert best["schedule"][-1]["hyperparameters"] == best["hyperparameters"]
    assert report.confirmation(results).startswith(f"Member {best['setting']} ends at ")
    picture.draw(results, Config(num_env_steps=2_600), tmp_path / "search.png")


def test_fresh_seeds_follow_the_schedule_from_where_it_changes(tmp_path):
    sizes = {"num_envs": 4, "rollout_length": 5, "num_channels": 4, "policy_width": 8, "value_width": 8}
    config = Config(environment="tables:process", num_env_steps=600, num_seeds=2, **sizes).with_estimator("none")
    values = {name: np.float32(ends[1]) for name, ends in RANGES.items()}
    others = values | {"learning_rate": np.float32(0.003)}
    schedules = {"constant": [Stretch(0, 0, values)], "changing": [Stretch(0, 0, values), Stretch(300, 1, others)]}
    rows = {}
    for name, stretches in schedules.items():
        pbt.follow(config, stretches, tmp_path / name, quiet=True)
        rows[name] = read_metrics(tmp_path / name)["loss/value"]
    # A logging point is an update, whose loss is from before it.
    np.testing.assert_array_equal(rows["constant"][:16], rows["changing"][:16])
    assert not np.any(rows["constant"][16] == rows["changing"][16])
