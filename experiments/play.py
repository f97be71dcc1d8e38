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
from typing import Any

from absl import flags

from experiments.config import environments, validation
from experiments.config import settings as config_lib
from experiments.config.environments import SNAKE
from experiments.config.ranges import board_shape, refuse
from experiments.runs import command_line
from experiments.studies.play.ranges import RANGES, check

SENSELESS_WITH = {
    "logdir": ("random", "human", "board_size"),
    "random": ("human", "seed_index", "greedy", "agent"),
    "human": ("seed_index", "greedy", "agent", "environment", "grid", "record"),
}
"""By who plays, the flags that mean nothing then."""


MOST_USED = (
    *("logdir", "grid", "seed_index", "record", "speed"),
    *("greedy",),
)
"""What `--help` shows."""


def define_flags() -> flags.FlagValues:
    """Returns the command's flags, apart from those of training, some of which have the same names."""
    values = flags.FlagValues()
    define: dict[str, Any] = {"flag_values": values, "module_name": "Who plays"}
    text = {name: allowed.text for name, allowed in RANGES.items()}
    flags.DEFINE_string("logdir", None, "folder of a training run or of a comparison, whose agents play", **define)
    flags.DEFINE_bool("random", False, "show players who move at random, without crashing if they can", **define)
    flags.DEFINE_bool("human", False, "play yourself, with the arrow keys", **define)
    which = "which seed of a run plays, from 0; by default the best, by its last logged return"
    flags.DEFINE_integer("seed_index", None, which, **define)
    side_by_side = f"players side by side, the best seeds first; {text['grid']}; by default one a run"
    flags.DEFINE_string("grid", None, side_by_side, **define)
    flags.DEFINE_bool("greedy", False, "let agents make the most probable moves instead of sampling them", **define)
    flags.DEFINE_string("agent", None, "agent of a run in --logdir that is your own code, named again", **define)
    define["module_name"] = "What is played"
    of_what = "environment of --random, or of a run in --logdir whose environment is your own code"
    flags.DEFINE_string("environment", SNAKE, f"{of_what}; {environments.NAMES}", **define)
    cells = f"with --random or --human, the cells of the board's sides; {text['board_size']}"
    flags.DEFINE_string("board_size", "6", cells, **define)
    flags.DEFINE_float("speed", 8.0, f"steps a second; {text['speed']}", **define)
    flags.DEFINE_integer("seed", 0, f"seed of the games' randomness; {text['seed']}", **define)
    define["module_name"] = "Recording"
    flags.DEFINE_string("record", None, "file to record to, without a window; .gif or .mp4", **define)
    flags.DEFINE_integer("episodes", 1, f"games of each player that are recorded; {text['episodes']}", **define)
    flags.DEFINE_integer("max_steps", 1_000, f"steps after which a recording ends; {text['max_steps']}", **define)
    return values


def main(values: flags.FlagValues) -> None:
    """Plays as the flags say."""
    _validate(values)
    from experiments.studies.play import games, players, recording, viewer  # not above, so that --help need not wait

    path = None if values.record is None else recording.path_of(values.record)
    if values.logdir is not None:
        named = values.environment if values["environment"].present else None
        cast, grid = players.agents(values.logdir, named, values.seed_index, values.grid, values.agent)
    else:
        config = config_lib.Config(environment=values.environment, board_size=values.board_size)
        grid = board_shape(values.grid or "1")
        env = validation.make_environment(config)
        players.check_visible(env, config)
        cast = games.not_agents("you" if values.human else "random", math.prod(grid), env)
    match = games.Match(cast, grid, values.greedy, values.seed)
    if path is None:
        viewer.watch(match, values.speed, values.human)
        return
    try:
        num_frames = recording.record_match(match, path, values.speed, values.episodes, values.max_steps)
        print(f"{num_frames} frames are in {path}")
    except KeyboardInterrupt:
        print(f"Stopped early: the frames until then are in {path}")


def _validate(values: flags.FlagValues) -> None:
    """Refuses what is impossible whatever the agents are."""
    check(**{name: values[name].value for name in RANGES})
    who = [name for name in SENSELESS_WITH if values[name].value]
    if not who:
        refuse("logdir", "", "given, or one of `random` and `human` in its place")

    def refuse_if_given(names: tuple[str, ...], allowed: str) -> None:
        for name in names:
            if values[name].present and values[name].value is not False:
                refuse(name, values[name].value, allowed)

    refuse_if_given(SENSELESS_WITH[who[0]], f"left out with `{who[0]}`")
    if values.environment != SNAKE:
        refuse_if_given(("board_size",), f"left out with `environment`={values.environment}")
    if values.record is None:
        refuse_if_given(("episodes", "max_steps"), "left out, or given with `record`")


if __name__ == "__main__":
    command_line.run(main, define_flags())
