"""Files that somebody else may have written, or a disk has spoiled: read or refused in one line, never obeyed."""

import contextlib
import dataclasses
import json
import pathlib
import shutil

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
import train_on_tables
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments import train
from experiments.config import settings as config_lib
from experiments.config.ranges import UsageError
from experiments.config.settings import EXECUTION, Config
from experiments.figures import averages
from experiments.storage import checkpoints, config_file
from experiments.storage import metrics as metrics_csv
from experiments.storage.run_folder import RunFolder
from experiments.studies.play import players
from experiments.studies.variance import sampling

WINDOW = 2 * tables.NUM_ENVS * tables.LENGTH
CONFIG = Config(num_env_steps=4 * WINDOW, **train_on_tables.FLAGS)
STATE = {"key": jax.eval_shape(lambda: jax.random.key(0)), "numbers": jax.ShapeDtypeStruct((3_000,), jnp.float32)}

TOKENS = (
    *(b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN", b"9" * 400, b"true", b'"\\ud800"', b"\xff", b"\x00", b"\n", b","),
    *(b'"', b"[" * 100_000, b"../../..", b"/etc/passwd", b"2147483648", b"0", b"\x93NUMPY", b"PK\x03\x04"),
    b"cos\nsystem\n(S'touch OBEYED'\ntR.",  # what pickle would run
)

MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "flip", "insert", "replace", "repeat"]),
        st.floats(0.0, 1.0),
        st.integers(0, 40),
        st.sampled_from(TOKENS),
    ),
    min_size=1,
    max_size=4,
)


def mutated(content, mutations):
    """Returns bytes after some mutations, each at a place that is a fraction of the length."""
    for kind, place, size, token in mutations:
        at = int(place * len(content))
        if kind == "cut":
            content = content[:at]
        elif kind == "flip":
            content = content[:at] + bytes(byte ^ (1 << size % 8) for byte in content[at : at + 1]) + content[at + 1 :]
        elif kind == "insert":
            content = content[:at] + token + content[at:]
        elif kind == "replace":
            content = content[:at] + token + content[at + size :]
        else:
            content = content[: at + size] + content[at:]
    return content


def _read_or_refused(read):
    """Reads a file, or has it refused, which is one line and exit status 2; all else that is raised fails the test."""
    with contextlib.suppress(UsageError):
        read()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder with a checkpoint and samples, alone in another one."""
    folder = tmp_path_factory.mktemp("outside") / "run"
    key = jax.random.key(0)
    with RunFolder(folder, CONFIG, EXECUTION) as writer:
        for point in range(1, 5):
            writer.write_metrics(
                point * WINDOW, {"episode_return": np.array([point, np.nan]), "loss/value": np.ones(2)}
            )
        state = {"key": key, "numbers": np.asarray(jax.random.normal(key, (3_000,)))}
        writer.write_checkpoint(4 * WINDOW, state, 7.0)
    np.save(folder / "00000000.npy", np.ones((4, 2, 3), np.float32))
    return folder


@contextlib.contextmanager
def _spoilt(file, mutations):
    """Has a file mutated for a while, and checks that nothing appears or changes outside of its run's folder."""
    original = file.read_bytes()
    file.write_bytes(mutated(original, mutations))
    try:
        yield
    finally:
        file.write_bytes(original)


def _settings_are_read_or_refused(folder, mutations):
    with _spoilt(folder / config_file.CONFIG, mutations):
        _read_or_refused(lambda: config_file.check_settings(folder, CONFIG))
        _read_or_refused(lambda: players.open_runs(str(folder)))


def _final_return(folder):
    metrics = metrics_csv.of_survivors(metrics_csv.read_metrics(folder))
    return averages.final(metrics, "episode_return") if "episode_return" in metrics else None


def _metrics_are_read_or_refused(folder, mutations):
    with _spoilt(folder / metrics_csv.METRICS, mutations):
        _read_or_refused(lambda: _final_return(folder))
        _read_or_refused(lambda: players.ranked_seeds(players.Run(folder, CONFIG)))
        _read_or_refused(lambda: metrics_csv.length_until(folder / metrics_csv.METRICS, 4 * WINDOW, 2))


def _samples_are_read_or_refused(folder, mutations):
    with _spoilt(folder / "00000000.npy", mutations):
        _read_or_refused(lambda: sampling._read(folder / "00000000.npy", []))


def _checkpoints_are_read_or_refused(folder, place, mutations):
    files = sorted(path for path in (folder / checkpoints.CHECKPOINTS).rglob("*") if path.is_file())
    with _spoilt(files[int(place * (len(files) - 1))], mutations):
        _read_or_refused(lambda: checkpoints.read_checkpoint(folder, 4 * WINDOW, STATE))


KINDS = {
    "settings": (_settings_are_read_or_refused, (MUTATIONS,), 200, 4_500),
    "metrics": (_metrics_are_read_or_refused, (MUTATIONS,), 150, 3_500),
    "samples": (_samples_are_read_or_refused, (MUTATIONS,), 130, 1_500),
    "checkpoints": (_checkpoints_are_read_or_refused, (st.floats(0.0, 1.0), MUTATIONS), 20, 500),
}
"""How files of a kind are read, what is drawn for it, and numbers of files for `make test` and `make soak`."""


def _fuzzed(kind, folder, examples):
    check, strategies, *_ = KINDS[kind]
    outside = sorted(folder.parent.parent.rglob("*"))

    @settings(max_examples=examples, deadline=None, database=None, derandomize=True)
    @given(st.tuples(*strategies))
    def check_one(drawn):
        check(folder, *drawn)

    check_one()
    assert sorted(folder.parent.parent.rglob("*")) == outside
    assert not pathlib.Path("OBEYED").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_or_refused(kind, folder):
    _fuzzed(kind, folder, KINDS[kind][2])


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_mutated_files_are_read_or_refused(kind, folder):
    _fuzzed(kind, folder, KINDS[kind][3])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (config_file.CONFIG, b"[" * 100_000, "config.json: is not the settings of a run"),
        (
            config_file.CONFIG,
            b'{"format": 5, "flags": {"seed": "__import__"}}',
            "config.json: is not the settings of a run",
        ),
        (metrics_csv.METRICS, b"\x80\x04", "metrics.csv: has not the rows of the checkpoint"),
        (f"checkpoint/{4 * WINDOW}/_CHECKPOINT_METADATA", b"[1]", f"checkpoint/{4 * WINDOW}: is not a checkpoint that"),
    ],
)
def test_a_command_refuses_a_spoilt_file_in_one_line(name, content, complaint, folder, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    (run / name).write_bytes(content)
    given = ((field, getattr(CONFIG, field.name)) for field in dataclasses.fields(Config))
    flags = [
        f"--{config_lib.flag_name(field)}={','.join(value) if isinstance(value, tuple) else value}"
        for field, value in given
        if value != field.default
    ]
    assert command_line.run(train, *flags, f"--logdir={run}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_settings_that_no_run_can_have_are_refused(folder, tmp_path):
    content = json.loads((folder / config_file.CONFIG).read_text())
    file = tmp_path / config_file.CONFIG
    for name, value in (
        ("seed", True),
        ("num_seeds", 0),
        ("horizon", 2**31),
        ("discount", "0.5"),
        ("meta_params", [1]),
    ):
        file.write_text(json.dumps(content | {"flags": content["flags"] | {name: value}}))
        with pytest.raises(UsageError, match=r"config\.json: is not the settings of a run"):
            config_file.load(file)
    file.write_text(json.dumps(content))
    assert config_file.load(file) == CONFIG
