"""Agents and hyperparameters from outside in the same commands."""

import json

import command_line
import numpy as np
import pytest
from miniature import TABLES, TRAINING

from examples import own_agent, own_hyperparameter
from experiments import compare, curves, play, report, train, variance
from experiments.config.settings import Config
from experiments.runs.building import make_agent
from experiments.storage.metrics import read_metrics

PPO = ["--agent=examples.own_agent:ppo", "--agent_options=epochs=2,minibatches=2,clip=0.1"]
STAIRS = ["--environment=stairs:Stairs", "--agent=examples.own_hyperparameter:discount_of_state"]
OWN = [*TRAINING, *STAIRS, "--agent_options=units=2,discount=0.9", "--meta_params=discount_of_state"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Beside that of fixed agents, in a comparison."""
    folder = tmp_path_factory.mktemp("own") / "all"
    assert not command_line.run(compare, *OWN, "--estimators=none,mixing", f"--logdir={folder}")
    return folder / "mixing"


def test_a_run_is_gone_on_with_as_what_it_is_alone(run, capsys):
    other, options = "--agent=own_agents:discount_of_state", "--agent_options=units=2"
    for given, told in (
        ([*OWN, other], f"{other}: must be examples.own_hyperparameter:discount_of_state, as of the run in"),
        ([*OWN, options], f"{options}: must be units=2,discount=0.9, as of the run in"),
    ):
        assert command_line.run(train, *given, f"--logdir={run}") == 2
        assert capsys.readouterr().err.startswith(told)
    assert not command_line.run(train, *OWN, f"--logdir={run}")


def test_arrays_are_logged_as_statistics(run):
    columns = read_metrics(run)
    for kind in ("hyper", "meta_grad"):
        weights = [columns[f"{kind}/discount_of_state/hidden/{what}"] for what in ("least", "mean", "greatest")]
        assert np.all(np.diff(weights, axis=0)[:, -1] > 0.0)
        assert np.all(np.isfinite(columns[f"{kind}/discount_of_state/bias"]))


def test_it_is_compared_studied_drawn_and_watched(run, tmp_path, capsys):
    """And every number of its arrays is studied, also by mixing from outside, in reverse mode, in the same windows."""
    assert (run.parent / "compare.png").exists()
    assert not command_line.run(curves, f"--runs={run}", f"--picture={tmp_path / 'curves.png'}")  # without its code
    study = [f"--checkpoint={run}", STAIRS[0], "--num_samples=8", "--num_checkpoints=1", "--horizon=2"]
    study += ["--estimators=single_step,multi_step,mixing,own_estimators:alike"]
    watched = [f"--logdir={run}", STAIRS[0], f"--record={tmp_path / 'agent.gif'}", "--max_steps=5"]
    for command, given in ((variance, [*study, f"--logdir={tmp_path / 'study'}"]), (play, watched)):
        assert command_line.run(command, *given) == 2
        assert "--agent=: must be examples.own_hyperparameter:discount_of_state" in capsys.readouterr().err
        assert not command_line.run(command, *given, STAIRS[1])
        printed = capsys.readouterr().out
        assert ("alike(2)" if command is variance else "agent.gif") in printed
    assert (tmp_path / "agent.gif").exists()
    assert (tmp_path / "study" / "variance.png").exists()
    assert (tmp_path / "study" / "variance_details.png").exists()
    described = json.loads((tmp_path / "study" / "variance.json").read_text())
    numbers = {"discount_of_state/bias", *(f"discount_of_state/output[{unit}]" for unit in range(2))}
    assert numbers < described["estimators"]["mixing"].keys()
    assert len(described["estimators"]["mixing"]) == 2 * 5 + 2 + 1 + 1  # and all together
    for by in (described, described["own_critic"]):
        for name in numbers:
            built_in, own = (by["estimators"][estimator][name] for estimator in ("mixing", "alike"))
            for statistic in ("mean", "variance"):
                assert own[statistic]["estimate"] == pytest.approx(built_in[statistic]["estimate"], rel=1e-3)
    (drawn,) = (tmp_path / "study" / "samples_own_estimators.alike" / "late").glob("*.npy")
    assert np.load(drawn).shape[1:] == (2, 2 * 5 + 2 + 1)


def test_hyperparameters_of_ones_own_start_where_they_are_told_to_and_are_tuned(tmp_path, capsys):
    momentum = ["--agent=examples.own_hyperparameter:momentum", "--hyperparameters=b1:0.7", "--meta_params=b1"]
    given = [*TABLES, *momentum, "--estimator=single_step", "--meta_learning_rate=1e-6", f"--logdir={tmp_path}"]
    assert not command_line.run(train, *given)
    columns = read_metrics(tmp_path)
    np.testing.assert_allclose(columns["hyper/b1"], 0.7, rtol=1e-4)
    assert np.all(columns["meta_grad/b1"] != 0.0)
    assert "b1 " in capsys.readouterr().out


def test_real_numbers_are_actions_too(tmp_path):
    code = "--environment=own_environments:Point"
    given = [*TRAINING, code, "--meta_params=discount,entropy_cost", "--estimator=single_step", "--noouter_critic"]
    assert not command_line.run(train, *given, f"--logdir={tmp_path / 'run'}")
    assert np.isfinite(read_metrics(tmp_path / "run")["loss/entropy"]).all()
    watched = [f"--record={tmp_path / 'agent.gif'}", "--max_steps=5"]
    assert not command_line.run(play, code, f"--logdir={tmp_path / 'run'}", *watched)
    assert not command_line.run(report, code, f"--logdir={tmp_path / 'run'}")
    assert "its policy is not Categorical" in (tmp_path / "run" / "report.html").read_text()


def test_another_estimator_is_put_back():
    """An agent of your own learns by the estimator of the settings, whatever its factory says."""
    config = Config(environment="tables:process", agent="own_agents:single_step", estimator="mixing", horizon=3)
    assert make_agent(config).estimator.updates == 3


def test_what_learns_need_not_be_an_agent(tmp_path, capsys):
    given = [*TABLES, "--agent=own_agents:scalar", "--meta_learning_rate=0.1"]
    assert not command_line.run(train, *given, f"--logdir={tmp_path / 'run'}")
    columns = read_metrics(tmp_path / "run")
    assert columns["episode_return"][-1].mean() > columns["episode_return"][0].mean()
    assert {"hyper/log_rate", "hyper/matrix/mean", "meta_grad/matrix/greatest"} < columns.keys()
    study = [f"--checkpoint={tmp_path / 'run'}", "--environment=tables:process", given[-2], "--num_samples=8"]
    assert command_line.run(variance, *study, f"--logdir={tmp_path / 'study'}") == 2
    assert "--agent=own_agents:scalar: returned a Learning, which can only be trained" in capsys.readouterr().err


def test_the_examples_learn(capsys):
    small = {"num_envs": 16, "rollout_length": 10, "policy_width": 16, "value_width": 16, "estimator": "single_step"}
    small |= {
        "learning_rate": 0.02,
        "outer_critic": False,
        "environment": "examples.own_environment:Catch",
    }  # a vector: no convolutions
    returns = own_agent.main(**small, num_env_steps=8_000).metrics["episode_return"]
    assert np.nanmean(returns[:3]) < 0.0 < 0.3 < np.nanmean(returns[-3:])
    results = own_hyperparameter.main(**small, num_env_steps=1_600)
    assert len(results["momentum"].metrics["hyper/b1"]) > 1
    printed = capsys.readouterr().out
    assert "hyper/b1: from " in printed
    assert "hyper/discount_of_state/hidden/mean: from " in printed


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--agent=own_agents:nothing"], "--agent=own_agents:nothing: must return an Agent or a Learning"),
        (["--agent=own_agents:growing"], "--agent=own_agents:growing: the learner that update returns must be like"),
        (
            ["--agent=own_agents:longer"],
            "--agent=own_agents:longer: must leave num_envs and rollout_length as",
        ),
        (["--agent=own_agents:clashing"], "--agent=own_agents:clashing: report must return columns with a number"),
        (["--agent=own_agents:talkative"], "--agent=own_agents:talkative: update must report single numbers, and"),
        ([*PPO, "--meta_params=b1"], "--agent=examples.own_agent:ppo: --meta_params must be among its discount"),
        ([*PPO, "--hyperparameters=b1:0.5"], "--agent=examples.own_agent:ppo: --hyperparameters must be among its"),
        (
            [*PPO, "--hyperparameters=discount:0.5"],
            "--hyperparameters=discount:0.5: must be a comma list of NAME",
        ),
        ([PPO[0], "--agent_options=epochs"], "--agent_options=epochs: must be a comma list of NAME=VALUE"),
        (["--hyperparameters=b1:0.5"], "--hyperparameters=b1:0.5: must be left out with --agent=actor_critic"),
        (["--meta_params=b1"], "--meta_params=b1: must be a comma list, without repetition, of discount"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(given, told, tmp_path, capsys):
    assert command_line.run(train, *TABLES, *given, f"--logdir={tmp_path / 'run'}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(told)
