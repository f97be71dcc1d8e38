"""The commands as `pip install` leaves them, in projects whose packages have the same names as this library's."""

import configparser
import os
import pathlib
import subprocess
import sys

import pytest

from experiments.studies.benchmark import starting

ROOT = pathlib.Path(__file__).parents[2]
METADATA = configparser.ConfigParser()
METADATA.read(ROOT / "setup.cfg")
ENTRIES = dict(line.split(" = ") for line in METADATA["options.entry_points"]["console_scripts"].split("\n") if line)

SCRIPT = "import sys; sys.path.append(sys.argv.pop(1)); sys.argv[0] = sys.argv.pop(1); import {0}; {0}.{1}()"
"""What pip writes, with this library last on the path."""


@pytest.fixture
def project(tmp_path):
    theirs = dict.fromkeys(["envs/__init__.py", "agents/__init__.py", "experiments/__init__.py", "envs/grid.py"], "")
    theirs |= {"maze.py": "import envs.grid", "bare.py": "def Bare():\n    raise LookupError('found')"}
    for name, content in theirs.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def _complaint(project, path, *arguments):
    """Returns the one line that Python ends with in a project, and its status."""
    command, environment = [sys.executable, *arguments], os.environ | {"PYTHONPATH": str(path)}
    ended = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    (line,) = ended.stderr.splitlines()
    return line, ended.returncode


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ("bare:Bare", "(LookupError: found)"),  # imported from there, after ours
        ("maze:Maze", "(ModuleNotFoundError: No module named 'envs.grid'; that name is one of metagrad's own"),
    ],
)
def test_an_installed_command_works_beside_packages_of_the_same_names(environment, complaint, project):
    (entry,) = set(ENTRIES.values())
    installed = ["-c", SCRIPT.format(*entry.split(":")), str(ROOT), "/usr/bin/metagrad-train"]
    line, status = _complaint(project, project, *installed, f"--environment={environment}")
    assert complaint in line
    assert status == 2


def test_other_packages_of_these_names_are_told_in_a_line(project):
    (project / "experiments" / "__init__.py").unlink()
    (project / "experiments").rmdir()
    line, status = _complaint(project, ROOT, "-m", "experiments.train")
    assert f"agents is the name of a package of metagrad and of {project / 'agents' / '__init__.py'}" in line
    assert status == 1


def test_the_benchmark_starts_fresh_processes_of_this_library(project, monkeypatch):
    monkeypatch.chdir(project)
    starting.run("-c", "import experiments.benchmark")


def test_every_command_is_installed_and_every_package_with_its_types():
    names = {file.stem for file in ROOT.glob("experiments/*.py")} - {"__init__"}
    assert set(ENTRIES) == {f"metagrad-{name.replace('_', '-')}" for name in names}
    assert METADATA["options.package_data"]["*"] == "py.typed"
    for pattern in METADATA["options.packages.find"]["include"].split():
        assert (ROOT / pattern.rstrip("*") / "py.typed").exists()
