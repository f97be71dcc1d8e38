"""The preset `published`: its game, its network and its numbers, and the committed runs, which stay readable."""

import dataclasses
import json
from pathlib import Path

import jax

from envs.snake import Snake
from experiments.config import environments
from experiments.config.presets import PRESETS
from experiments.config.settings import Config
from experiments.runs.building import make_agent
from experiments.storage import config_file

RESULTS = Path(__file__).parents[2] / "results"
PUBLISHED = Config(**PRESETS["published"], estimator="single_step")


def test_the_published_agents_have_two_hidden_layers_a_head_and_play_the_published_game():
    agent = make_agent(PUBLISHED)
    assert agent.env == Snake(6, 6, time_limit=500, masked=False, time_limit_terminates=True)
    grids = jax.ShapeDtypeStruct((3, 6, 6, 5), float)
    for network, halves in ((agent.network, ("policy", "value")), (agent.outer_critic.network, ("value",))):
        params = jax.eval_shape(network.init, jax.random.key(1), grids)
        shapes = {name: layer["w"].shape for name, layer in params.items()}
        for half in halves:
            width, outputs = (64, 4) if half == "policy" else (128, 1)
            assert (shapes[f"{half}_conv_2"], shapes[f"{half}_conv_1"]) == ((2, 2, 5, 32), (2, 2, 32, 32))
            for number, shape in enumerate([(288, width), (width, width), (width, outputs)]):
                assert shapes[f"{half}_head/~/linear_{number}"] == shape


def test_the_preset_has_the_settings_of_the_committed_runs():
    for name, changes in {
        "single_step": {"estimator": "single_step"},
        "own_critic": {"estimator": "single_step", "outer_critic": False},
        "none": {"estimator": "none", "outer_critic": False},
        "mixing": {"estimator": "mixing", "meta_learning_rate": 0.015},
    }.items():
        committed = config_file.load(RESULTS / "self_tuning" / "as_published" / name / "config.json")
        assert committed == dataclasses.replace(PUBLISHED, **changes)


def test_every_committed_run_is_readable_and_names_no_code():
    configs = [config_file.load(file) for file in RESULTS.rglob("config.json")]
    assert len(configs) > 100
    assert not any(environments.is_own_code(config.environment) for config in configs)


def test_settings_that_older_folders_do_not_name_are_what_they_were():
    older = RESULTS / "self_tuning" / "discount" / "none" / "config.json"
    assert "hidden_layers" not in json.loads(older.read_text())["flags"]
    config = config_file.load(older)
    assert (config.action_mask, config.time_limit_terminates, config.hidden_layers) == (True, False, 1)
