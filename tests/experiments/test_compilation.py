"""Compiled programs on disk, from process to process."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments.runs import compilation

PROGRAM = """
import sys
import jax
from experiments.runs import compilation

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("/cache_hits")))
compilation.keep_programs(eval(sys.argv[1]))
jax.jit(lambda x: (x @ x).sum())(jax.numpy.eye(8)).block_until_ready()
print(sum(hits) > 0)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a process that compiles a small program; returns whether it found it compiled, and the complaints."""

    def start(folder, **variables):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
        environment |= {"XDG_CACHE_HOME": str(tmp_path / "user"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, repr(folder)],
            env=environment | variables,
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
        return ended.stdout.strip() == "True", ended.stderr

    return start


def test_the_second_start_finds_its_programs_in_the_users_folder(start, tmp_path):
    assert start(None) == (False, "")
    assert start(None) == (True, "")
    assert list((tmp_path / "user" / "metagrad").iterdir())


def test_the_flag_beats_jaxs_variable_which_beats_the_users_folder(start, tmp_path):
    flagged, named = str(tmp_path / "flagged"), str(tmp_path / "named")
    assert start(None, JAX_COMPILATION_CACHE_DIR=named) == (False, "")
    assert start(flagged, JAX_COMPILATION_CACHE_DIR=named) == (False, "")
    assert not (tmp_path / "user").exists()
    assert start(named) == (True, "")
    assert start(flagged) == (True, "")


def test_nothing_is_kept_where_that_is_asked_for(start, tmp_path):
    for _ in range(2):
        assert start("none") == (False, "")
    assert not list(tmp_path.iterdir())


def test_the_oldest_programs_go_where_there_are_too_many_bytes(tmp_path):
    for age in (1, 2, 3, 4):
        file = tmp_path / f"jit_{age}-cache"
        file.write_bytes(bytes(10))
        os.utime(file, (1000 - age, 1000 - age))
    other = tmp_path / "other"
    other.write_bytes(bytes(100))
    compilation._prune(tmp_path, 25)
    assert {file.name for file in tmp_path.iterdir()} == {"jit_1-cache", "jit_2-cache", "other"}


def test_a_folder_that_cannot_be_written_to_is_one_warning(start, tmp_path):
    (tmp_path / "file").touch()
    for _ in range(2):
        found, complaint = start(str(tmp_path / "file"))
        assert not found
        assert complaint == (
            f"warning: compiled programs are not kept, since {tmp_path / 'file'} cannot be written to\n"
        )


@pytest.fixture
def updated(monkeypatch, tmp_path):
    """What is set of JAX's configuration, and the folders in which old programs are looked for."""
    updates, pruned = {}, []
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    monkeypatch.setattr(compilation, "_prune", lambda folder, largest: pruned.append(folder))
    monkeypatch.setattr(compilation.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "user"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    return updates, pruned


def test_the_users_folder_alone_is_bounded(updated, tmp_path):
    updates, pruned = updated
    for folder in (None, ""):
        compilation.keep_programs(folder)
        assert updates == {"jax_compilation_cache_dir": str(tmp_path / "user")}
    assert pruned == [tmp_path / "user"] * 2
    compilation.keep_programs(str(tmp_path / "named"))
    assert updates == {"jax_compilation_cache_dir": str(tmp_path / "named")}
    assert len(pruned) == 2


def test_a_place_that_jax_reaches_itself_is_no_folder_here(updated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/programs")
    compilation.keep_programs(None)
    assert updated == ({"jax_compilation_cache_dir": "gs://bucket/programs"}, [])
    assert not list(tmp_path.iterdir())
