"""The comparison from flags to files, in miniature, and its arithmetic with training replaced."""

import dataclasses
import json
import shutil

import command_line
import numpy as np
import pytest
from miniature import SMALL, TABLES, UNUSUAL, rows

from experiments import compare
from experiments.config import comparison as comparison_config
from experiments.config import settings as config_lib
from experiments.config.ranges import UsageError
from experiments.config.settings import Config, Execution
from experiments.figures import plots
from experiments.runs import training as loop
from experiments.storage import config_file, files, run_folder
from experiments.storage import metrics as metrics_csv
from experiments.studies import comparison as comparing


def test_compare_writes_its_files_and_a_table(tmp_path, capsys):
    arguments = ["--meta_params=discount,learning_rate", "--baseline=discount:0.5,lambda:0.3"]
    assert not command_line.run(compare, *TABLES, *arguments, f"--logdir={tmp_path}/all")
    folder = tmp_path / "all"
    printed, bars = capsys.readouterr()
    for place, name in enumerate(["none", "single_step", "multi_step", "mixing", "baseline"], 1):
        assert f"\nrun {place}/5, {name}: 400/400 steps, left 00:00, in all " in bars
    assert "\r" not in bars  # there is no terminal to draw on
    comparison = json.loads((folder / "compare.json").read_text())
    assert comparison["env_steps"] == 400
    assert comparison["num_seeds"] == 2
    assert comparison["num_grid_seeds"] == 0
    assert comparison["wall_seconds"] > 0
    assert list(comparison["estimators"]) == ["none", "single_step", "multi_step", "mixing", "baseline"]
    assert config_file.load(folder / "baseline" / "config.json").lambda_ == 0.3
    for estimator, result in comparison["estimators"].items():
        assert estimator in printed
        assert (folder / estimator / "metrics.csv").exists()
        last_tenth = [
            float(row["episode_return"] or "nan") for row in rows(folder / estimator) if int(row["env_steps"]) > 360
        ]
        # A seed in which no episode ended has no part in the mean.
        measured = [np.mean(ended) for seed in (0, 1) if (ended := [x for x in last_tenth[seed::2] if np.isfinite(x)])]
        expected = pytest.approx(np.mean(measured), rel=1e-5) if measured else None
        assert result["final_return"]["estimate"] == expected
        tuned = [] if estimator in ("none", "baseline") else ["discount", "learning_rate"]
        assert list(result["meta_grad_std"]) == tuned
        assert result.get("meta_learning_rate") == (0.3 if tuned else None)
        for name, deviation in result["meta_grad_std"].items():
            samples = metrics_csv.read_metrics(folder / estimator)[f"meta_grad/{name}"]
            expected = np.sqrt(np.mean(np.var(samples, axis=1, ddof=1)))
            np.testing.assert_allclose(deviation["estimate"], expected, rtol=1e-5)  # files have six digits
            assert deviation["ci95"] == [None, None]  # two seeds are too few
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")


KEPT = Execution(keep=3)

HANDED_ON = {"execution": KEPT, "network": "the user's own", "quiet": True}
"""What every run of a comparison is given, whatever it is."""


@pytest.fixture
def trained(monkeypatch):
    """Replaces training: writes metrics by a rule, and notes which settings went where, in order."""
    configs, points = {}, 20

    def fake(config, folder, execution, turn, **options):
        assert {"execution": execution, **options} == HANDED_ON
        configs[folder.name] = config
        assert turn.title.split(", ")[1] in (folder.name, f"grid/{folder.name}")
        best = {"single_step": 0.3, "mixing": 0.1}.get(config.estimator, 0.0)
        gain = 0.0 if config.estimator == "none" else 2.0 - abs(config.meta_learning_rate - best)
        with run_folder.RunFolder(folder, config, execution) as writer:
            for point in range(points):
                # The last tenth, and no point before it, returns about 7.
                returns = (7.0 + gain if point >= 18 else 100.0) + np.arange(config.num_seeds)
                names = [f"meta_grad/{name}" for name in config.meta_params]
                gradients = {name: point + np.arange(config.num_seeds) * scale for scale, name in enumerate(names, 1)}
                writer.write_metrics(
                    (point + 1) * config.num_env_steps // points, {"episode_return": returns} | gradients
                )
        return loop.Result(metrics_csv.read_metrics(folder), 1.0)

    monkeypatch.setattr(compare, "train", fake)
    monkeypatch.setattr(plots, "draw_comparison", lambda *arguments: None)
    return configs


def test_compare_trains_every_estimator_alike_on_the_same_seeds(tmp_path, trained):
    config = dataclasses.replace(UNUSUAL, seed=4, num_seeds=3, num_env_steps=2_520, meta_learning_rate=0.5)
    comparison = comparing.compare(
        comparison_config.make_configs(config, config_lib.ESTIMATORS, []), tmp_path, **HANDED_ON
    )
    assert list(trained) == list(config_lib.ESTIMATORS) == list(comparison["estimators"])
    for estimator, used in trained.items():
        assert used == dataclasses.replace(config, estimator=estimator, outer_critic=estimator != "none")
        result = comparison["estimators"][estimator]
        gain = {"none": 0.0, "single_step": 1.8, "multi_step": 1.5, "mixing": 1.6}[estimator]
        assert result["final_return"]["estimate"] == result["interquartile_mean"]["estimate"] == 8.0 + gain
        np.testing.assert_allclose(result["mean_return"]["estimate"], (18 * 101.0 + 2 * (8.0 + gain)) / 20, rtol=1e-5)
        assert ("gain" in result) == (estimator != "none")
        if estimator != "none":
            assert result["gain"]["estimate"] == pytest.approx(gain)
            assert result["probability_of_improvement"]["estimate"] == 1.0
        deviations = {name: deviation["estimate"] for name, deviation in result["meta_grad_std"].items()}
        assert deviations == ({} if estimator == "none" else {"lambda": 1.0, "value_cost": 2.0})


def test_compare_chooses_each_meta_learning_rate_on_other_seeds(tmp_path, trained):
    config = dataclasses.replace(UNUSUAL, seed=4, num_seeds=3, num_env_steps=2_520)
    configs = comparison_config.make_configs(config, ["none", "single_step", "mixing_2"], ["discount:0.3"])
    grid = comparison_config.Grid((np.float32(0.1), 0.3), num_seeds=np.int64(2))
    comparison = comparing.compare(configs, str(tmp_path), grid, **HANDED_ON)
    tried = [f"{name}_{rate}" for name in ("single_step", "mixing_2") for rate in ("0.1", "0.3")]
    assert sorted(trained) == sorted(["none", "single_step", "mixing_2", "baseline", *tried])
    for name, chosen in (("single_step", 0.3), ("mixing_2", 0.1)):
        result = comparison["estimators"][name]
        assert trained[name].meta_learning_rate == result["meta_learning_rate"] == chosen
        assert (trained[name].seed, trained[name].num_seeds) == (4, 3)
        for rate, trial in zip((0.1, 0.3), result["grid"], strict=True):
            used = trained[f"{name}_{rate}"]
            assert used == dataclasses.replace(configs[name], seed=7, num_seeds=2, meta_learning_rate=rate)
            assert trial["final_return"]["estimate"] == pytest.approx(7.5 + 2.0 - abs(rate - chosen))
    assert comparison["estimators"]["baseline"]["gain"]["estimate"] == 0.0
    assert comparison["wall_seconds"] == 8.0


@pytest.mark.parametrize(
    ("changed", "rates", "complaint"),
    [
        (
            {},
            (0.1, 0.2, 0.3),
            "--meta_learning_rates=0.1,0.2,0.3: must be those of which the run in .*/single_step",
        ),
        ({}, (0.1,), "--meta_learning_rates=0.1: must be those of which the run in .*/single_step has"),
        ({"num_env_steps": 5_040}, (0.1, 0.3), "--num_env_steps=5040: must be 2520, as of the run in"),
        ({"rollout_length": 14}, (0.1, 0.3), "--rollout_length=14: must be 7, as of the run in"),
    ],
)
def test_a_run_is_not_chosen_anew_by_other_trials(changed, rates, complaint, tmp_path, trained):
    config = dataclasses.replace(UNUSUAL, seed=4, num_seeds=3, num_env_steps=2_520)

    def run(config, rates):
        configs = comparison_config.make_configs(config, ["single_step"])
        return comparing.compare(configs, tmp_path, comparison_config.Grid(rates, num_seeds=2), **HANDED_ON)

    first = run(config, (0.1, 0.3))
    trained.clear()
    with pytest.raises(UsageError, match=complaint):
        run(dataclasses.replace(config, **changed), rates)
    assert not trained
    shutil.rmtree(tmp_path / "single_step")  # as if stopped before the run began
    assert run(config, (0.1, 0.3)) == first


def test_a_run_without_trials_is_not_chosen_by_them_afterwards(tmp_path, trained):
    configs = comparison_config.make_configs(dataclasses.replace(UNUSUAL, num_env_steps=2_520), ["single_step"])
    comparing.compare(configs, tmp_path, **HANDED_ON)
    trained.clear()
    with pytest.raises(UsageError, match=r"--meta_learning_rates=0.25,0.3: must be those of which the run in"):
        comparing.compare(configs, tmp_path, comparison_config.Grid((0.25, 0.3)), **HANDED_ON)
    assert not trained


def test_summaries_weigh_seeds_and_points_as_they_say():
    """The interquartile mean of four seeds leaves two out; points of a run that was made longer lie further apart."""
    metrics = {
        "env_steps": np.tile([[10.0], [20.0], [120.0]], 4),
        "episode_return": np.array([[8.0] * 4, [np.nan] * 4, [0.0, 1.0, 4.0, 9.0]]),
        "seed": np.tile(np.arange(4.0), (3, 1)),
    }
    result = comparing._summarise(Config(estimator="none"), metrics, None)
    estimates = {name: result[name]["estimate"] for name in ("final_return", "interquartile_mean", "mean_return")}
    assert estimates == {
        "final_return": 3.5,
        "interquartile_mean": 2.5,
        "mean_return": pytest.approx((10 * 8.0 + 100 * 3.5) / 110),
    }


def test_gains_are_differences_seed_by_seed():
    """As they are not where either side is sorted first, or is a mean."""
    metrics = {"env_steps": np.full((1, 3), 10.0), "seed": np.arange(3.0)[None]}
    returns, fixed = (metrics | {"episode_return": np.array([values])} for values in ([5.0, 4.0, 3.0], [4.0, 1.0, 6.0]))
    result = comparing._summarise(Config(estimator="none"), returns, fixed)
    # Gains of 1, 3 and -3: their standard error is 1.7638, Student's t quantile for three seeds 4.3027.
    assert result["gain"]["estimate"] == pytest.approx(1 / 3)
    np.testing.assert_allclose(result["gain"]["ci95"], [1 / 3 - 7.5890, 1 / 3 + 7.5890], rtol=1e-4)
    assert result["probability_of_improvement"]["estimate"] == pytest.approx(2 / 3)


def test_a_comparison_without_a_folder_chooses_its_rates_too(trained):
    config = dataclasses.replace(UNUSUAL, num_seeds=3, num_env_steps=2_520)
    configs = comparison_config.make_configs(config, ["single_step"])
    comparison = comparing.compare(configs, grid=comparison_config.Grid((0.1, 0.3), num_seeds=2), **HANDED_ON)
    assert trained["single_step"].meta_learning_rate == 0.3
    assert [trial["meta_learning_rate"] for trial in comparison["estimators"]["single_step"]["grid"]] == [0.1, 0.3]


def test_the_flags_of_the_grid_and_of_the_execution_arrive_and_a_folder_with_trials_alone_goes_on(
    tmp_path, monkeypatch
):
    arrived = []

    def stopped(*arguments):
        arrived.append(arguments)
        raise files.WriteError("stopped")

    monkeypatch.setattr(compare, "compare", stopped)
    (tmp_path / comparison_config.GRID).mkdir()
    given = ["--meta_learning_rates=0.1,0.3", "--num_grid_seeds=4", "--on_divergence=drop", f"--logdir={tmp_path}"]
    assert command_line.run(compare, *SMALL, "--estimators=mixing", *given) == "stopped"
    ((configs, folder, grid, execution),) = arrived
    assert list(configs) == ["mixing"]
    assert (folder, grid) == (tmp_path, comparison_config.Grid((0.1, 0.3), 4))
    assert execution == Execution(on_divergence="drop")


def test_a_meta_learning_rate_without_a_return_is_the_worst():
    trials = [{"meta_learning_rate": rate, "final_return": {"estimate": mean}} for rate, mean in ((1, None), (2, -0.5))]
    assert comparing._best_rate(trials) == comparing._best_rate(trials[::-1]) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--estimators="], "--estimators=: must be given: a comma list"),
        (
            ["--estimators=mixing:5,tuning"],
            "--estimators=mixing:5,tuning: must be a comma list, without repetition, of",
        ),
        (["--estimators=single_step:3"], "--estimators=single_step:3: must be a comma list, without repetition, of"),
        (["--estimators=mixing,mixing"], "--estimators=mixing,mixing: must be a comma list, without repetition, of"),
        (
            ["--estimators=mixing:5,mixing_5"],
            "--estimators=mixing:5,mixing_5: must be a comma list, without repetition,",
        ),
        (["--estimators=mixing:0"], "--horizon=0: must be at least 1"),
        (["--estimators=mixing:3"], "--num_env_steps=400: must be a multiple of num_envs × rollout_length × horizon"),
        ([f"--estimators=mixing_{'9' * 5000}"], f"--estimators=mixing_{'9' * 5000}: must be a comma list"),
        (["--baseline=discount:1.5"], "--discount=1.5: must be in (0, 1)"),
        (["--baseline=horizon:5"], "--baseline=horizon:5: must be a comma list of NAME:VALUE, NAME of discount"),
        (["--baseline=lambda:0,lambda:1"], "--baseline=lambda:0,lambda:1: must be a comma list of NAME:VALUE"),
        (["--baseline=discount"], "--baseline=discount: must be a comma list of NAME:VALUE"),
        (["--meta_learning_rates=0.1,0"], "--meta_learning_rates=0.1,0: must be positive numbers"),
        (["--meta_learning_rates=0.1,x"], "--meta_learning_rates=0.1,x: must be positive numbers"),
        (["--meta_learning_rates=0.1,0.1"], "--meta_learning_rates=0.1,0.1: must be positive numbers"),
        (["--meta_learning_rates=0.1,0.1000000001"], "--meta_learning_rates=0.1,0.1000000001: must be positive"),
        (["--meta_learning_rates=0.1", "--meta_learning_rate=0.1"], "--meta_learning_rate=0.1: must be left out"),
        (["--meta_learning_rates=0.1", "--num_grid_seeds=0"], "--num_grid_seeds=0: must be at least 1"),
    ],
)
def test_impossible_comparisons_are_refused_in_one_line(arguments, complaint, tmp_path, capsys):
    assert command_line.run(compare, *SMALL, *arguments, f"--logdir={tmp_path}/all") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(complaint)
    assert not (tmp_path / "all").exists()


def test_spreads_are_pooled_standard_deviations():
    """Two seeds that are 2 d apart have the deviation d sqrt(2); variances are averaged over five points."""
    halves = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    samples = np.stack([10.0 - halves, 10.0 + halves], 1)
    expected = [np.sqrt(np.mean(2.0 * halves[max(point - 2, 0) : point + 3] ** 2)) for point in range(7)]
    np.testing.assert_allclose(plots._pooled_deviation(samples), expected)
