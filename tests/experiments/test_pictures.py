"""Pictures of runs, whatever came of these: readable at the width of a column, and drawn without a warning."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit

from experiments import curves
from experiments.config.settings import EXECUTION, Config
from experiments.figures import plots
from experiments.storage.metrics import read_metrics
from experiments.storage.run_folder import RunFolder
from experiments.studies.benchmark import report
from experiments.studies.discounting_chain import picture
from metagrad.meta_parameters import INTERVALS

TUNED = Config(meta_params=("discount", "lambda"))
RESULTS = Path(__file__).parents[2] / "results"
NOISE = np.random.default_rng(0).normal(size=(20, 12)).cumsum(0)


def run(folder, config, noise):
    """Writes the folder of a run in which everything is as far from its start as a noise, float [points, seeds]."""
    metrics = {"episode_return": 10.0 * noise, "loss/value": noise}
    for name, value in config.hyperparameters().items() if config.estimator != "none" else ():
        moved = expit(logit(value) + noise) if INTERVALS[name][1] == 1.0 else value * np.exp(noise)
        metrics |= {f"hyper/{name}": moved, f"meta_grad/{name}": 1e-4 * noise}
    with RunFolder(folder, dataclasses.replace(config, num_seeds=noise.shape[1]), EXECUTION) as writer:
        for point in range(len(noise)):
            writer.write_metrics(100_000 * (point + 1), {name: column[point] for name, column in metrics.items()})
    return folder


@pytest.mark.parametrize(
    ("num_tuned", "noise"),
    [(5, NOISE), (3, NOISE[:, :3]), (3, 0.0 * NOISE[:, :3]), (2, np.nan * NOISE[:, :3]), (1, NOISE[:1, :1])],
    ids=["many seeds", "few", "all zero", "all NaN", "one seed and logging point"],
)
def test_whatever_came_of_runs_is_drawn(num_tuned, noise, figures, tmp_path):
    tuned = dataclasses.replace(TUNED, meta_params=tuple(INTERVALS)[:num_tuned])
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
    runs = {f"_{name}": curves.with_fixed(read_metrics(folders[name]), config) for name, config in configs.items()}
    curves.draw(runs, ("hyper/lambda", "hyper/entropy_cost", "episode_return", "loss/value"), tmp_path / "curves.png")
    assert [len(figure.legends[0].get_texts()) for figure in figures] == [4, 4]


@pytest.mark.usefixtures("figures")
def test_committed_results_are_drawn():
    chain, machine = (
        json.loads((RESULTS / f"{name}.json").read_text()) for name in ("discounting_chain", "benchmark-epyc")
    )
    picture.draw(chain, RESULTS / "chain.png")
    report.draw({suite: figures for suite, figures in machine.items() if suite != "device"}, RESULTS / "benchmark.png")


def test_few_seeds_have_lines_and_many_a_band(figures, tmp_path):
    for number in (3, 12):
        plots.draw_training(run(tmp_path / str(number), TUNED, NOISE[:, :number]))
    few, many = (figure.axes[0] for figure in figures)
    assert (len(few.lines), len(few.collections)) == (1 + 3, 0)
    assert (len(many.lines), len(many.collections)) == (1, 1)
    np.testing.assert_allclose(few.lines[0].get_ydata(), 10.0 * NOISE[:, :3].mean(1))


def test_a_legend_says_what_differs():
    fixed = TUNED.with_estimator("none")
    configs = {"none": fixed, "baseline": dataclasses.replace(fixed, discount=0.997), "mixing_10": TUNED}
    assert plots._labels(configs) == ["fixed: discount 0.97", "fixed, baseline: discount 0.997", "mixing(5)"]
    assert plots._labels({"": fixed}) == ["fixed: discount 0.97, lambda 0.9"]
    assert curves.labels(list(configs.values())) == [
        "fixed, discount 0.97",
        "fixed, discount 0.997",
        "mixing(5), discount 0.97",
    ]
