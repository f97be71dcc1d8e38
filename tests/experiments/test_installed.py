"""The commands as `pip install` leaves them, in projects whose packages have the same names as this library's."""

import configparser
import os
import pathlib
import subprocess
import sys

import pytest

from experiments.studies.benchmark import starting

ROOT = pathlib.Path(__file__).parents[2]

SCRIPT = (
    "import sys; sys.path.append(sys.argv.pop(1)); sys.argv[0] = sys.argv.pop(1); import metagrad_commands as it; {}"
)
"""What pip writes, with this library last on the path."""

THEIRS = {
    "envs/__init__.py": "",
    "agents/__init__.py": "",
    "experiments/__init__.py": "",
    "envs/grid.py": "",
    "maze.py": "import envs.grid",
    "bare.py": "def Bare():\n    raise LookupError('found')",
}


@pytest.fixture
def project(tmp_path):
    for name, content in THEIRS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ("bare:Bare", "(LookupError: found)"),  # imported from there, after ours
        ("maze:Maze", "(ModuleNotFoundError: No module named 'envs.grid'; that name is one of metagrad's own"),
    ],
)
def test_an_installed_command_works_beside_packages_of_the_same_names(environment, complaint, project):
    (entry,) = {entry for entry in _entries().values()}
    script = SCRIPT.format(f"it.{entry.partition(':')[2]}()")
    command = [sys.executable, "-c", script, str(ROOT), "/usr/bin/metagrad-train", f"--environment={environment}"]
    ended = subprocess.run(
        command, cwd=project, env=os.environ | {"PYTHONPATH": str(project)}, capture_output=True, text=True, check=False
    )
    (line,) = ended.stderr.splitlines()
    assert complaint in line
    assert ended.returncode == 2


def test_other_packages_of_these_names_are_told_in_a_line(project):
    (project / "experiments" / "__init__.py").unlink()
    (project / "experiments").rmdir()
    command = [sys.executable, "-m", "experiments.train"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    (line,) = ended.stderr.splitlines()
    assert f"agents is the name of a package of metagrad and of {project / 'agents' / '__init__.py'}" in line
    assert ended.returncode == 1


def test_the_benchmark_starts_fresh_processes_of_this_library(project, monkeypatch):
    monkeypatch.chdir(project)
    starting.run("-c", "import experiments.benchmark")


def _entries():
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    lines = metadata["options.entry_points"]["console_scripts"].split("\n")
    return dict(line.split(" = ") for line in lines if line)


def test_every_command_is_installed():
    names = {file.stem for file in ROOT.glob("experiments/*.py")} - {"__init__"}
    assert set(_entries()) == {f"metagrad-{name.replace('_', '-')}" for name in names}
