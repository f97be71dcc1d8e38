"""Files that somebody else may have written, or a disk has spoiled: read or refused in one line, never obeyed."""

import contextlib
import json
import pathlib
import shutil

import command_line
import jax
import numpy as np
import pytest
import train_on_tables
from hypothesis import given, settings
from hypothesis import strategies as st
from train_on_tables import WINDOW, flags_of

from experiments import train
from experiments.config.ranges import UsageError
from experiments.config.settings import EXECUTION, Config
from experiments.figures.outcome import final_returns
from experiments.storage import checkpoints, config_file
from experiments.storage import metrics as metrics_csv
from experiments.storage.run_folder import RunFolder
from experiments.studies.play import players
from experiments.studies.search import searching
from experiments.studies.variance import sampling

CONFIG = Config(num_env_steps=4 * WINDOW, **train_on_tables.FLAGS)
STATE = {"key": jax.eval_shape(lambda: jax.random.key(0)), "numbers": jax.ShapeDtypeStruct((3_000,), np.float32)}

TOKENS = (
    *(b"null", b"[]", b"{}", b"-1", b"1e999", b"NaN", b"9" * 400, b"true", b'"\\ud800"', b"\xff", b"\x00", b"\n", b","),
    *(b'"', b"[" * 100_000, b"../../..", b"/etc/passwd", b"2147483648", b"0", b"\x93NUMPY", b"PK\x03\x04"),
    b"cos\nsystem\n(S'touch OBEYED'\ntR.",  # what pickle would run
)

MUTATIONS = {
    "cut": lambda content, at, size, token: content[:at],
    "flip": lambda content, at, size, token: (
        content[:at] + bytes(byte ^ (1 << size % 8) for byte in content[at : at + 1]) + content[at + 1 :]
    ),
    "insert": lambda content, at, size, token: content[:at] + token + content[at:],
    "replace": lambda content, at, size, token: content[:at] + token + content[at + size :],
    "repeat": lambda content, at, size, token: content[: at + size] + content[at:],
}
"""What changes bytes at a place."""

MUTATION = st.tuples(
    st.sampled_from([*MUTATIONS.values()]), st.floats(0.0, 1.0), st.integers(0, 40), st.sampled_from(TOKENS)
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder with a checkpoint, samples and a search's results, alone in another one."""
    folder = tmp_path_factory.mktemp("outside") / "run"
    key = jax.random.key(0)
    with RunFolder(folder, CONFIG, EXECUTION) as run:
        for point in range(1, 5):
            columns = {"episode_return": np.array([point, np.nan]), "loss/value": np.ones(2)}
            run.write_metrics(point * WINDOW, columns)
        run.write_checkpoint(4 * WINDOW, {"key": key, "numbers": jax.random.normal(key, (3_000,))}, 7.0)
    np.save(folder / "00000000.npy", np.ones((4, 2, 3), np.float32))
    (folder / searching.ASKED).write_text("")
    return folder


def _final_return(folder):
    metrics = metrics_csv.read_metrics(folder)
    return final_returns(metrics) if "episode_return" in metrics else None


READERS = [
    (config_file.CONFIG, lambda folder: config_file.check_settings(folder, CONFIG), 100, 4_500),
    (config_file.CONFIG, lambda folder: players.open_runs(str(folder)), 50, 2_000),
    (metrics_csv.METRICS, _final_return, 75, 3_500),
    (metrics_csv.METRICS, lambda folder: players.ranked_seeds(players.Run(folder, CONFIG)), 25, 1_500),
    (metrics_csv.METRICS, lambda folder: metrics_csv.length_until(folder / metrics_csv.METRICS, WINDOW, 2), 50, 2_000),
    ("*.npy", lambda folder: sampling._read(folder / "00000000.npy", []), 65, 1_500),
    ("checkpoint/**/*", lambda folder: checkpoints.read_checkpoint(folder, 4 * WINDOW, STATE), 10, 500),
]
"""Files, how they are read, and numbers of examples for `make test` and `make soak`."""


@pytest.mark.parametrize("soak", [False, pytest.param(True, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("kind", "read", "some", "many"), READERS)
def test_a_mutated_file_is_read_or_refused(kind, read, some, many, soak, folder):
    files = sorted(path for path in folder.glob(kind) if path.is_file())
    outside = sorted(folder.parent.parent.rglob("*"))

    @settings(max_examples=many if soak else some, deadline=None, database=None, derandomize=True)
    @given(st.sampled_from(files), st.lists(MUTATION, min_size=1, max_size=4))
    def check_one(file, mutations):
        content = original = file.read_bytes()
        for mutate, place, size, token in mutations:
            content = mutate(content, int(place * len(content)), size, token)
        file.write_bytes(content)
        try:
            with contextlib.suppress(UsageError):  # one line and status 2; all else that is raised fails the test
                read(folder)
        finally:
            file.write_bytes(original)

    check_one()
    assert sorted(folder.parent.parent.rglob("*")) == outside
    assert not pathlib.Path("OBEYED").exists()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        (config_file.CONFIG, b"[" * 100_000, "config.json: does not hold a run's settings"),
        (config_file.CONFIG, {"seed": True}, "config.json: does not hold a run's settings"),
        (config_file.CONFIG, {"horizon": 2**31}, "config.json: does not hold a run's settings"),
        (metrics_csv.METRICS, b"\x80\x04", "metrics.csv: lacks the rows of the checkpoint"),
        (f"checkpoint/{4 * WINDOW}/_CHECKPOINT_METADATA", b"[1]", "is not a checkpoint that this version"),
    ],
)
def test_a_command_refuses_a_spoilt_file_in_one_line(name, content, complaint, folder, tmp_path, capsys):
    run = shutil.copytree(folder, tmp_path / "run")
    if isinstance(content, dict):
        saved = json.loads((run / name).read_text())
        content = json.dumps(saved | {"flags": saved["flags"] | content}).encode()
    (run / name).write_bytes(content)
    assert command_line.run(train, *flags_of(CONFIG), f"--logdir={run}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
