"""What all commands have in common: flags, help, and one line for what is impossible."""

import dataclasses
import subprocess
import sys

import command_line
import pytest
from miniature import SMALL

from experiments import compare, train
from experiments import config as config_lib
from experiments.config import Config, Execution, UsageError

BAD = [
    ("--meta_params=discount,warmth", "--meta_params=discount,warmth: must be a comma list"),
    ("--meta_params=", "--meta_params=: must be a comma list"),
    ("--meta_params=lambda,lambda", "--meta_params=lambda,lambda: must be a comma list, without repetition"),
    ("--horizon=0", "--horizon=0: must be at least 1"),
    ("--discount=1.0", "--discount=1.0: must be in (0, 1)"),
    ("--discount=nan", "--discount=nan: must be in (0, 1)"),
    ("--lambda=1.5", "--lambda=1.5: must be in [0, 1]"),
    ("--lambda=1", "--lambda=1.0: must be in (0, 1) to be tuned"),
    ("--lambda=0.99999999", "--lambda=0.99999999: must be in (0, 1) to be tuned"),  # 1 in single precision
    ("--entropy_cost=0", "--entropy_cost=0.0: must be in (0, inf) to be tuned"),
    ("--board_size=1", "--board_size=1: must be a number N or ROWSxCOLS, each in [2, 32]"),
    ("--board_size=6x33", "--board_size=6x33: must be"),
    ("--board_size=big", "--board_size=big: must be"),
    ("--num_seeds=0", "--num_seeds=0: must be at least 1"),
    (
        "--num_env_steps=399",
        "--num_env_steps=399: must be a multiple of num_envs × rollout_length × horizon = 40,",
    ),
    ("--num_env_steps=0", "--num_env_steps=0: must be at least 1"),
    ("--time_limit=0", "--time_limit=0: must be at least 1"),
    ("--learning_rate=0", "--learning_rate=0.0: must be positive"),
    ("--learning_rate=1e39", "--learning_rate=1e+39: must be positive"),
    ("--discount=0.999999999", "--discount=0.999999999: must be in (0, 1)"),
    ("--seed=2147483647", "--seed=2147483647: must be at most 2^31 - --num_seeds (2)"),
    ("--time_limit=2147483648", "--time_limit=2147483648: must be at least 1 and below 2^31"),
    ("--num_env_steps=10000000000000", "--num_env_steps=10000000000000: must be below 2^31"),
    ("--mixing_decay=1.5", "--mixing_decay=1.5: must be in (0, 1]"),
    ("--preset=huge", "preset"),
    ("--horizon=many", "horizon"),
    ("--colour=red", "colour"),
    ("stray", "stray"),
]
BAD_ESTIMATOR = ("--estimator=magic", "--estimator=magic: must be one of none, single_step, multi_step, mixing")


@pytest.mark.parametrize(
    ("command", "argument", "message"),
    [(command, *bad) for command in (train, compare) for bad in BAD] + [(train, *BAD_ESTIMATOR)],
)
def test_bad_input_is_one_line_and_status_2(command, argument, message, tmp_path, capsys):
    assert command_line.run(command, *SMALL, argument, f"--logdir={tmp_path}/run") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_logdir_is_one_line(capsys):
    assert command_line.run(train, *SMALL) == 2
    assert "logdir" in capsys.readouterr().err


def test_an_outer_critic_without_an_outer_loss_is_refused(tmp_path, capsys):
    assert command_line.run(train, *SMALL, "--estimator=none", "--outer_critic", f"--logdir={tmp_path}") == 2
    assert "--outer_critic=True: must be left out with --estimator=none" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, "{}", "not json", '{"format": 99, "flags": {}}'])
def test_settings_that_cannot_be_read_are_refused(content, tmp_path):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"config\.json"):
        config_lib.load(path)


@pytest.mark.parametrize("command", [train, compare], ids=["train", "compare"])
def test_help_lists_every_flag(command, capsys):
    assert not command_line.run(command, "--help")
    printed = capsys.readouterr().out
    assert printed.startswith(command.__doc__)
    for field in (*dataclasses.fields(Config), *dataclasses.fields(Execution)):
        used = (command, field.name) != (compare, "estimator")  # it compares all of them
        assert (f"--{field.metadata['name'] or field.name}:" in printed.replace("[no]", "")) == used


def test_help_does_not_wait_for_what_only_runs_need():
    """A second each: the flags of a command are known without these."""
    heavy = ["matplotlib", "orbax", "rlax", "scipy.stats", "tensorboardX"]
    script = f"import sys, experiments.compare; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded == "[]\n"
