"""Pictures of runs, whatever came of these: readable at the width of a column, and drawn without a warning."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from pictures import write_run
from scipy.special import expit, logit

from agents.hyperparameters import BIJECTIONS
from experiments.config.settings import Config
from experiments.figures import plots
from experiments.studies.benchmark import report
from experiments.studies.discounting_chain import picture as chain_picture
from experiments.studies.search import picture as search_picture

RESULTS = Path(__file__).parents[2] / "results"
NOISE = np.random.default_rng(0).normal(size=(20, 12)).cumsum(0)


def run(folder, config, noise):
    """Writes the folder of a run in which everything is as far from its start as a noise, float [points, seeds]."""
    metrics = {"episode_return": 10.0 * noise, "loss/value": noise}
    for name, value in config.hyperparameters().items() if config.estimator != "none" else ():
        moved = expit(logit(value) + noise) if BIJECTIONS[name][1] == 1.0 else value * np.exp(noise)
        metrics |= {f"hyper/{name}": moved, f"meta_grad/{name}": 1e-4 * noise}
    return write_run(folder, config, metrics)


@pytest.mark.parametrize(
    ("num_tuned", "noise"),
    [(5, NOISE), (3, 0.0 * NOISE[:, :3]), (2, np.nan * NOISE[:, :3]), (1, NOISE[:1, :1])],
    ids=["many seeds", "all zero", "all NaN", "one seed and logging point"],
)
def test_whatever_came_of_runs_is_drawn(num_tuned, noise, figures, tmp_path):
    tuned = Config(meta_params=tuple(BIJECTIONS)[:num_tuned])
    fixed = tuned.with_estimator("none")
    configs = {
        "none": fixed,
        "single_step": tuned.with_estimator("single_step"),
        "mixing_10": dataclasses.replace(tuned, horizon=10),
        # At the ends of their ranges, of which no log-odds or logarithm is finite.
        "a $baseline$": dataclasses.replace(fixed, discount=0.997, lambda_=1.0, policy_cost=0.0, entropy_cost=0.0),
    }
    folders = {name: run(tmp_path / name, config, noise) for name, config in configs.items()}
    plots.draw_comparison(folders, tmp_path / "compare.png")
    runs = plots.label_by_settings(plots.read_runs(list(folders.values())))
    plots.draw_curves(runs, ("hyper/lambda", "hyper/entropy_cost", "episode_return", "loss/value"), tmp_path / "c.png")
    assert [len(figure.legends[0].get_texts()) for figure in figures] == [4, 4]
    expected = ["fixed: discount 0.97", "single-step", "mixing(10)", r"fixed, a \$baseline\$: discount 0.997"]
    labels = [text.get_text() for text in figures[0].legends[0].get_texts()]
    assert all(label.startswith(start) for label, start in zip(labels, expected, strict=True))
    assert runs[0].label.startswith("fixed, discount 0.97")
    assert runs[1].label == f"single-step, {runs[2].label.partition(', ')[2]}"


@pytest.mark.usefixtures("figures")
def test_committed_results_are_drawn():
    chain, machine, search = (
        json.loads((RESULTS / f"{name}.json").read_text())
        for name in ("discounting_chain", "benchmark-epyc", "self_tuning/search/search")
    )
    chain_picture.draw(chain, RESULTS / "chain.png")
    report.draw({suite: figures for suite, figures in machine.items() if suite != "device"}, RESULTS / "benchmark.png")
    search_picture.draw(search, Config(), RESULTS / "search.png")


def test_few_seeds_have_lines_and_many_a_band(figures, tmp_path):
    for number in (3, 12):
        plots.draw_training(run(tmp_path / str(number), Config(meta_params=("discount",)), NOISE[:, :number]))
    few, many = (figure.axes[0] for figure in figures)
    assert (len(few.lines), len(few.collections)) == (3 + 1, 0)
    assert (len(many.lines), len(many.collections)) == (1, 1)
    np.testing.assert_allclose(few.lines[0].get_ydata(), 10.0 * NOISE[:, :3].mean(1))


def test_spreads_are_pooled_standard_deviations():
    """Two seeds that are 2 d apart have the deviation d sqrt(2); variances are averaged over five points."""
    halves = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    samples = np.stack([10.0 - halves, 10.0 + halves], 1)
    expected = [np.sqrt(np.mean(2.0 * halves[max(point - 2, 0) : point + 3] ** 2)) for point in range(7)]
    np.testing.assert_allclose(plots.pooled_deviation(samples), expected)
