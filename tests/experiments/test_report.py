"""The page of a folder: numbers as in the files, replays as the agents play, and no other file is needed."""

import base64
import io
import json
import pathlib
import re
import shutil

import command_line
import jax
import numpy as np
import pytest
from pictures import write_run
from PIL import Image
from reporting import RUN, data_of, text_of, write_comparison

from envs.catch import Catch
from experiments import report
from experiments.config.settings import Config
from experiments.figures.averages import over_seeds
from experiments.runs.training import train as train_run
from experiments.storage.metrics import read_metrics
from experiments.studies.play import players
from experiments.studies.report import frames, page, replays, sections
from experiments.studies.variance import text

RESULTS = pathlib.Path(__file__).parents[2] / "results"

OUTWARD = re.compile(r"<(?!/)[^>]*\b(?:src|href|action|data|srcset)\s*=\s*[\"'](?!data:|#)[^>]*>|@import|url\(")
"""What would have a browser look for another file."""

CATCH = Config(
    environment="catch",
    estimator="none",
    num_seeds=3,
    num_envs=4,
    rollout_length=5,
    num_env_steps=200,
    num_channels=4,
    policy_width=8,
    value_width=8,
    outer_critic=False,
)


def reported(folder, *arguments):
    """Runs the command; returns the page."""
    assert not command_line.run(report, f"--logdir={folder}", *arguments)
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with a checkpoint, whose second seed has the best last return."""
    folder = tmp_path_factory.mktemp("report") / "fixed"
    train_run(CATCH, folder, quiet=True)
    header, *rows = (folder / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("episode_return")
    changed = [row.split(",") for row in rows]
    for row in changed:
        row[column] = {"0": "0.1", "1": "0.9", "2": "0.5"}[row[1]]
    (folder / "metrics.csv").write_text("\n".join([header, *map(",".join, changed), ""]))
    return folder


def test_curves_are_the_numbers_of_the_metrics_and_means_leave_out_what_was_dropped(tmp_path):
    content = reported(write_comparison(tmp_path / "comparison"))
    (section,) = data_of(content)
    runs, panels = section["curves"]["runs"], section["curves"]["panels"]
    assert [run["label"] for run in runs] == ["fixed: discount 0.97", "mixing(5), 1 of 3 seeds dropped"]
    assert [run["seeds"] for run in runs] == [[0, 1, 2], [0, 2]]
    columns = ["episode_return", "hyper/discount", "spread/discount"]
    assert [panel["scale"] for panel in panels] == ["linear", "logit", "log"]
    for panel, column in zip(panels[:2], columns, strict=False):
        for line, name in zip(panel["lines"], ("none", "mixing"), strict=True):
            seeds = runs[line["run"]]["seeds"]
            level = np.full((4, 3), 0.97)  # of a hyperparameter that is not tuned
            values = read_metrics(tmp_path / "comparison" / name).get(column, level)[:, seeds]
            np.testing.assert_allclose(np.transpose(line["seeds"]), values, rtol=1e-5)
            for name, expected in over_seeds(column, values)._asdict().items():
                got = np.array(line[{"estimate": "mean"}.get(name, name)], float)
                np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert [line["run"] for line in panels[2]["lines"]] == [1]
    told = text_of(content)
    assert "mixing complete, 400,000 steps 0 to 2; dropped: 1" in told
    assert "No replay of fixed: discount 0.97: it has no checkpoint yet." in told


@pytest.mark.parametrize(("env_steps", "told"), [(400_000, True), (200_000, False)])
def test_what_came_of_a_comparison_is_told_of_runs_as_long(env_steps, told, tmp_path):
    folder = write_comparison(tmp_path / "comparison")
    end = {"final_return": {"estimate": 9.0, "ci95": [8.0, 10.0]}, "meta_grad_std": {}}
    (folder / "compare.json").write_text(json.dumps({"env_steps": env_steps, "estimators": {"none": end}}))
    assert ("agents end at 9 [8, 10]" in text_of(reported(folder))) == told


def test_a_page_needs_no_other_file_and_shows_texts_as_they_are(tmp_path):
    folder = write_comparison(tmp_path / "a <b>&amp;")
    shutil.copytree(folder / "none", folder / "</script>".replace("/", "∕"))
    shutil.copytree(folder / "none", folder / "<i>other")
    content = reported(folder)
    assert len(content.encode()) < page.MOST_BYTES
    outside = re.sub(r"(<script\b[^>]*>).*?</script>", r"\1", content, flags=re.DOTALL)
    assert not OUTWARD.search(outside)
    assert "default-src 'none'" in outside  # and so browsers look for none, whatever the library may try
    assert "<h1>a &lt;b&gt;&amp;amp;</h1>" in content
    assert "<i>other" not in outside
    styles = [(run["color"], run["dash"]) for run in data_of(content)[0]["curves"]["runs"]]
    assert all(style not in styles[:index] for index, style in enumerate(styles))


def test_the_replay_is_an_episode_of_the_best_seed(trained):
    (section,) = data_of(reported(trained))
    (shown,) = section["replays"]
    assert shown["label"].endswith(" · seed 1")
    cast = players.load([(players.Run(trained, CATCH), 1)])
    episode, env = replays.play(cast, 300), Catch()
    states = [jax.tree.map(lambda leaf, step=step: leaf[step], episode.states) for step in range(10)]
    for step, state in enumerate(states):
        policy, value = cast.opinion(jax.tree.map(lambda leaf: leaf[0], cast.params), env.observation(state))
        np.testing.assert_allclose(shown["probabilities"][step], jax.nn.softmax(policy.logits), atol=6e-4)
        assert shown["values"][step] == pytest.approx(float(value), rel=1e-4, abs=1e-6)
        if step < 9:
            following = env.transition(state, shown["taken"][step], None)
            jax.tree.map(np.testing.assert_array_equal, following, states[step + 1])
    assert bool(env.terminal(states[-1])) and episode.ended and shown["end"] == "the episode is over"  # noqa: PT018
    caught = float(env.reward(states[-2], None, states[-1]))
    assert shown["returns"] == [0.0] * 9 + [caught]
    assert shown["actions"] == ["0", "1", "2"]
    for picture, state in zip(_unpacked(shown), states, strict=True):
        expected = Image.fromarray(env.render(state)).resize((shown["width"], shown["height"]))
        assert np.abs(picture.astype(int) - np.asarray(expected)).mean() < 2  # of 255: colours are fewer


def _unpacked(shown):
    """Returns the frames of a replay, drawn as the page draws them."""
    height, picture = shown["height"], None
    for sheet in shown["sheets"]:
        whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.partition(",")[2]))).convert("RGBA"))
        for frame in whole.reshape(-1, height, *whole.shape[1:]):
            opaque = frame[..., 3:] > 0
            picture = frame[..., :3] if picture is None else np.where(opaque, frame[..., :3], picture)
            yield picture


def test_frames_are_the_pictures_they_were(monkeypatch):
    monkeypatch.setattr(frames, "EVERY", 3)
    drawn = np.zeros((8, 6, 500, 3), np.uint8)
    for step in range(8):
        drawn[step, :, 50 * step : 50 * step + 100] = (200, 10 * step, 0)
    packed = frames.pack(drawn)
    assert (packed["width"], packed["height"], len(packed["sheets"])) == (240, 3, 3)
    for picture, expected in zip(_unpacked(packed), drawn, strict=True):
        small = np.asarray(Image.fromarray(expected).resize((240, 3), Image.Resampling.BOX), int)
        assert np.abs(picture - small).mean() < 1


def test_moves_are_called_by_where_they_lead():
    from envs.snake import Snake

    env = Snake(4, 4)
    state = jax.tree.map(lambda leaf: np.asarray(leaf)[None], env.initial(jax.random.key(0)))
    episode = replays.Episode(state, *[np.zeros((1, 4))] * 4, ended=True)
    assert replays._names(env, episode) == ["↑", "→", "↓", "←"]


def test_a_folder_of_folders_has_a_section_for_each_and_says_what_has_not_ended(tmp_path, trained):
    write_comparison(tmp_path / "comparison", steps=1)
    study, search = tmp_path / "noise", tmp_path / "search"
    shutil.copytree(RESULTS / "self_tuning" / "search", search)
    study.mkdir()
    results = json.loads((RESULTS / "variance_snake.json").read_text())
    summary = text.summarize(results)
    (study / "variance.json").write_text(json.dumps({"summary": summary} | results))
    (study / "variance.png").write_bytes(b"a picture")
    (tmp_path / "stopped").mkdir()
    (tmp_path / "stopped" / "study.json").touch()
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "search.json").write_text("[]")
    content, told = reported(tmp_path), text_of(reported(tmp_path))
    titles = re.findall(r"<h2>(.*?)</h2>", content)
    assert titles == [
        *("comparison: Runs", "noise: Variance study", "search: Search", "stopped: Variance study"),
        "What cannot be read",
    ]
    assert told.count("unfinished: 100,000 of 400,000 steps (25%)") == 2
    assert all(" ".join(answer["in_words"].split()) in told for answer in summary["answers"].values())
    assert f'src="data:image/png;base64,{base64.b64encode(b"a picture").decode()}"' in content
    best = json.loads((search / "search.json").read_text())["best"]
    assert f"Setting {best['setting']} with {len(best['seeds'])} fresh seeds" in told
    assert "spoilt/search.json: does not hold the results of a search (TypeError" in told


def test_what_finds_no_room_is_left_out_and_named(monkeypatch):
    replay = {"label": "snake", "returns": [0.0], "sheets": ["x" * 50_000]}
    parts = [sections.Section("Runs", "", replays=(replay, replay), pictures={"Curve": b"p" * 30_000})]
    whole = page.render("both", parts)
    monkeypatch.setattr(page, "MOST_BYTES", len(whole.encode()) - 10_000)
    less = page.render("both", parts)
    assert len(less.encode()) <= page.MOST_BYTES
    assert len(data_of(less)[0]["replays"]) == 1
    assert "The replay of snake is left out" in text_of(less)
    monkeypatch.setattr(page, "MOST_BYTES", 10_000)
    with pytest.raises(page.UsageError, match="must be of fewer runs"):
        page.render("both", parts)


def test_code_of_ones_own_is_run_only_where_it_is_named_and_need_not_have_pictures(tmp_path):
    config = Config(environment="tables:process", **RUN).with_estimator("none")
    write_run(tmp_path / "run", config, {"episode_return": np.zeros((4, 2))})
    (tmp_path / "run" / "checkpoint" / "400000").mkdir(parents=True)
    assert "is run only with --environment=tables:process" in text_of(reported(tmp_path))
    named = text_of(reported(tmp_path, "--environment=tables:process"))
    assert "must be one with a method render to be watched" in named


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--logdir=: must be given: a folder of a run"),
        (["--logdir=nowhere"], "--logdir=nowhere: must be a folder that can be read"),
        (["--logdir=."], "--logdir=.: must be a folder of a run, comparison, study or search, or of such folders"),
        (["--logdir=.", "--max_steps=0"], "--max_steps=0: must be at least 1"),
        (
            ["--logdir=comparison", "--environment=catch"],
            "=catch: must be that of a run in --logdir: snake",
        ),
        (["--logdir=spoilt"], "does not hold a run's settings"),
    ],
)
def test_what_is_impossible_is_one_line(arguments, complaint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    if arguments != ["--logdir=."]:
        write_comparison(tmp_path / "comparison")
        (tmp_path / "spoilt").mkdir()
        (tmp_path / "spoilt" / "config.json").touch()
    assert command_line.run(report, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not list(tmp_path.glob("**/report.html"))
