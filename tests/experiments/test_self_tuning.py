"""The figure and the numbers of self-tuning, from committed files."""

import numpy as np
import pytest

from experiments.config.settings import Config
from experiments.storage import config_file
from experiments.studies import self_tuning
from metagrad.statistics import Estimate

PAGE = self_tuning.RESULTS / "self_tuning.md"

PUBLISHED = {
    # Millions of environment steps and mean returns, as read off the data of arXiv 2211.10550.
    "fixed": ((3.75, 5.3), (15.0, 9.7), (30.0, 14.7), (74.7, 17.4)),
    "single-step": ((3.75, 5.5), (15.0, 10.3), (30.0, 16.3), (74.7, 24.9)),
    "single-step with outer critic": ((3.75, 5.6), (15.0, 15.1), (30.0, 27.4), (74.7, 34.2)),
}


@pytest.mark.parametrize("agent", PUBLISHED)
def test_the_published_curves_are_the_published_ones(agent):
    curve = self_tuning.read_curve("published", agent)
    for steps, expected in PUBLISHED[agent]:
        assert np.interp(1e6 * steps, curve.env_steps, curve.returns.estimate) == pytest.approx(expected, abs=0.3)
    assert np.all(curve.returns.low <= curve.returns.estimate)
    assert np.all(curve.returns.estimate <= curve.returns.high)
    assert curve.discounts.estimate[0] == pytest.approx(0.8, abs=0.02)


def _cells(text, of=""):
    """Returns the tables of a text in Markdown whose header has some words: a list of cells for each row below it."""
    rows, wanted = [], False
    for line in text.splitlines():
        cells = [cell.strip(" *") for cell in line.split("|")[1:-1]]
        if line.startswith("| ---"):
            continue
        wanted = wanted and bool(cells)
        if wanted:
            rows.append(cells)
        elif cells and not wanted:
            wanted = of in line
    return rows


@pytest.mark.parametrize(("header", "number"), [("return after", 10), ("less that of", 20), ("trial |", 33)])
def test_the_pages_tables_are_what_is_printed(header, number, printed):
    rows = _cells(PAGE.read_text(), header)
    assert len(rows) == number
    for _, *cells in rows:
        # The page says in other words what was changed, and leaves columns out.
        assert any(_within(list(filter(None, cells)), line) for line in printed), cells


@pytest.fixture(scope="module")
def printed():
    return _cells("\n\n".join(self_tuning.tables()))


def _within(cells, line):
    rest = iter(line)
    return all(cell in rest for cell in cells)


def test_the_pages_differences_are_what_is_printed(printed):
    told = " ".join(cell for line in printed for cell in line)
    for interval in ("31.8 [28.0, 35.7]", "28.5 [23.1, 33.9]", "34.5 [34.2, 34.8]", "−0.7 [−4.9, 3.5]"):
        assert interval in told


def test_progress_is_told_between_logging_points_and_not_beyond_them(monkeypatch):
    monkeypatch.setattr(self_tuning, "POINTS", (5.0, 15.0, 30.0, 31.0))
    returns = np.array([1.0, 2.0, 3.0])
    steps = np.array([10.0, 20.0, 30.0])
    curve = self_tuning.Curve(steps, Estimate(returns, returns - 1.0, returns + 2.0), Estimate(returns, 0.0, 1.0))
    cells = self_tuning.progress("ours", curve)
    assert cells == ["ours", "", "1.5 [0.5, 3.5]", "3.0 [2.0, 5.0]", "", "never", "", "", "3.0000"]


@pytest.mark.parametrize(
    ("returns", "reached"), [([np.nan, 31, 29, 30, 33], "40.00 M"), ([30, 31], "10.00 M"), ([31, 29], "never")]
)
def test_enough_is_reached_where_the_mean_stays_there(returns, reached):
    mean = Estimate(*[np.array(returns, float)] * 3)
    curve = self_tuning.Curve(1e7 * np.arange(1, len(returns) + 1), mean, mean)
    assert self_tuning.progress("ours", curve)[-4] == reached


def _run(folder, gains, points=(10, 20)):
    folder.mkdir(parents=True)
    config_file.save(Config(meta_params=("discount",)), folder / "config.json")
    rows = [f"{steps},{seed},{seed + gain},{steps / 40}" for steps in points for seed, gain in enumerate(gains)]
    (folder / "metrics.csv").write_text("\n".join(["env_steps,seed,episode_return,hyper/discount", *rows, ""]))
    return folder


def test_runs_are_held_against_each_other_seed_by_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(self_tuning, "RUNS", tmp_path)
    mixing = _run(tmp_path / "mixing_5", [0.0] * 4)
    _run(tmp_path / "ablations/mixing_5/other", [2.0] * 4)
    (table,) = self_tuning.ablations(tmp_path)
    whole, changed = _cells(table, "less that of mixing_5")
    assert whole == ["mixing_5", "1.5 [−0.6, 3.6]", "", "0.500, 0.500, 0.500"]
    assert changed[2] == "2.0 [2.0, 2.0]"
    _run(tmp_path / "ablations/mixing_5/whole", [1.0] * 4)
    (table,) = self_tuning.ablations(tmp_path)
    assert _cells(table, "less that of whole")[1][2] == "1.0 [1.0, 1.0]"
    late = _run(tmp_path / "late", [5.0] * 4, points=(10, 20, 30))  # of its first 20 steps, as many as the other has
    assert self_tuning.more(late, mixing) == ["5.0 [5.0, 5.0]", "5.0 [5.0, 5.0]"]
    assert "| late |  | 5.0 [5.0, 5.0] |" in self_tuning.pairs(tmp_path)


def test_the_figure_is_drawn_from_what_is_committed(figures, tmp_path):
    self_tuning.draw(tmp_path / "picture.png")
    (figure,) = figures
    labels = [" ".join(text.get_text().split()) for row in figure.subfigs for text in row.legends[0].get_texts()]
    assert labels == [label for lines in self_tuning.GAMES.values() for label in lines]
