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

from experiments import search, train
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

KINDS_OF_MUTATIONS = st.sampled_from(["cut", "flip", "insert", "replace", "repeat"])
MUTATION = st.tuples(KINDS_OF_MUTATIONS, st.floats(0.0, 1.0), st.integers(0, 40), st.sampled_from(TOKENS))


def mutated(content, mutations):
    """Returns bytes after some mutations, each at a place that is a fraction of the length."""
    for kind, place, size, token in mutations:
        at = int(place * len(content))
        content = (
            content[:at]
            + {
                "cut": b"",
                "flip": bytes(byte ^ (1 << size % 8) for byte in content[at : at + 1]) + content[at + 1 :],
                "insert": token + content[at:],
                "replace": token + content[at + size :],
                "repeat": content[at : at + size] + content[at:],
            }[kind]
        )
    return content


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
    return folder


def _final_return(folder):
    metrics = metrics_csv.read_metrics(folder)
    return final_returns(metrics) if "episode_return" in metrics else None


KINDS = {
    config_file.CONFIG: (
        [lambda folder: config_file.check_settings(folder, CONFIG), lambda folder: players.open_runs(str(folder))],
        (100, 4_500),
    ),
    metrics_csv.METRICS: (
        [
            _final_return,
            lambda folder: players.ranked_seeds(players.Run(folder, CONFIG)),
            lambda folder: metrics_csv.length_until(folder / metrics_csv.METRICS, 4 * WINDOW, 2),
        ],
        (75, 3_500),
    ),
    "*.npy": ([lambda folder: sampling._read(folder / "00000000.npy", [])], (65, 1_500)),
    f"{checkpoints.CHECKPOINTS}/**/*": (
        [lambda folder: checkpoints.read_checkpoint(folder, 4 * WINDOW, STATE)],
        (10, 500),
    ),
}
"""Files of a kind, how they are read, and numbers of examples for `make test` and `make soak`."""


@pytest.mark.parametrize("effort", [0, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_mutated_file_is_read_or_refused(kind, effort, folder):
    readers, examples = KINDS[kind]
    files = sorted(path for path in folder.glob(kind) if path.is_file())
    outside = sorted(folder.parent.parent.rglob("*"))

    @settings(max_examples=examples[effort], deadline=None, database=None, derandomize=True)
    @given(st.sampled_from(files), st.lists(MUTATION, min_size=1, max_size=4))
    def check_one(file, mutations):
        original = file.read_bytes()
        file.write_bytes(mutated(original, mutations))
        try:
            for read in readers:
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
        (config_file.CONFIG, b"[" * 100_000, "config.json: is not the settings of a run"),
        (metrics_csv.METRICS, b"\x80\x04", "metrics.csv: has not the rows of the checkpoint"),
        (f"checkpoint/{4 * WINDOW}/_CHECKPOINT_METADATA", b"[1]", f"checkpoint/{4 * WINDOW}: is not a checkpoint that"),
    ],
)
def test_a_command_refuses_a_spoilt_file_in_one_line(name, content, complaint, folder, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    (run / name).write_bytes(content)
    assert command_line.run(train, *flags_of(CONFIG), f"--logdir={run}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"PK\x03\x04", b'{"settings": 5}'])
def test_a_search_refuses_spoilt_results_in_one_line(content, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(searching, "train_settings", None)  # nothing is begun
    (tmp_path / searching.RESULTS).write_bytes(content)
    shutil.copy(tmp_path / searching.RESULTS, tmp_path / searching.ASKED)
    assert command_line.run(search, f"--logdir={tmp_path}") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", True), ("num_seeds", 0), ("horizon", 2**31), ("discount", "0.5"), ("meta_params", [1])],
)
def test_settings_that_no_run_can_have_are_refused(name, value, folder, tmp_path):
    content = json.loads((folder / config_file.CONFIG).read_text())
    assert config_file.load(folder / config_file.CONFIG) == CONFIG
    file = tmp_path / config_file.CONFIG
    file.write_text(json.dumps(content | {"flags": content["flags"] | {name: value}}))
    with pytest.raises(UsageError, match=r"config\.json: is not the settings of a run"):
        config_file.load(file)
