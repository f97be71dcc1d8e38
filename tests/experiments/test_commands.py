"""What all commands have in common: flags, help, and one line for what is impossible."""

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

from experiments import benchmark, compare, curves, discounting_chain, play, report, search, train, variance
from experiments.config import settings as config_lib
from experiments.config import validation
from experiments.config.settings import Config, Execution
from experiments.storage import config_file

RUNNING = (train, compare, search, variance, benchmark, discounting_chain, play, report)


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--meta_params=lambda,lambda", "--meta_params=lambda,lambda: must be a comma list, without repetition"),
        ("--discount=nan", "--discount=nan: must be in (0, 1)"),
        ("--lambda=0.99999999", "--lambda=0.99999999: must be in (0, 1) to be tuned"),  # 1 in single precision
        (f"--board_size={'9' * 5000}", "9: must be a number N or ROWSxCOLS, each in [2, 32]"),
        ("--num_env_steps=399", "--num_env_steps=399: must be a multiple of num_envs × rollout_length × horizon = 40,"),
        ("--seed=2147483647", "--seed=2147483647: must be at most 2^31 - --num_seeds (2)"),
        ("--mixing_decay=0.5", "--mixing_decay=0.5: must be left out with --mixing_weights=uniform"),
        ("--outer_critic --estimator=none", "--outer_critic=True: must be left out with --estimator=none"),
        ("--estimator=magic", "--estimator=magic: must be one of none, single_step, multi_step, mixing"),
        ("--preset=huge", "preset"),
        ("--colour=red", "colour"),
        ("stray", "stray: is not a flag"),
        ("--logdir=", "--logdir=: must be given: a new or empty folder"),
        ("--logdir=others", "--logdir=others: must be a new or empty folder, or one that this command made"),
        ("--logdir=others/file", "--logdir=others/file: must be a folder that can be written to"),
    ],
)
def test_what_is_impossible_is_one_line_and_status_2(argument, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "file").touch()
    assert command_line.run(train, *SMALL, f"--logdir={tmp_path}/run", *argument.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not (tmp_path / "run").exists()


PATHS = ("gs://bucket/run.gif", "~nobody-is-called-so/run.gif", "\udcff.gif", "x" * 300 + ".gif")


@pytest.mark.parametrize(
    ("command", "flag", "path"),
    [
        *((train, "logdir", path) for path in PATHS),
        *((command, "logdir", PATHS[0]) for command in RUNNING[1:]),
        *((curves, "runs", PATHS[0]), (curves, "picture", PATHS[0])),
        *((variance, "checkpoint", PATHS[0]), (play, "record", PATHS[0])),
    ],
)
def test_what_is_no_path_of_this_machine_is_one_line(command, flag, path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    others = {"picture": ["--runs=run"], "record": ["--random"], "checkpoint": ["--logdir=run"]}.get(flag, [])
    assert command_line.run(command, *others, f"--{flag}={path}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"--{flag}={path}: must be ".replace("\udcff", "?"))
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_are_settings_as_flags_give_them(tmp_path):
    given = {"seed": np.int64(3), "learning_rate": np.float32(1e-3), "discount": np.float64(0.9)}
    config = Config(**given, shared_torso=np.bool_(True))
    validation.validate(config)
    config_file.save(config, tmp_path / "config.json")
    plain = Config(seed=3, learning_rate=1e-3, discount=0.9, shared_torso=True)
    assert config == plain == config_file.load(tmp_path / "config.json")
    assert json.dumps(dataclasses.asdict(Execution(keep=np.int32(2))))


def test_help_ends_well_whatever_standard_output_is(tmp_path, monkeypatch, capsys):
    reader, writer = os.pipe()
    os.close(reader)
    full = "the output cannot be written (No space left on device)"
    outputs = {(writer, None): 128 + signal.SIGPIPE, ("/dev/full", None): full, (tmp_path / "out", "ascii"): None}
    for (file, encoding), status in outputs.items():
        with open(file, "w", encoding=encoding) as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            assert command_line.run(train, "--helpfull") == status
    assert "--rollout_length" in (tmp_path / "out").read_text()
    monkeypatch.setattr(sys, "stdout", None)
    assert command_line.run(train, "--help") is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", [*RUNNING, curves], ids=lambda command: command.__name__.split(".")[1])
def test_help_says_the_most_used_flags_and_in_full_every_flag_once_in_a_group(command, capsys):
    assert not command_line.run(command, "--help")
    printed = capsys.readouterr().out
    assert printed.startswith(command.__doc__)
    most_used = list(getattr(command, "MOST_USED", ()))
    if most_used:
        assert _flags(printed.removeprefix(command.__doc__)) == most_used
    assert not command_line.run(command, "--helpfull")
    flags = capsys.readouterr().out.removeprefix(command.__doc__)
    assert _flags(flags)[: len(most_used)] == most_used
    groups = re.findall(r"^\n(\S.*):\n(?=  --)", flags, re.MULTILINE)
    assert groups[-1] == (config_lib.Group.PROCESSES if command is train else config_lib.Group.EXECUTION)
    defined = [*command.define_flags(), "help", "helpfull", "compilation_cache"]
    assert sorted(_flags(flags)) == sorted(defined)
    if command in (train, compare):
        fields = (*dataclasses.fields(Config), *dataclasses.fields(Execution))
        missing = {config_lib.flag_name(field) for field in fields} - set(defined)
        assert missing == ({"estimator"} if command is compare else set())  # of which it compares all


def _flags(text):
    return re.findall(r"^  --(?:\[no\])?(\w+):", text, re.MULTILINE)


@pytest.mark.parametrize("command", ["train", "compare", "search"])
def test_help_does_not_wait_for_what_only_runs_need(command):
    """A second each: the flags of a command are known without these."""
    heavy = ["haiku", "matplotlib", "orbax", "rlax", "scipy", "tensorboardX"]
    script = f"import sys, experiments.{command}; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded == "[]\n"
