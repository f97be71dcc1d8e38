"""The comparison from flags to files, in miniature, and its arithmetic with training replaced."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import command_line
import numpy as np
import pytest
from miniature import SMALL, TABLES

from experiments import compare
from experiments.config.comparison import DEFAULT_ESTIMATORS, Grid, make_configs
from experiments.config.ranges import UsageError
from experiments.config.settings import Config, Execution
from experiments.figures import outcome, plots
from experiments.runs.training import Result
from experiments.storage import config_file
from experiments.storage.metrics import read_metrics
from experiments.studies import comparison as comparing

CONFIG = Config(seed=4, num_seeds=3, horizon=2, num_env_steps=20 * 1_280, meta_params=("lambda", "value_cost"))


def test_compare_writes_its_files_and_a_table(tmp_path, capsys):
    arguments = ["--estimators=none,mixing", "--baseline=discount:0.5,lambda:0.3"]
    assert not command_line.run(compare, *TABLES, *arguments, f"--logdir={tmp_path}")
    printed, bars = capsys.readouterr()
    comparison = json.loads((tmp_path / "compare.json").read_text())
    assert (comparison["env_steps"], comparison["num_seeds"], comparison["num_grid_seeds"]) == (400, 2, 0)
    assert list(comparison["estimators"]) == ["none", "mixing", "baseline"]
    assert config_file.load(tmp_path / "baseline" / "config.json").lambda_ == 0.3
    for place, (name, result) in enumerate(comparison["estimators"].items(), 1):
        assert name in printed
        assert f"\nrun {place}/3, {name}: 400/400 steps, left 00:00, " in bars
        columns = read_metrics(tmp_path / name)
        last = columns["episode_return"][columns["env_steps"][:, 0] > 360]
        assert result["final_return"]["estimate"] == pytest.approx(np.nanmean(np.nanmean(last, axis=0)), rel=1e-5)
        assert result.get("meta_learning_rate") == (0.3 if name == "mixing" else None)
        for tuned, deviation in result["meta_grad_std"].items():
            expected = np.sqrt(columns[f"meta_grad/{tuned}"].var(axis=1, ddof=1).mean())
            assert deviation["estimate"] == pytest.approx(expected, rel=1e-5)
            assert deviation["ci95"] == [None, None]  # two seeds are too few
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")


NONE = np.nan
DROPPED = 100.0
"""The first return of a seed that is dropped once it is `NONE`: it would stand out."""


@pytest.fixture
def training(monkeypatch):
    """Replaces training by returns, [points, seeds], that are given or follow a rule; notes the runs in order."""
    it = SimpleNamespace(runs={}, returns={}, env_steps=None)

    def rule(config):
        best = {"single_step": 0.3, "mixing": 0.1}.get(config.estimator, 0.0)
        gain = 0.0 if config.estimator == "none" else 2.0 - abs(config.meta_learning_rate - best)
        # The last tenth, and no point before it, returns about 7.
        return np.where(np.arange(20)[:, None] >= 18, 7.0 + gain, 100.5) + np.arange(config.num_seeds)

    def train(config, folder, execution, *, quiet, turn):
        assert turn.title.split(", ")[1] in (folder.name, f"grid/{folder.name}")
        it.runs[folder.name] = config, execution
        folder.mkdir(parents=True, exist_ok=True)
        config_file.save(config, folder / "config.json")
        returns = np.array(it.returns.get(folder.name, rule(config)))
        points, seeds = np.arange(1.0, len(returns) + 1)[:, None], np.arange(returns.shape[1])
        lost = np.isnan(returns) & (returns[0] == DROPPED)
        env_steps = points * config.num_env_steps / len(returns) if it.env_steps is None else it.env_steps
        columns = {"env_steps": np.tile(env_steps, len(seeds)), "seed": np.tile(config.seed + seeds, (len(points), 1))}
        tuned = () if config.estimator == "none" else config.meta_params
        gradients = {f"meta_grad/{name}": points + scale * seeds for scale, name in enumerate(tuned, 1)}
        gradients |= {name.replace("meta_grad", "hyper"): column for name, column in gradients.items()}
        measured = {name: np.where(lost, np.nan, gradient) for name, gradient in gradients.items()}
        return Result(columns | {"episode_return": returns} | measured, 1.0)

    monkeypatch.setattr(comparing, "train", train)
    monkeypatch.setattr(plots, "draw_comparison", lambda *_: None)
    return it


def _compared(*estimators, rates=()):
    return comparing.compare(make_configs(CONFIG, estimators), grid=Grid(rates))["estimators"]


def _estimates(result, *names):
    return [result[name]["estimate"] for name in names]


@pytest.mark.parametrize("kept", [True, False], ids=["folder", "no_folder"])
def test_compare_trains_alike_on_the_same_seeds_and_chooses_each_rate_on_others(kept, tmp_path, training):
    configs = make_configs(CONFIG, ["none", "single_step", "multi_step", "mixing_2"], ["discount:0.3"])
    grid = Grid((np.float32(0.1), 0.3), num_seeds=np.int64(2))
    comparison = comparing.compare(configs, str(tmp_path) if kept else None, grid, Execution(keep=3))
    assert all(execution == Execution(keep=3) for _, execution in training.runs.values())
    assert comparison["wall_seconds"] == len(training.runs) == 5 + 3 * 2
    assert list(comparison["estimators"]) == list(configs)
    chosen = {"single_step": (0.3, 2.0), "multi_step": (0.1, 1.9), "mixing_2": (0.1, 2.0)}
    for name, result in comparison["estimators"].items():
        rate, gain = chosen.get(name, (None, 0.0))
        changed = {"meta_learning_rate": rate} if rate else {}
        assert training.runs[name][0] == dataclasses.replace(configs[name], **changed)
        assert result.get("meta_learning_rate") == rate
        assert _estimates(result, "final_return", "interquartile_mean") == pytest.approx([8.0 + gain] * 2)
        assert "gain" not in result if name == "none" else result["gain"]["estimate"] == pytest.approx(gain)
        deviations = {name: deviation["estimate"] for name, deviation in result["meta_grad_std"].items()}
        assert deviations == ({"lambda": 1.0, "value_cost": 2.0} if rate else {})
        for tried, trial in zip((0.1, 0.3) if rate else (), result["grid"], strict=True):
            on_others = dataclasses.replace(configs[name], seed=7, num_seeds=2, meta_learning_rate=tried)
            assert training.runs[f"{name}_{tried}"][0] == on_others
            assert trial["final_return"]["estimate"] == pytest.approx(7.5 + gain - abs(tried - rate))


@pytest.mark.parametrize(
    ("changed", "before", "after", "complaint"),
    [
        ({}, (0.1, 0.3), (0.1, 0.2, 0.3), "meta_learning_rates=0.1,0.2,0.3: must be those of which the run in"),
        ({}, (), (0.25, 0.3), "meta_learning_rates=0.25,0.3: must be those of which the run in"),
        ({"num_env_steps": 51_200}, (0.1, 0.3), (0.1, 0.3), "num_env_steps=51200: must be 25600, as of the run in"),
        ({"rollout_length": 10}, (0.1, 0.3), (0.1, 0.3), "rollout_length=10: must be 20, as of the run in"),
    ],
)
def test_a_run_is_not_chosen_anew_by_other_trials(changed, before, after, complaint, tmp_path, training):
    def run(config, rates):
        return comparing.compare(make_configs(config, ["single_step"]), tmp_path, Grid(rates, num_seeds=2))

    first = run(CONFIG, before)
    training.runs.clear()
    with pytest.raises(UsageError, match=complaint):
        run(dataclasses.replace(CONFIG, **changed), after)
    assert not training.runs
    shutil.rmtree(tmp_path / "single_step")  # as if stopped before the run began
    assert run(CONFIG, before) == first


def test_the_flags_of_the_grid_and_of_the_execution_arrive(tmp_path, training, capsys):
    (tmp_path / "grid").mkdir()  # a folder with trials alone goes on
    given = ["--meta_learning_rates=0.1,0.3", "--num_grid_seeds=4", "--on_divergence=drop", f"--logdir={tmp_path}"]
    assert not command_line.run(compare, *SMALL, "--estimators=mixing", *given)
    seeds = {name: config.num_seeds for name, (config, _) in training.runs.items()}
    assert seeds == {"mixing_0.1": 4, "mixing_0.3": 4, "mixing": 2}
    assert training.runs["mixing"][1] == Execution(on_divergence="drop")
    assert "Final return at each meta-learning rate, on 4 other seeds" in capsys.readouterr().out
    assert list(make_configs(CONFIG)) == compare.define_flags()["estimators"].value == list(DEFAULT_ESTIMATORS)


def test_summaries_weigh_seeds_and_points_as_they_say(training):
    """The interquartile mean of four seeds leaves two out; points of a run that was made longer lie further apart."""
    training.returns["none"] = [[8.0] * 4, [NONE] * 4, [0.0, 1.0, 4.0, 9.0]]
    training.env_steps = [[10.0], [20.0], [120.0]]
    expected = [3.5, 2.5, pytest.approx((10 * 8.0 + 100 * 3.5) / 110)]
    assert _estimates(_compared("none")["none"], "final_return", "interquartile_mean", "mean_return") == expected


def test_gains_are_differences_seed_by_seed(training):
    """As they are not where either side is sorted first, or is a mean."""
    training.returns |= {"none": [[4.0, 1.0, 6.0]], "mixing": [[5.0, 4.0, 3.0]]}
    result = _compared("none", "mixing")["mixing"]
    # Gains of 1, 3 and -3: their standard error is 1.7638, Student's t quantile for three seeds 4.3027.
    assert _estimates(result, "gain", "probability_of_improvement") == pytest.approx([1 / 3, 2 / 3])
    np.testing.assert_allclose(result["gain"]["ci95"], [1 / 3 - 7.5890, 1 / 3 + 7.5890], rtol=1e-4)


@pytest.mark.parametrize("healthy", [1, 19], ids=["early", "in_the_last_tenth"])
def test_seeds_that_were_dropped_or_end_no_episode_any_more_are_left_out_and_named(healthy, training):
    """The latter learned to play in circles."""
    dropped = [[1.0, DROPPED, 3.0]] * healthy + [[1.0, NONE, 3.0]] * (20 - healthy)
    endless = [[1.0, 3.0, 5.0]] + [[NONE, 3.0, 5.0]] * 19
    training.returns |= {"none": [[0.0] * 3] * 20, "mixing": dropped, "single_step": endless}
    results = _compared("none", "mixing", "single_step")
    mixing, single_step = results["mixing"], results["single_step"]
    assert (mixing["dropped_seeds"], mixing["endless_seeds"]) == ([5], [])
    assert (single_step["dropped_seeds"], single_step["endless_seeds"]) == ([], [4])
    assert _estimates(mixing, "final_return", "gain", "mean_return") == [2.0] * 3
    assert mixing["meta_grad_std"]["lambda"]["estimate"] == pytest.approx(np.sqrt(2.0), rel=1e-5)  # of 0 and 2
    assert _estimates(single_step, "final_return", "gain", "mean_return") == [4.0, 4.0, 3.0]
    printed = outcome.tables({"estimators": results, "num_seeds": 3})
    assert "mixing (1 of 3 seeds dropped)" in printed
    assert "single_step (1 of 3 seeds without a last return)" in printed


def test_a_rate_at_which_a_seed_has_no_return_is_the_worst(training):
    """Its survivors may be better for it."""
    training.returns |= {"mixing_0.1": [[DROPPED, 9.0], [NONE, 9.0]], "mixing_0.2": [[9.0, 9.0], [NONE, 9.0]]}
    training.returns |= {"mixing_0.3": [[-5.0, -5.0]]}
    result = _compared("mixing", rates=(0.1, 0.2, 0.3))["mixing"]
    assert result["meta_learning_rate"] == 0.3
    assert [trial["final_return"]["estimate"] for trial in result["grid"]] == [None, None, -5.0]


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--estimators=", "--estimators=: must be given: a comma list"),
        ("--estimators=mixing:5,mixing_5", "--estimators=mixing:5,mixing_5: must be a comma list, without repetition,"),
        ("--baseline=discount:1.5", "--discount=1.5: must be in (0, 1)"),
        ("--baseline=lambda:0,lambda:1", "--baseline=lambda:0,lambda:1: must be a comma list of NAME:VALUE"),
        ("--meta_learning_rates=0.1,0.1000000001", "--meta_learning_rates=0.1,0.1000000001: must be positive"),
        ("--meta_learning_rates=0.1 --meta_learning_rate=0.1", "--meta_learning_rate=0.1: must be left out with --met"),
    ],
)
def test_impossible_comparisons_are_refused_in_one_line(argument, complaint, tmp_path, capsys):
    assert command_line.run(compare, *SMALL, *argument.split(), f"--logdir={tmp_path}/all") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(complaint)
    assert not (tmp_path / "all").exists()
