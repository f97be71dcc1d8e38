"""The pictures of self-tuning, from committed files."""

import json
import re

import numpy as np
import pytest

from experiments.config.settings import Config
from experiments.storage import config_file
from metagrad.statistics import Estimate
from results import self_tuning

PUBLISHED = {
    # Millions of environment steps and mean returns, as read off the data of arXiv 2211.10550.
    "fixed": ((3.75, 5.3), (15.0, 9.7), (30.0, 14.7), (74.7, 17.4)),
    "single-step": ((3.75, 5.5), (15.0, 10.3), (30.0, 16.3), (74.7, 24.9)),
    "single-step with outer critic": ((3.75, 5.6), (15.0, 15.1), (30.0, 27.4), (74.7, 34.2)),
}

ENDS = {
    # Each line of the picture that is ours, and the means over the last tenth that results/self_tuning.md tells.
    "mixing(5), from 0.8": "31.8 [28, 35.7]",
    "single-step, from 0.8": "28.5 [23.1, 33.9]",
    "fixed at 0.8": "15.9 [15.8, 15.9]",
    "mixing(5), our settings": "30 [25.8, 34.2]",
    "single-step, our settings": "29.2 [25.3, 33.1]",
    "fixed at 0.8, our settings": "13.4 [13.2, 13.6]",
    "mixing(5), published settings, 5 × rate": "22 [9.42, 34.7]",
    "single-step, published settings": "34.5 [34.2, 34.8]",
    "single-step, own critic, published settings": "28.3 [17.1, 39.5]",
    "fixed at 0.8, published settings": "17.1 [16.9, 17.3]",
}


@pytest.mark.parametrize("agent", PUBLISHED)
def test_the_published_curves_are_the_published_ones(agent):
    curve = self_tuning.read_published(agent)
    for steps, expected in PUBLISHED[agent]:
        assert np.interp(1e6 * steps, curve.env_steps, curve.returns.estimate) == pytest.approx(expected, abs=0.3)
    assert np.all(curve.returns.low <= curve.returns.estimate)
    assert np.all(curve.returns.estimate <= curve.returns.high)
    assert curve.discounts.estimate[0] == pytest.approx(0.8, abs=0.02)


def test_enough_is_reached_where_the_mean_stays_there():
    def curve(*returns):
        returns = np.array(returns)
        return self_tuning.Curve(10.0 * np.arange(1, len(returns) + 1), Estimate(returns, returns, returns), None)

    assert self_tuning.steps_until(curve(np.nan, 31.0, 29.0, 30.0, 33.0)) == 40.0
    assert self_tuning.steps_until(curve(30.0, 31.0)) == 10.0
    assert np.isnan(self_tuning.steps_until(curve(31.0, 29.0)))


def test_progress_is_told_between_logging_points_and_not_beyond_them(monkeypatch):
    monkeypatch.setattr(self_tuning, "POINTS", (5.0, 15.0, 30.0, 31.0))
    returns = np.array([1.0, 2.0, 3.0])
    curve = self_tuning.Curve(np.array([10.0, 20.0, 30.0]), Estimate(returns, returns - 1.0, returns + 1.0), None)
    assert self_tuning.progress("ours", curve) == ["ours", "", "1.5 [0.5, 2.5]", "3 [2, 4]", ""]


def test_an_ablation_is_held_against_the_whole_seed_by_seed(tmp_path):
    def run(name, gains):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        config_file.save(Config(), folder / "config.json")
        rows = [
            f"{steps},{seed},{seed + gain},{0.5 + steps / 1000}"
            for steps in (10, 20)
            for seed, gain in enumerate(gains)
        ]
        (folder / "metrics.csv").write_text("\n".join(["env_steps,seed,episode_return,hyper/discount", *rows, ""]))
        return folder

    whole = run("mixing_5", [0.0] * 4)
    name, returned, difference, discounts = self_tuning.ablation(run("ablations/mixing_5/other", [2.0] * 4), whole)
    assert name == "other"
    assert returned.startswith("3.5 [")
    assert difference == "2 [2, 2]"
    assert discounts == "0.520, 0.520, 0.520"
    heading, first, second = self_tuning.ablations(tmp_path).splitlines()
    assert "less that of mixing_5" in heading
    assert (first.split()[0], second.split()[0]) == ("mixing_5", "other")
    run("ablations/mixing_5/whole", [1.0] * 4)
    heading, first, second = self_tuning.ablations(tmp_path).splitlines()
    assert "less that of whole" in heading
    assert (first.split()[0], second.split()[0]) == ("whole", "other")
    assert "1 [1, 1]" in second
    told = self_tuning.difference(tmp_path / "ablations/mixing_5/other", whole)
    assert told.startswith("other less mixing_5, seed by seed, over the last tenth of 0.00 M steps: 2 [2, 2], over all")
    late = run("elsewhere/late", [])
    rows = [f"{steps},{seed},{seed + steps - 10},0.9" for steps in (10, 20, 30) for seed in range(4)]
    (late / "metrics.csv").write_text("\n".join(["env_steps,seed,episode_return,hyper/discount", *rows, ""]))
    told = self_tuning.difference(late, whole)  # of its first 20 steps, as many as the other has
    assert told.endswith("over the last tenth of 0.00 M steps: 10 [10, 10], over all of them: 5 [5, 5]")
    run("none", [1.0, 1.0, 1.0, 2.0])
    assert [line.split() for line in self_tuning.pairs(tmp_path).splitlines()] == [
        ["more", "than", "mixing_5", "none"],
        ["mixing_5", "-1.25", "[-2.05,", "-0.454]"],
        ["none", "1.25", "[0.454,", "2.05]"],
    ]


def test_a_trial_is_told_by_its_settings_and_its_last_tenth(tmp_path):
    config = Config(
        estimator="mixing", meta_params=("discount",), num_envs=128, learning_rate=4e-3, outer_discount=0.995
    )
    config_file.save(config, tmp_path / "config.json")
    rows = [f"{steps},{20 + seed},{steps / 1e5 + seed},{0.9 + seed / 100}" for steps in (1e5, 2e6) for seed in (0, 4)]
    (tmp_path / "metrics.csv").write_text("\n".join(["env_steps,seed,episode_return,hyper/discount", *rows, ""]))
    expected = ["discount", "128", "0.004", "0.9", "0.01", "0.995, 1", "0.3, 100", "2.00 M", "20, 24"]
    assert self_tuning.trial(tmp_path)[1:] == [*expected, "0.9200 [0.9000, 0.9400]", "22.0 [20.0, 24.0]"]
    assert self_tuning.ends(tmp_path) == [["20", "20.0", "0.9000"], ["24", "24.0", "0.9400"]]
    config_file.save(config.with_estimator("none"), tmp_path / "config.json")
    row = self_tuning.trial(tmp_path)
    assert (row[1], row[6], row[7], row[10]) == ("nothing", "", "", "0.9700")


def test_the_pictures_are_drawn_from_what_is_committed(tmp_path, monkeypatch, capsys):
    def draw(folders, picture):
        assert picture.name == "compare.png"
        assert list(folders) == list(json.loads((picture.parent / "compare.json").read_text())["estimators"])
        draw_comparison(folders, tmp_path / f"{picture.parent.name}.png")

    draw_comparison = self_tuning.draw_comparison
    monkeypatch.setattr(self_tuning, "draw_comparison", draw)
    monkeypatch.setattr(self_tuning, "PICTURE", tmp_path / "picture.png")
    self_tuning.main()
    names = {"picture.png", "start_bad.png", "start_tuned.png", "start_published.png", "board_12.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())
    printed = capsys.readouterr().out.splitlines()
    ends = dict(re.findall(r"^(\S.*?)  .*; last tenth (.*)$", "\n".join(printed), re.MULTILINE))
    assert list(ends.items()) == list(ENDS.items())
