"""The examples, in miniature."""

import json
import pathlib
import re

import matplotlib
import numpy as np
import pytest

from examples import own_environment, own_inner_problem

ROOT = pathlib.Path(__file__).parents[2]


def test_an_environment_of_ones_own_is_learned(capsys):
    learning = {"estimator": "single_step", "num_envs": 16, "rollout_length": 10, "learning_rate": 0.01}
    result = own_environment.main(**learning, num_env_steps=32_000, policy_width=16, value_width=16)
    returns = result.metrics["episode_return"]
    assert np.nanmean(returns[:3]) < 0.0 < 0.3 < np.nanmean(returns[-3:])
    assert capsys.readouterr().out.startswith("episode_return: from -")


def test_the_step_size_of_sgd_finds_its_place():
    rates, losses = own_inner_problem.main(num_windows=200)
    assert rates[0] == pytest.approx(own_inner_problem.START)
    assert rates[-1] > 10 * own_inner_problem.START
    assert losses[-20:].mean() < 0.3 * losses[:20].mean()


def test_the_inner_problem_of_the_readme_runs():
    blocks = re.findall("```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = {}
    exec(next(block for block in blocks if "metagrad import" in block), names)
    np.testing.assert_allclose(names["gradient"]["log_rate"], names["every_g_k"]["log_rate"].mean(), rtol=1e-5)


def test_the_notebook_runs(capsys, monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "backend", "agg")
    cells = json.loads((ROOT / "examples" / "notebook.ipynb").read_text())["cells"]
    first, *others = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    names = {}
    exec(first, names)
    names |= {"num_env_steps": 6_400, "num_samples": 8}
    names["network"] = {"horizon": 2, "policy_width": 4, "value_width": 4, "outer_critic": False}
    for cell in others:  # on a vector, with a shorter horizon: programs that compile sooner
        exec(cell.replace('"catch"', '"examples.own_environment:Catch"').replace("    horizon=5,\n", ""), names)
    assert names["metrics"]["hyper/discount"].shape[1] == 2
    assert [len(axes.lines) for axes in names["panels"]] == [2, 2]
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["single_step", "multi_step", "mixing", "discount"]
