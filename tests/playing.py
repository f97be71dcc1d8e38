"""What the tests of playing share: the command run in this process, keys, matches, recordings opened again."""

import command_line
import imageio_ffmpeg
import numpy as np
import pygame
from PIL import Image

from agents.networks import mask_logits
from agents.policies import Categorical
from envs import drawing
from envs.snake import Snake
from experiments import play
from experiments.studies.play.games import Match, Players


def play_command(*arguments):
    """Runs the command in this process; returns the exit status."""
    return command_line.run(play, *arguments)


def refused(capsys, *arguments):
    """Returns the one line with which the command refuses."""
    assert play_command(*arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def post(*keys):
    for key in keys:
        pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))


def _policy(params, observation):
    return Categorical(mask_logits(params, observation)), observation.grid[..., 3].argmax() / 12


def match_of_thinkers(num_players=1, greedy=False):
    """Returns a match of players that need no training: they move at random and have an opinion of their games."""
    params = np.zeros((num_players, 4), np.float32)
    hyperparameters = ({"discount": 0.9},) * num_players
    players = Players(Snake(3, 4, time_limit=12), _policy, params, ("thinker",) * num_players, hyperparameters)
    return Match(players, (1, num_players), greedy)


def pixels(match, overlay=True):
    return drawing.pixels(match.draw(overlay)).astype(int)


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
