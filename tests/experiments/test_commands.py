"""What all commands have in common: flags, help, and one line for what is impossible."""

import contextlib
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys

import command_line
import numpy as np
import pytest
from miniature import SMALL

from experiments import benchmark, compare, curves, discounting_chain, play, search, train, variance
from experiments.config import settings as config_lib
from experiments.config import validation
from experiments.config.ranges import UsageError
from experiments.config.settings import Config, Execution
from experiments.runs import training as loop
from experiments.storage import config_file
from experiments.studies import comparison as comparing

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
    (f"--num_env_steps={10**400 + 1}", "1: must be below 2^31"),
    (f"--board_size={'9' * 5000}", "9: must be a number N or ROWSxCOLS"),
    ("--num_channels=65537", "--num_channels=65537: must be at least 1 and at most 65536"),
    ("--num_envs=429496730", "--num_envs=429496730: must be below 2^31 / --rollout_length (5)"),
    ("--mixing_decay=0.5", "--mixing_decay=0.5: must be left out with --mixing_weights=uniform"),
    ("--meta_gradient_clip=1e-40", "--meta_gradient_clip=1e-40: must be positive"),  # 0 in single precision
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


@pytest.mark.parametrize(
    ("command", "flag"),
    [(command, "logdir") for command in (train, compare, search, variance, benchmark, discounting_chain, play)]
    + [(curves, "runs"), (curves, "picture"), (variance, "checkpoint"), (play, "record")],
)
@pytest.mark.parametrize(
    "path", ["gs://bucket/run.gif", "~nobody-is-called-so/run.gif", "\udcff.gif", "x" * 300 + ".gif"]
)
def test_what_is_no_path_of_this_machine_is_one_line(command, flag, path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    others = {"picture": ["--runs=run"], "record": ["--random"], "checkpoint": ["--logdir=run"]}.get(flag, [])
    assert command_line.run(command, *others, f"--{flag}={path}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"--{flag}={path}: must be ".replace("\udcff", "?"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("function", [loop.train, lambda config, folder: comparing.compare({"run": config}, folder)])
def test_a_buckets_address_is_refused_from_python_too(function):
    with pytest.raises(UsageError, match="--logdir=gs://bucket/run: must be on this machine"):
        function(Config(), "gs://bucket/run")


def test_numbers_of_numpy_are_settings_as_flags_give_them(tmp_path):
    given = {"seed": np.int64(3), "learning_rate": np.float32(1e-3), "discount": np.float64(0.9)}
    config = Config(**given, shared_torso=np.bool_(True))
    validation.validate(config)
    config_file.save(config, tmp_path / "config.json")
    plain = Config(seed=3, learning_rate=1e-3, discount=0.9, shared_torso=True)
    assert config == plain == config_file.load(tmp_path / "config.json")
    assert Execution(keep=np.int32(2)) == Execution(keep=2)
    assert json.dumps(dataclasses.asdict(Execution(keep=np.int32(2))))


@pytest.mark.parametrize(
    ("output", "status"),
    [
        ("closed pipe", 128 + signal.SIGPIPE),
        ("full disk", "the output cannot be written (No space left on device)"),
        ("ascii", None),
        ("none", None),
    ],
)
def test_help_ends_well_whatever_standard_output_is(output, status, tmp_path, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.ExitStack() as stack:
        streams = {
            "closed pipe": stack.enter_context(open(writer, "w")),
            "full disk": stack.enter_context(open("/dev/full", "w")),
            "ascii": stack.enter_context((tmp_path / "out").open("w", encoding="ascii")),
        }
        monkeypatch.setattr(sys, "stdout", streams.get(output))
        assert command_line.run(train, "--help") == status
    assert capsys.readouterr().err == ""
    assert (output == "ascii") == ("--rollout_length" in (tmp_path / "out").read_text())


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
        config_file.load(path)


COMMANDS = [
    *(train, compare, curves),
    *(search, variance, play, benchmark, discounting_chain),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__.split(".")[1])
def test_help_says_every_flag_once_in_a_group_of_what_one_wants_to_set(command, capsys):
    assert not command_line.run(command, "--help")
    printed = capsys.readouterr().out
    assert printed.startswith(command.__doc__)
    flags = printed.removeprefix(command.__doc__)
    groups = re.findall(r"^\n(\S.*):\n(?=  --)", flags, re.MULTILINE)
    assert groups[-1] == (config_lib.Group.PROCESSES if command is train else config_lib.Group.EXECUTION)
    assert all(re.fullmatch(r"[A-Z][a-z ]+", group) for group in groups)  # in words
    defined = [*command.define_flags(), "help", "compilation_cache"]
    assert sorted(re.findall(r"^  --(?:\[no\])?(\w+):", flags, re.MULTILINE)) == sorted(defined)
    assert not re.search(r"\bany\b", flags)  # no range that says nothing


@pytest.mark.parametrize("command", [train, compare], ids=["train", "compare"])
def test_every_setting_is_a_flag(command):
    fields = (*dataclasses.fields(Config), *dataclasses.fields(Execution))
    missing = {field.name for field in fields if config_lib.flag_name(field) not in command.define_flags()}
    assert missing == (set() if command is train else {"estimator"})  # of which it compares all


def test_help_does_not_wait_for_what_only_runs_need():
    """A second each: the flags of a command are known without these."""
    heavy = ["matplotlib", "orbax", "rlax", "scipy.stats", "tensorboardX"]
    script = f"import sys, experiments.compare; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded == "[]\n"
