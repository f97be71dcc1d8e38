"""The command and the agents that it takes from folders."""

import dataclasses
import itertools
import json
import shutil
from functools import partial

import command_line
import jax
import numpy as np
import pygame
import pytest
from playing import color_at_head, frames_of, new_match, play_command, refused, thinkers

from envs import drawing
from envs.snake import MOVES, Snake
from experiments import play
from experiments import variance as study
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.runs.building import init_seeds, make_agent
from experiments.runs.training import train
from experiments.storage import checkpoints, config_file
from experiments.storage import metrics as metrics_csv
from experiments.studies.play import games, panels, players

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
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("play") / "single_step"
    train(SETTINGS, folder)
    return folder


@pytest.fixture(scope="module")
def comparison(run, tmp_path_factory):
    """The folder of two runs, one of which is a copy that says that it had another estimator."""
    folder = tmp_path_factory.mktemp("play") / "all"
    shutil.copytree(run, folder / "single_step")
    shutil.copytree(run, folder / "multi_step")
    config_file.save(dataclasses.replace(SETTINGS, estimator="multi_step"), folder / "multi_step" / "config.json")
    return folder


CALLED = ("single-step", "multi-step(5)")


@pytest.fixture(scope="module")
def agent(run):
    return players.load([(players.open_runs(str(run))[0], 1)])


def test_a_run_of_single_precision_is_played_in_double_and_does_not_go_on_in_it(run, agent, tmp_path):
    with jax.enable_x64(True):
        doubled = players.load([(players.open_runs(str(run))[0], 1)])
        assert all(leaf.dtype == np.float64 for leaf in jax.tree.leaves(doubled.params))
        jax.tree.map(np.testing.assert_array_equal, doubled.params, agent.params)
        folder = shutil.copytree(run, tmp_path / "longer")
        with pytest.raises(UsageError, match=r"float32\[.*float64\[.*JAX_ENABLE_X64 must be as it was"):
            train(dataclasses.replace(SETTINGS, num_env_steps=220), folder, quiet=True)


def test_greedy_agents_play_their_most_probable_move():
    def policy(preference, observation):
        return preference, np.float32(0.0)

    rules = games.Rules(Snake(6, 6), policy, True)
    preferences = np.eye(4, dtype=np.float32)
    before = games.start(rules, 4, preferences, 0, 0)
    after = games.step(rules, preferences, before, np.full(4, games.FREE, np.int32))
    masks = jax.vmap(rules.env.action_mask)(before.state)
    for move in range(4):
        row, col = divmod(int(before.state.head[move]), 6)
        expected = np.add((row, col), MOVES[move]) if masks[move, move] else (row, col)
        assert divmod(int(after.state.head[move]), 6) == tuple(expected)


def test_a_game_that_waits_stands_still():
    match = new_match(thinkers(2), (1, 2))
    match.step()
    before = drawing.pixels(match.draw(overlay=True))
    for _ in range(3):
        match.step(np.array([games.WAIT, games.FREE]))
    after = drawing.pixels(match.draw(overlay=True))
    middle = before.shape[1] // 2
    np.testing.assert_array_equal(after[:, :middle], before[:, :middle])
    assert (after[:, middle:] != before[:, middle:]).any()


def test_boards_of_all_sizes_fit_into_all_grids():
    for board in itertools.product((2, 3, 8, 12, 29, 31, 32), repeat=2):
        for grid in itertools.product(range(1, 9), repeat=2):
            assert drawing.fit(*board, panels.board_size(*board, grid)).cell >= 4


def test_games_start_anew_after_their_end_or_wait():
    match = new_match(players.not_agents("random", 2, Snake(2, 2, time_limit=3)), (1, 2))
    for expected in (1, 2, 3):
        match.step(np.array([games.FREE, games.WAIT]))
        if match.ended[0]:
            break
        assert match.state.step_count.tolist() == [expected, 0]
    assert match.ended.tolist() == [True, False]
    match.step()
    assert match.state.step_count.tolist() == [0, 1]


def test_agents_are_the_latest_checkpoints(run):
    opened = players.open_runs(str(run))[0]
    cast = players.load([(opened, 2), (opened, 0)])
    assert cast.names == ("single-step · seed 2", "single-step · seed 0")
    state = jax.eval_shape(partial(init_seeds, make_agent(opened.config), opened.config))
    restored = checkpoints.read_checkpoint(run, checkpoints.checkpoint_steps(run)[-1], state)
    jax.tree.map(
        lambda shown, saved: np.testing.assert_array_equal(shown, np.asarray(saved)[[2, 0]]),
        cast.params,
        restored.position.learner_state.params,
    )
    logged = metrics_csv.read_metrics(run)
    for tuned, seed in zip(cast.hyperparameters, (2, 0), strict=True):
        assert tuned == pytest.approx({name: logged[f"hyper/{name}"][-1, seed] for name in SETTINGS.meta_params})


def test_an_agent_that_tunes_nothing_shows_its_fixed_discount(monkeypatch, tmp_path):
    monkeypatch.setattr(players, "_restore", lambda *_: ({}, {}))
    config = dataclasses.replace(SETTINGS, estimator="none", outer_critic=False, discount=0.3)
    cast = players.load([(players.Run(tmp_path, config), 0)])
    assert cast.hyperparameters == ({"fixed discount": pytest.approx(0.3)},)


def test_seeds_are_ranked_by_their_last_logged_returns(run, tmp_path):
    rows = [(10, 0, 9.0), (10, 1, 5.0), (10, 2, ""), (20, 0, 1.0), (20, 1, ""), (20, 2, "")]
    lines = ["env_steps,seed,episode_return", *(",".join(map(str, row)) for row in rows)]
    (tmp_path / "metrics.csv").write_text("\n".join(lines) + "\n")
    assert players.ranked_seeds(players.Run(tmp_path, SETTINGS)) == [1, 0, 2]


def test_a_comparison_may_hold_several_horizons_and_fixed_runs(run, tmp_path):
    changed = {
        "baseline": {"estimator": "none", "outer_critic": False, "discount": 0.3},
        "mixing_10": {"estimator": "mixing", "horizon": 10},
        "mixing": {"estimator": "mixing", "horizon": 2},
        "none": {"estimator": "none", "outer_critic": False},
    }
    for name, settings in changed.items():
        shutil.copytree(run, tmp_path / name)
        config_file.save(dataclasses.replace(SETTINGS, **settings), tmp_path / name / "config.json")
    runs = players.open_runs(str(tmp_path))
    assert [players._called(run) for run in runs] == ["none", "mixing(2)", "mixing(10)", "baseline"]


def test_code_that_a_runs_settings_name_is_run_only_where_the_user_names_it_too(run, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "theirs.py").write_text("import pathlib\npathlib.Path('OBEYED').touch()\n")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    content = json.loads(path.read_text())
    own = {name: value for name, value in content["flags"].items() if name not in ("board_size", "time_limit")}
    path.write_text(json.dumps(content | {"flags": own | {"environment": "theirs:make"}}))
    complaint = f"must be theirs:make, as in {path}, whose word is not enough to run code"
    for command, arguments in ((play, [f"--logdir={tmp_path}/run"]), (study, [f"--checkpoint={tmp_path}/run"])):
        where = f"--logdir={tmp_path}/study" if command is study else "--record=x.gif"
        assert command_line.run(command, *arguments, where) == 2
        assert complaint in capsys.readouterr().err
    assert command_line.run(play, f"--logdir={tmp_path}/run", "--environment=catch", "--record=x.gif") == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "OBEYED").exists()
    assert command_line.run(play, f"--logdir={tmp_path}/run", "--environment=theirs:make", "--record=x.gif") == 2
    assert "has no attribute 'make'" in capsys.readouterr().err
    assert (tmp_path / "OBEYED").exists()


def test_a_grid_shows_the_agents_side_by_side(comparison):
    runs = players.open_runs(str(comparison))
    cast = players.load([(run, seed) for seed in (0, 1) for run in runs])
    assert cast.names == tuple(f"{name} · seed {seed}" for seed in (0, 1) for name in CALLED)
    match = new_match(cast, (2, 2))
    for _ in range(3):
        picture = match.draw(overlay=True)
        for index in range(4):
            assert color_at_head(picture, match, index, (2, 2)) == drawing.HEAD_COLOR
        match.step()


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_recordings_hold_a_frame_for_each_step_and_one_more(run, agent, tmp_path, suffix, capsys):
    path = tmp_path / f"agent{suffix}"
    assert not play_command(f"--logdir={run}", f"--record={path}", "--max_steps=7", "--episodes=99", "--seed_index=1")
    assert f"8 frames are in {path}" in capsys.readouterr().out
    frames = frames_of(path)
    assert len(frames) == 8
    match = new_match(agent)
    for frame in frames:
        expected = drawing.pixels(match.draw(overlay=True)).astype(int)
        assert frame.shape == expected.shape
        assert np.abs(frame - expected).mean() < 3  # of 255: both formats lose a little
        match.step()


BAD = [
    (["--random", "--human"], "--human=True: must be left out with --random"),
    ([], "--logdir=: must be given"),
    (["--random", "--board_size=1"], "--board_size=1: must be a number N or ROWSxCOLS, each in [2, 32]"),
    (["--random", "--greedy"], "--greedy=True: must be left out with --random"),
    (["--random", "--seed_index=0"], "--seed_index=0: must be left out with --random"),
    (["--random", "--grid=0x4"], "--grid=0x4: must be a number N or ROWSxCOLS, each in [1, 8]"),
    (["--random", "--grid=wide"], "--grid=wide: must be"),
    (["--human", "--grid=1x2"], "--grid=1x2: must be left out with --human"),
    (["--human", "--record=x.gif"], "--record=x.gif: must be left out with --human"),
    (["--random", "--speed=0"], "--speed=0.0: must be in [0.5, 60]"),
    (["--random", "--seed=-1"], "--seed=-1: must be at least 0 and below 2^31"),
    (["--random", "--record=x.gif", "--episodes=0"], "--episodes=0: must be at least 1"),
    (["--random", "--record=x.gif", "--max_steps=0"], "--max_steps=0: must be at least 1"),
    (["--random", "--episodes=2"], "--episodes=2: must be left out, or given with --record"),
    (["--random", "--record=x.avi"], "--record=x.avi: must be a file that ends in .gif or .mp4"),
    (["--random", "--record=nowhere/x.gif"], "--record=nowhere/x.gif: must be a file that can be written, in a folder"),
    (["--random", "--speed=fast"], "speed"),
    (["--random", "--colour=red"], "colour"),
    (["stray"], "stray"),
    (["--random", "--record=~no-such-user/x.gif"], "x.gif: must be a path in UTF-8 that can be looked up"),
    (["--random", f"--record={'x' * 300}.gif"], "x.gif: must be a path in UTF-8 that can be looked up"),
    (["--logdir=nowhere"], "nowhere/config.json: is not the settings of a run"),
    (["--logdir=~no-such-user"], "--logdir=~no-such-user: must be a path in UTF-8 that can be looked up"),
    ([f"--logdir={'x' * 300}"], "x: must be a path in UTF-8 that can be looked up"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys):
    assert message in refused(capsys, *arguments)


def test_what_does_not_match_the_run_isrefused(run, comparison, capsys, tmp_path):
    assert "--seed_index=3: must be in [0, 2]" in refused(capsys, f"--logdir={run}", "--seed_index=3")
    assert "--seed_index=-1: must be in [0, 2]" in refused(capsys, f"--logdir={run}", "--seed_index=-1")
    assert "--grid=2x2: must be of at most 3 cells" in refused(capsys, f"--logdir={run}", "--grid=2x2")
    assert "of at most 2 cells" in refused(capsys, f"--logdir={comparison}", "--grid=1x3", "--seed_index=1")
    assert "--board_size=6: must be left out with --logdir" in refused(capsys, f"--logdir={run}", "--board_size=6")
    (tmp_path / "folder.gif").mkdir()
    assert "can be written" in refused(capsys, f"--logdir={run}", f"--record={tmp_path}/folder.gif")


def test_folders_that_cannot_be_played_from_arerefused(comparison, tmp_path, capsys):
    folder = tmp_path / "all" / "single_step"
    shutil.copytree(comparison / "single_step", folder)
    steps = checkpoints.checkpoint_steps(folder)[-1]
    content = json.loads((folder / "config.json").read_text())

    misfits = {
        "value_width": (16, "mu/value_head/~/linear_0/b is float32[3, 8], expected float32[3, 16]"),
        "board_size": ("5", "environment_state/body is int32[3, 4, 3, 4], expected int32[3, 4, 5, 5]"),
        "meta_params": ([*SETTINGS.meta_params, "value_cost"], "eta/value_cost is not in it, expected float32[3]"),
        "optimizer": ("rmsprop", "outer_critic/optimizer_state/0/count is int32[3], expected none"),
    }
    for name, (value, message) in misfits.items():
        (folder / "config.json").write_text(json.dumps(content | {"flags": content["flags"] | {name: value}}))
        error = refused(capsys, f"--logdir={folder}")
        assert error.startswith(f"{folder}/checkpoint/{steps}: does not fit its run's settings: ")
        assert error.endswith(f"{message}\n")
    (folder / "config.json").write_text(json.dumps(content | {"flags": content["flags"] | {"num_seeds": 2}}))
    assert "metrics.csv: has not the seeds that config.json says" in refused(capsys, f"--logdir={folder}")
    shutil.copytree(comparison / "multi_step", tmp_path / "all" / "multi_step")
    assert "its runs differ in their game, seeds or networks" in refused(capsys, f"--logdir={tmp_path}/all")

    (folder / "config.json").write_text(json.dumps(content | {"format": 99}))
    assert "has format 99, and this version reads format 5" in refused(capsys, f"--logdir={folder}")

    (folder / "config.json").write_text(json.dumps(content))
    (folder / "checkpoint" / str(steps) / "default" / "_METADATA").write_text("{")
    assert f"{steps}: is not a checkpoint that this version can read" in refused(capsys, f"--logdir={folder}")
    shutil.rmtree(folder / "checkpoint")
    assert "holds no checkpoint" in refused(capsys, f"--logdir={folder}")
    (folder / "metrics.csv").write_text("")
    assert "metrics.csv" in refused(capsys, f"--logdir={folder}")


def test_help_lists_the_keys_and_the_flags(capsys):
    assert not play_command("--help")
    printed = capsys.readouterr().out
    assert "space pauses" in printed
    for name in play.define_flags():
        assert f"{name}:" in printed


def test_flags_reach_the_match_and_the_window(run, monkeypatch):
    matches, viewers = [], []
    monkeypatch.setattr(play, "Match", lambda cast, grid, greedy, seed: matches.append((greedy, seed)))
    monkeypatch.setattr(play, "Viewer", lambda match, speed, human: viewers.append((speed, human)))
    monkeypatch.setattr(play, "_watch", lambda viewer: None)
    assert not play_command(f"--logdir={run}", "--greedy", "--seed=7")
    assert not play_command("--human", "--speed=3")
    assert (matches, viewers) == ([(True, 7), (False, 0)], [(8.0, False), (3.0, True)])


def test_the_best_seed_of_every_run_plays_and_then_the_second_best(comparison, monkeypatch):
    loaded = []
    monkeypatch.setattr(players, "ranked_seeds", lambda run: [2, 0, 1])
    monkeypatch.setattr(players, "load", loaded.extend)
    monkeypatch.setattr(play, "Match", lambda *_: None)
    monkeypatch.setattr(play, "Viewer", lambda *_: None)
    monkeypatch.setattr(play, "_watch", lambda viewer: None)
    for grid, expected in (([], [2, 2]), (["--grid=2x2"], [2, 2, 0, 0])):
        loaded.clear()
        assert not play_command(f"--logdir={comparison}", *grid)
        assert [seed for _, seed in loaded] == expected
        assert [run.folder.name for run, _ in loaded] == ["single_step", "multi_step"] * (len(expected) // 2)


@pytest.mark.parametrize("move", range(4))
def test_an_arrow_points_to_where_the_move_leads(move):
    picture = pygame.Surface(panels.board_size(6, 6, (1, 1)))
    state = jax.device_get(Snake(6, 6).initial(jax.random.key(0))._replace(head=np.int32(14)))
    panels._draw_arrows(picture, state, np.eye(4)[move])
    drawn = np.argwhere(drawing.pixels(picture).any(-1)).mean(0)
    x, y = drawing.fit(6, 6, picture.get_size()).center(2, 2)
    off = drawn - (y, x)  # rows, columns
    assert off @ MOVES[move] > 0.3 * np.abs(off).sum()
    np.testing.assert_allclose(off - (off @ MOVES[move]) * MOVES[move], 0.0, atol=2.0)


def test_an_arrow_out_of_the_board_leaves_the_score_readable():
    size = panels.board_size(6, 6, (1, 1))
    state = jax.device_get(Snake(6, 6).initial(jax.random.key(0))._replace(head=np.int32(0)))
    picture = drawing.draw(state, size)
    before = drawing.pixels(picture)
    panels._draw_arrows(picture, state, np.eye(4)[0])
    changed = np.flatnonzero((drawing.pixels(picture) != before).any(axis=(1, 2)))
    assert drawing.STATUS_HEIGHT - drawing.MARGIN <= changed[0] < drawing.STATUS_HEIGHT


def test_a_game_that_is_over_has_no_arrows():
    match = new_match(thinkers())
    while not match.ended[0]:
        match.step()
    height = panels.TITLE_HEIGHT + panels.board_size(3, 4, (1, 1))[1]
    shown, hidden = (drawing.pixels(match.draw(overlay))[:height] for overlay in (True, False))
    np.testing.assert_array_equal(shown, hidden)


def test_the_line_of_values_begins_anew_with_a_game():
    match = new_match(thinkers(1))
    while not match.ended[0]:
        match.step()
    assert len(match._values[0]) > 1
    match.step()
    assert len(match._values[0]) == 1


@pytest.mark.parametrize("shape", [(1, 2_000, 3), (2_000, 1, 3)])
def test_pictures_may_be_as_flat_as_they_like(shape):
    assert min(panels.picture_size(shape, (1, 1))) > 0
