"""What the tests of playing share: the command run in this process, keys, matches, recordings opened again."""

import command_line
import imageio_ffmpeg
import numpy as np
import pygame
from PIL import Image

from envs import drawing
from envs.snake import Snake
from experiments import play
from experiments.studies.play import games, panels
from experiments.studies.play.match import Match
from experiments.studies.play.players import Players


def play_command(*arguments):
    """Runs the command in this process; returns the exit status."""
    return command_line.run(play, *arguments)


def refused(capsys, *arguments):
    """Returns the one line with which the command refuses."""
    assert play_command(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def post(*keys):
    for key in keys:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))


def new_match(players_on_show, grid=(1, 1)):
    return Match(players_on_show, grid, greedy=False, seed=0)


def thinkers(num_players=1):
    """Returns players that need no training: they move at random and have an opinion of their games."""

    def policy(params, observation):
        return games.random_policy(params, observation)[0], observation.grid[..., 3].argmax() / 12

    return Players(
        Snake(3, 4, time_limit=12),
        policy,
        np.zeros((num_players, 4), np.float32),
        ("thinker",) * num_players,
        ({"discount": 0.9},) * num_players,
    )


def color_at_head(picture, match, index=0, grid=(1, 1)):
    """Returns the colour of a cell's centre where the head of a game must be."""
    num_rows, num_cols = match.state.body.shape[1:]
    size = panels.board_size(num_rows, num_cols, grid)
    x, y = drawing.fit(num_rows, num_cols, size).center(*divmod(int(match.state.head[index]), num_cols))
    row, col = divmod(index, grid[1])
    panel_width, panel_height = picture.get_width() // grid[1], picture.get_height() // grid[0]
    return tuple(picture.get_at((panel_width * col + x, panel_height * row + panels.TITLE_HEIGHT + y)))[:3]


def frames_of(path):
    """Opens a recording again; returns its frames, uint8 [N, height, width, 3]."""
    if path.suffix.lower() == ".gif":
        with Image.open(path) as image:
            return np.stack([_frame(image, index) for index in range(image.n_frames)])
    reader = imageio_ffmpeg.read_frames(str(path))
    width, height = next(reader)["size"]
    return np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader])


def _frame(image, index):
    image.seek(index)
    return np.asarray(image.convert("RGB"))
