"""What commands print at their end, of results that are in this repository."""

import importlib
import json
import pathlib

import command_line
import pytest

from experiments import curves, outcome
from experiments.benchmark import report

RESULTS = pathlib.Path(__file__).parents[1] / "results"


def _read(name):
    return json.loads((RESULTS / name).read_text())


def _command(name):
    return importlib.import_module(f"experiments.{name}.__main__")


def _compare():
    return outcome.tables(_read("self_tuning/start_bad/compare.json"))


def _search():
    return _command("search")._table(_read("self_tuning/search/search.json"))


def _benchmark():
    suites = _read("benchmark-epyc.json")
    return "\n".join(report.table(suite, figures) for suite, figures in suites.items() if suite != "device")


def _discounting_chain():
    return _command("discounting_chain")._tables(_read("discounting_chain.json"))


@pytest.mark.parametrize("printed", [_compare, _search, _benchmark, _discounting_chain])
def test_tables_fit_100_columns(printed):
    assert max(map(len, printed().splitlines())) <= 100


def test_what_does_not_fit_beside_the_rest_of_a_table_is_below_it(capsys):
    """Runs that are called by many settings, and more columns than a line has room for."""
    names = ("path_mixing_outer_critic", "constant/grid_single_step_own_critic_0.1", "fixed_0.8")
    runs = ",".join(str(RESULTS / "paths" / name) for name in names)
    columns = ["episode_return", "episode_length", "hyper/discount", "loss/policy", "loss/value"]
    assert not command_line.run(curves, f"--runs={runs}", f"--columns={','.join(columns)}")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    told = " ".join(printed.split())
    assert all(what in told for what in (*columns, "outer_critic False", "meta_learning_rate 0.1,"))
