"""What commands print at their end, of results that are in this repository."""

import json
import pathlib

import command_line
import pytest

from experiments import curves
from experiments.config import comparison as comparison_config
from experiments.config.settings import Config
from experiments.figures import outcome
from experiments.studies.benchmark import report
from experiments.studies.discounting_chain import study
from experiments.studies.search import report as search_report

RESULTS = pathlib.Path(__file__).parents[2] / "results"


def _read(name):
    return json.loads((RESULTS / name).read_text())


PRINTED = {
    "compare": lambda: outcome.tables(_read("self_tuning/start_bad/compare.json")),
    "search": lambda: search_report.table_of(_read("self_tuning/search/search.json")),
    "benchmark": lambda: "\n".join(
        report.table(suite, figures) for suite, figures in _read("benchmark-epyc.json").items() if suite != "device"
    ),
    "discounting_chain": lambda: study.tables(_read("discounting_chain.json")),
}


@pytest.mark.parametrize("command", PRINTED)
def test_tables_fit_100_columns(command):
    assert max(map(len, PRINTED[command]().splitlines())) <= 100


def test_what_does_not_fit_beside_the_rest_of_a_table_is_below_it(capsys):
    """Runs that are called by many settings, and more columns than a line has room for."""
    names = ("path_mixing_outer_critic", "constant/path_single_step_own_critic", "fixed_0.8")
    runs = ",".join(str(RESULTS / "paths" / name) for name in names)
    columns = ["episode_return", "episode_length", "hyper/discount", "loss/policy", "loss/value"]
    assert not command_line.run(curves, f"--runs={runs}", f"--columns={','.join(columns)}")
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 100
    told = " ".join(printed.split())
    assert all(what in told for what in (*columns, "outer_critic False", "meta_learning_rate 0.1,"))


def test_a_comparison_ends_with_a_sentence_a_run():
    def told(estimators, baseline, results):
        configs = comparison_config.make_configs(Config(discount=0.8, meta_params=("discount",)), estimators, baseline)
        ended = [{"final_return": final, "gain": gain, "meta_grad_std": {}} for final, gain in results]
        return outcome.sentences(configs, {"estimators": dict(zip(configs, ended, strict=True))}).splitlines()

    def estimate(value, *interval):
        return {"estimate": value, "ci95": list(interval or (None, None))}

    gained = (None, estimate(8.0, 6.0, 10.0), estimate(1.0, -1.0, 3.0))
    results = list(zip(map(estimate, (5.0, 13.0, 6.0)), gained, strict=True))
    assert told(["none", "mixing"], ["discount:0.98"], results) == [
        "Fixed at discount 0.8, agents end at 5 fruits an episode.",
        "Tuned from discount 0.8 by mixing(5), agents end at 13 fruits an episode, 8 [6, 10] more.",
        "Fixed at discount 0.98, agents end at 6 fruits an episode, 1 [-1, 3] more, which could be chance.",
    ]
    assert told(["none"], [], results[:1]) == ["Fixed at discount 0.8, agents end at 5 fruits an episode."]
