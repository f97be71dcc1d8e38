"""Shows games: trained agents, random players or you; in a window, or recorded without one.

Examples:
    python -m experiments.play --logdir=runs/mixing
    python -m experiments.play --logdir=runs/compare --grid=2x4 --record=agents.mp4
    python -m experiments.play --human --board_size=8

Keys: space pauses, the right arrow plays one step, up and down change the speed, O shows or hides what the players
think, R restarts, Q quits, H shows the keys. With --human the arrows steer, all but back into the neck, and the first
starts the game.
"""

import math
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from absl import flags

from envs import drawing
from experiments.config import environments, validation
from experiments.config.environments import SNAKE
from experiments.config.ranges import BOARD, Range, board_shape, count, refuse
from experiments.config.settings import Config
from experiments.runs import command_line, progress
from experiments.storage import folder as storage_folder
from experiments.storage.config_file import CONFIG
from experiments.studies.play import players, recording
from experiments.studies.play.games import FREE, WAIT
from experiments.studies.play.match import Match
from experiments.studies.play.players import Players
from experiments.studies.play.viewer import SPEED, Viewer

NUMBERS = {"seed": count(0), "episodes": count(1), "max_steps": count(1)}
GRID = Range(
    "a number N or ROWSxCOLS, each in [1, 8]", lambda value: all(1 <= side <= 8 for side in board_shape(value))
)


def define_flags() -> flags.FlagValues:
    """Returns the command's flags, apart from those of training, some of which have the same names."""
    values = flags.FlagValues()
    define: dict[str, Any] = {"flag_values": values, "module_name": "Who plays"}
    flags.DEFINE_string("logdir", None, "folder of a training run or of a comparison, whose agents play", **define)
    flags.DEFINE_bool("random", False, "show players who move at random, without crashing if they can", **define)
    flags.DEFINE_bool("human", False, "play yourself, with the arrow keys", **define)
    flags.DEFINE_integer(
        "seed_index",
        None,
        "which seed of a run plays, from 0; by default the best, by its last logged return",
        **define,
    )
    flags.DEFINE_string(
        "grid", None, f"players side by side, the best seeds first; {GRID.text}; by default one a run", **define
    )
    flags.DEFINE_bool("greedy", False, "let agents make the most probable moves instead of sampling them", **define)
    define["module_name"] = "What is played"
    flags.DEFINE_string(
        "environment",
        SNAKE,
        f"environment of --random, or of a run in --logdir whose environment is your own code; {environments.NAMES}",
        **define,
    )
    flags.DEFINE_string(
        "board_size", "6", f"with --random or --human, the cells of the board's sides; {BOARD.text}", **define
    )
    flags.DEFINE_float("speed", 8.0, f"steps a second; {SPEED.text}", **define)
    flags.DEFINE_integer("seed", 0, f"seed of the games' randomness; {NUMBERS['seed'].text}", **define)
    define["module_name"] = "Recording"
    flags.DEFINE_string("record", None, "file to record to, without a window; .gif or .mp4", **define)
    flags.DEFINE_integer("episodes", 1, f"games of each player that are recorded; {NUMBERS['episodes'].text}", **define)
    flags.DEFINE_integer(
        "max_steps", 1_000, f"steps after which a recording ends; {NUMBERS['max_steps'].text}", **define
    )
    return values


def main(values: flags.FlagValues) -> None:
    """Plays as the flags say."""
    _validate(values)
    cast, grid = _cast(values)
    match = Match(cast, grid, values.greedy, values.seed)
    if values.record is None:
        _watch(Viewer(match, values.speed, values.human))
    else:
        _record(match, storage_folder.local_path("record", values.record), values)


def _validate(values: flags.FlagValues) -> None:
    """Refuses what is impossible whatever the agents are.

    Raises:
      UsageError: names the flag, its value and what is allowed.
    """
    for name, allowed in {"speed": SPEED, "board_size": BOARD, **NUMBERS}.items():
        if not allowed.accepts(values[name].value):
            refuse(name, values[name].value, allowed.text)
    if values.grid is not None and not GRID.accepts(values.grid):
        refuse("grid", values.grid, GRID.text)
    given = [name for name in ("logdir", "random", "human") if values[name].value]
    if not given:
        refuse("logdir", "", "given, or one of --random and --human in its place")
    if len(given) > 1:
        refuse(given[1], values[given[1]].value, f"left out with --{given[0]}")
    meant_for = {
        "environment": ("random", "logdir"),
        "board_size": ("random", "human"),
        "seed_index": ("logdir",),
        "greedy": ("logdir",),
    }
    for name, players_with_it in meant_for.items():
        if values[name].present and given[0] not in players_with_it:
            refuse(name, values[name].value, f"left out with --{given[0]}")
    for name in ("episodes", "max_steps"):
        if values[name].present and values.record is None:
            refuse(name, values[name].value, "left out, or given with --record")
    if values["board_size"].present and values.environment != SNAKE:
        refuse("board_size", values.board_size, f"left out with --environment={values.environment}")
    if values.human and (values.record is not None or values.grid is not None):
        name = "grid" if values.record is None else "record"
        refuse(name, values[name].value, "left out with --human")
    if values.record is not None:
        _check_recordable(values.record)


def _check_recordable(record: str) -> None:
    if pathlib.Path(record).suffix.lower() not in recording.ENCODINGS:
        refuse("record", record, f"a file that ends in {' or '.join(recording.ENCODINGS)}")
    path = storage_folder.local_path("record", record)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        refuse("record", record, "a file that can be written, in a folder that exists")


def _cast(values: flags.FlagValues) -> tuple[Players, tuple[int, int]]:
    """Returns who plays, and the rows and columns that show them."""
    grid = None if values.grid is None else board_shape(values.grid)
    if values.logdir is None:
        rows, cols = grid or (1, 1)
        config = Config(environment=values.environment, board_size=values.board_size)
        env = validation.make_environment(config)
        players.check_visible(env, config)
        return players.not_agents("you" if values.human else "random", rows * cols, env), (rows, cols)
    runs = players.open_runs(values.logdir)
    for run in runs:
        named = values.environment if values["environment"].present else None
        validation.check_named(run.config, named, run.folder / CONFIG)
    num_seeds = runs[0].config.num_seeds
    if values.seed_index is not None and not 0 <= values.seed_index < num_seeds:
        refuse("seed_index", values.seed_index, f"in [0, {num_seeds - 1}], the run's seeds")
    rankings = [players.ranked_seeds(run) if values.seed_index is None else [values.seed_index] for run in runs]
    # The best seed of every run, then the second best of every run, ...: in a grid, a row or a column a run.
    agents = [
        (run, ranking[rank]) for rank in range(len(rankings[0])) for run, ranking in zip(runs, rankings, strict=True)
    ]
    rows, cols = grid or _about_square(len(runs))
    if rows * cols > len(agents):
        refuse("grid", values.grid, f"of at most {len(agents)} cells, one for each agent to choose from")
    return players.load(agents[: rows * cols]), (rows, cols)


def _about_square(num_cells: int) -> tuple[int, int]:
    """Returns the rows and columns of a grid that all cells fill."""
    rows = max(side for side in range(1, math.isqrt(num_cells) + 1) if num_cells % side == 0)
    return rows, num_cells // rows


def _watch(viewer: Viewer) -> None:
    try:
        while viewer.tick(time.monotonic()):
            pass
    except KeyboardInterrupt:
        pass
    finally:
        viewer.close()


def _record(match: Match, path: pathlib.Path, values: flags.FlagValues) -> None:
    """Records until the games have ended, or the steps, or somebody stops it."""
    bar = progress.bar("recorded", values.max_steps, "steps", leave=False)  # the last line is what came of it
    with recording.deferred_interruption() as interrupted, bar:
        frames = _frames(match, values.episodes, values.max_steps, interrupted, bar.update)
        num_frames = recording.write(path, frames, values.speed)
    print(f"{'Stopped early: ' if interrupted() else ''}{num_frames} frames are in {path}")


def _frames(
    match: Match, episodes: int, max_steps: int, interrupted: Callable[[], bool], count: Callable[[], object]
) -> Iterator[np.ndarray]:
    """Yields a frame before the first step and one after each; games that have ended often enough stand still."""
    yield drawing.pixels(match.draw(overlay=True))
    num_ended = np.zeros(len(match.ended), int)
    for _ in range(max_steps):
        if interrupted() or (num_ended >= episodes).all():
            return
        running = num_ended < episodes
        match.step(np.where(running, FREE, WAIT))
        num_ended += match.ended & running
        yield drawing.pixels(match.draw(overlay=True))
        count()


if __name__ == "__main__":
    command_line.run(main, define_flags())
