"""Who plays: agents from folders, and what the command refuses."""

import dataclasses
import json
import shutil
from functools import partial

import command_line
import jax
import numpy as np
import pytest
from pictures import write_run
from playing import frames_of, match_of_thinkers, pixels, refused

from agents.agent import learning
from agents.policies import Categorical
from envs.snake import MOVES, Snake
from experiments import variance as study
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.runs.building import init_seeds, make_agent
from experiments.runs.training import train
from experiments.storage import checkpoints, config_file
from experiments.storage import metrics as metrics_csv
from experiments.studies.play import games, players, recording
from experiments.studies.play.games import FREE, WAIT, Match, Players

SETTINGS = Config(
    estimator="single_step",
    board_size="3x4",
    num_seeds=3,
    num_envs=4,
    rollout_length=5,
    num_env_steps=200,
    num_channels=4,
    policy_width=8,
    value_width=8,
    time_limit=12,
    outer_critic=False,
)
RETURNS = [(10, 0, 9.0), (10, 1, 5.0), (10, 2, ""), (20, 0, 1.0), (20, 1, ""), (20, 2, "")]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, whose second seed has the best last return that is known, and whose third has none."""
    folder = tmp_path_factory.mktemp("play") / "single_step"
    train(SETTINGS, folder)
    shutil.copy(folder / "metrics.csv", folder / "trained.csv")
    lines = ["env_steps,seed,episode_return,loss/value", *(",".join(map(str, (*row, 1.0))) for row in RETURNS)]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_best_seed_plays_as_the_latest_checkpoint_has_it(run):
    cast, grid = players.agents(run, None, None, "1x3")
    assert grid == (1, 3)
    assert cast.names == tuple(f"single-step · seed {seed}" for seed in (1, 0, 2))
    state = jax.eval_shape(partial(init_seeds, learning(make_agent(SETTINGS)), SETTINGS))
    latest = checkpoints.read_checkpoint(run, 200, state).position.learner_state.params
    jax.tree.map(lambda shown, saved: np.testing.assert_array_equal(shown, saved[[1, 0, 2]]), cast.params, latest)
    shutil.copy(run / "trained.csv", run.parent / "metrics.csv")
    logged = metrics_csv.read_metrics(run.parent)
    for tuned, seed in zip(cast.hyperparameters, (1, 0, 2), strict=True):
        assert tuned == pytest.approx({name: logged[f"hyper/{name}"][-1, seed] for name in SETTINGS.meta_params})
    chosen, _ = players.agents(run, None, 2, None)
    assert chosen.names == ("single-step · seed 2",)
    jax.tree.map(lambda one, saved: np.testing.assert_array_equal(one[0], saved[2]), chosen.params, latest)


def test_a_run_of_single_precision_is_played_in_double(run):
    with jax.enable_x64(True):
        doubled, _ = players.agents(run, None, 1, None)
    single, _ = players.agents(run, None, 1, None)
    assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(doubled.params))
    jax.tree.map(np.testing.assert_array_equal, doubled.params, single.params)


def test_a_comparisons_agents_play_side_by_side_the_best_seed_of_each_run_first(run, tmp_path):
    for name in ("multi_step", "mixing_10"):
        shutil.copytree(run, tmp_path / name)
    config_file.save(dataclasses.replace(SETTINGS, estimator="mixing", horizon=10), tmp_path / "mixing_10/config.json")
    nothing = {"estimator": "none", "discount": 0.3, "num_env_steps": 20}
    train(dataclasses.replace(SETTINGS, **nothing), tmp_path / "baseline", quiet=True)
    ranking = players.ranked_seeds(players.Run(tmp_path / "baseline", SETTINGS))
    cast, grid = players.agents(tmp_path, None, None, "2x3")
    assert grid == (2, 3)
    rows = [
        [f"single-step · seed {seed}", f"mixing(10) · seed {seed}", f"baseline · seed {fixed}"]
        for seed, fixed in zip((1, 0), ranking, strict=False)
    ]
    assert list(cast.names) == [*rows[0], *rows[1]]
    assert cast.hyperparameters[2] == {"fixed discount": pytest.approx(0.3)}
    assert players.agents(tmp_path, None, 2, None)[1] == (1, 3)


def test_a_seed_that_was_dropped_is_never_the_best(tmp_path):
    returns = np.array([[1.0, 99.0, 2.0], [3.0, np.nan, 4.0]])
    folder = write_run(tmp_path / "run", SETTINGS, {"episode_return": returns, "loss/value": returns})
    assert players.ranked_seeds(players.Run(folder, config_file.load(folder / "config.json"))) == [2, 0, 1]


def test_python_records_the_agents_of_a_folder(run, tmp_path):
    path = tmp_path / "agents.mp4"
    options = {"seed_index": 2, "greedy": True, "seed": 3}
    assert recording.record(run, path, max_steps=7, episodes=99, **options) == 8
    match = Match(*players.agents(run, None, 2, None), greedy=True, seed=3)
    for frame in frames_of(path):
        assert np.abs(frame - pixels(match)).mean() < 3  # of 255: formats lose a little
        match.step()
    with pytest.raises(UsageError, match=r"^max_steps=0: must be at least 1"):
        recording.record(run, path, max_steps=0)


def _greedy_policy(params, observation):
    return Categorical(params), np.float32(0.0)


def test_greedy_agents_play_their_most_probable_move():
    match = Match(Players(Snake(6, 6), _greedy_policy, np.eye(4, dtype=np.float32), "abcd", ({},) * 4), (2, 2), True)
    before = match.state
    match.step()
    for move in range(4):
        place = np.add(divmod(int(before.head[move]), 6), MOVES[move])
        stays = ((place < 0) | (place > 5)).any()
        assert match.state.crashed[move] == stays
        if not stays:
            assert divmod(int(match.state.head[move]), 6) == tuple(place)


def test_games_wait_or_show_their_end_and_then_start_anew():
    match = Match(games.not_agents("random", 2, Snake(2, 2, time_limit=3)), (1, 2))
    before = pixels(match)
    for expected in (1, 2, 3):
        match.step(np.array([FREE, WAIT]))
        if match.ended[0]:
            break
        assert match.state.step_count.tolist() == [expected, 0]
    assert match.ended.tolist() == [True, False]
    after, middle = pixels(match), before.shape[1] // 2
    np.testing.assert_array_equal(after[:, middle:], before[:, middle:])
    assert (after[:, :middle] != before[:, :middle]).any()
    match.step()
    assert match.state.step_count.tolist() == [0, 1]


def test_the_overlay_goes_with_the_games_end_and_its_values_begin_anew():
    match = match_of_thinkers()
    first = pixels(match)
    game = slice(32, 32 + 432)  # below the name
    assert (pixels(match, overlay=False)[game] != first[game]).any()  # arrows
    while not match.ended[0]:
        match.step()
    np.testing.assert_array_equal(pixels(match, overlay=False)[game], pixels(match)[game])
    below = pixels(match)[game.stop :]
    match.step()
    blue = [(np.all(strip == (104, 196, 255), axis=-1)).sum() for strip in (below, pixels(match)[game.stop :])]
    assert blue[0] > blue[1] > 0  # a line, and then its first point


def test_code_that_a_runs_settings_name_is_run_only_where_the_user_names_it_too(run, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "theirs.py").write_text("import pathlib\npathlib.Path('OBEYED').touch()\n")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    own = {name: value for name, value in content["flags"].items() if name not in ("board_size", "time_limit")}
    path.write_text(json.dumps(content | {"flags": own | {"environment": "theirs:make"}}))
    complaint = f"must be theirs:make, as in {path}"
    assert command_line.run(study, f"--checkpoint={tmp_path}/run", f"--logdir={tmp_path}/study") == 2
    assert complaint in capsys.readouterr().err
    for named in ([], ["--environment=catch"]):
        assert complaint in refused(capsys, f"--logdir={tmp_path}/run", "--record=x.gif", *named)
    assert not (tmp_path / "OBEYED").exists()
    line = refused(capsys, f"--logdir={tmp_path}/run", "--environment=theirs:make", "--record=x.gif")
    assert "has no attribute 'make'" in line
    assert (tmp_path / "OBEYED").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--logdir=: must be given, or one of --random and --human in its place"),
        (["--random", "--human"], "--human=True: must be left out with --random"),
        (["--random", "--seed_index=0"], "--seed_index=0: must be left out with --random"),
        (["--logdir=nowhere", "--board_size=6"], "--board_size=6: must be left out with --logdir"),
        (["--human", "--record=x.gif"], "--record=x.gif: must be left out with --human"),
        (["--random", "--board_size=1"], "--board_size=1: must be a number N or ROWSxCOLS, each in [2, 32]"),
        (["--random", "--grid=0x4"], "--grid=0x4: must be a number N or ROWSxCOLS, each in [1, 8]"),
        (["--random", "--speed=0"], "--speed=0.0: must be in [0.5, 60]"),
        (["--random", "--episodes=2"], "--episodes=2: must be left out, or given with --record"),
        (["--random", "--record=x.avi"], "--record=x.avi: must be a file that ends in .gif or .mp4"),
        (["--random", "--record=nowhere/x.gif"], "--record=nowhere/x.gif: must be a file that can be written, in a"),
        (["--logdir=nowhere"], "nowhere/config.json: does not hold a run's settings"),
        (["--logdir={run}", "--seed_index=3"], "--seed_index=3: must be in [0, 2]"),
        (["--logdir={run}", "--grid=2x2"], "--grid=2x2: must be of at most 3 cells"),
        (["--logdir={all}"], "--logdir={all}: must be the folder of a run or of a comparison, and its runs differ in"),
        (["--logdir={all}/misfit"], "misfit/checkpoint/200: does not fit its run's settings: "),
        (["--logdir={all}/empty"], "{all}/empty: holds no checkpoint"),
    ],
)
def test_what_is_impossible_is_one_line_and_status_2(arguments, message, run, tmp_path, capsys):
    for name, settings in (("misfit", {"value_width": 16}), ("empty", {})):
        shutil.copytree(run, tmp_path / name)
        config_file.save(dataclasses.replace(SETTINGS, **settings), tmp_path / name / "config.json")
    shutil.rmtree(tmp_path / "empty" / "checkpoint")
    places = {"run": run, "all": tmp_path}
    line = refused(capsys, *(argument.format(**places) for argument in arguments))
    assert message.format(**places) in line
