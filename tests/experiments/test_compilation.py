"""Compiled programs on disk, from process to process."""

import os
import subprocess
import sys

import jax
import pytest

from experiments.runs import compilation

PROGRAM = """
import jax
from experiments.runs import compilation

hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event.endswith("/cache_hits")))
compilation.keep_programs(None)
jax.jit(lambda x: (x @ x).sum())(jax.numpy.eye(8)).block_until_ready()
print(sum(hits) > 0)
"""


def test_the_second_start_finds_its_programs_in_the_users_folder(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    for found in (False, True):
        told = subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, stderr=subprocess.STDOUT)
        assert told.decode() == f"{found}\n"
    assert list((tmp_path / "metagrad").iterdir())


@pytest.fixture
def used(monkeypatch, tmp_path):
    """What is set of JAX's configuration; the user's cache folder is another."""
    updates = {}
    monkeypatch.setattr(jax.config, "update", updates.__setitem__)
    monkeypatch.setattr(compilation.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "user"))
    return updates


def test_the_flag_beats_jaxs_variable_which_beats_the_users_folder(used, tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    bucket = "gs://bucket/programs"  # a place that JAX reaches itself
    for flag, variable, expected in (
        (str(tmp_path / "flagged"), bucket, str(tmp_path / "flagged")),
        (None, bucket, bucket),
        ("", "", str(tmp_path / "user")),
        (compilation.OFF, bucket, None),
        (str(tmp_path / "file"), bucket, None),
    ):
        used.clear()
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", variable)
        compilation.keep_programs(flag)
        assert used == (
            {"jax_compilation_cache_dir": expected} if expected else {"jax_enable_compilation_cache": False}
        )
    assert {path.name for path in tmp_path.iterdir()} == {"flagged", "user", "file"}
    told = f"warning: compiled programs are not kept, since {tmp_path / 'file'} cannot be written to\n"
    assert capsys.readouterr().err == told


def test_the_oldest_programs_of_the_users_folder_go_where_there_are_too_many_bytes(used, tmp_path, monkeypatch):
    monkeypatch.setattr(compilation, "LARGEST", 25)
    for place in (tmp_path / "user", tmp_path / "named"):
        place.mkdir()
        for age in (1, 2, 3, 4):
            file = place / f"jit_{age}-cache"
            file.write_bytes(bytes(10))
            os.utime(file, (1000 - age, 1000 - age))
        (place / "other").write_bytes(bytes(100))
        monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(place))
        compilation.keep_programs(None)
    assert {file.name for file in (tmp_path / "user").iterdir()} == {"jit_1-cache", "jit_2-cache", "other"}
    assert len(list((tmp_path / "named").iterdir())) == 5
