"""Trains in the published setting: game, network and numbers of arXiv 2211.10550, with this library's estimators.

Example:
    python -m results.published --estimator=mixing --logdir=runs/published/mixing

The setting is that of Bonnet, Midgley and Laterre (2022), in their repository instadeepai/outer-value-function-meta-rl.
Their game is the 6×6 Snake of Jumanji 0.1.3: agents are not told which moves crash, and the time limit ends an
episode. The game alone, for other commands, is `--environment=results.published:PublishedSnake`.

With `--estimator=single_step` it is their algorithm with an outer critic, with `--noouter_critic` that without one, and
with `--estimator=none` their fixed agent, but for this: our outer loss sees the batch that the next update learns from,
theirs one that is collected apart and not counted; their outer discount, 1, is out of our range, so that it is 0.999;
and their Adam of the meta-parameters has 1e-8 under its root, which shortens steps where meta-gradients are below about
1e-4. The meta-learning rate is theirs unless `--meta_learning_rate` says otherwise: they chose it for single-step, and
multi-step and mixing make one meta-update per `--horizon` updates.
"""

import dataclasses
import sys

import chex
from absl import flags

from agents.networks import Network, actor_critic_network
from envs.snake import Snake, State
from experiments.config import flags as commands
from experiments.config.settings import Config
from experiments.figures import plots
from experiments.runs import command_line
from experiments.runs.divergence import NonFiniteError
from experiments.runs.training import train
from experiments.storage import files, run_folder
from experiments.storage import folder as storage_folder
from experiments.storage.files import WriteError

SETTING = Config(
    environment="results.published:PublishedSnake",
    num_envs=512,
    rollout_length=5,
    num_env_steps=75_008_000,
    optimizer="rmsprop",
    learning_rate=5e-4,
    meta_params=("discount",),
    meta_learning_rate=3e-3,
    meta_learning_rate_halving=0,
    meta_gradient_clip=0.1,
    discount=0.8,
    lambda_=0.95,
    value_cost=1.0,  # of half the squared error, theirs 0.5 of all of it
    entropy_cost=0.01,
    outer_discount=0.999,
    outer_lambda=1.0,
)
CHOSEN = ("estimator", "horizon", "outer_critic", "meta_learning_rate", "seed", "num_seeds", "num_env_steps")


@dataclasses.dataclass(frozen=True)
class PublishedSnake(Snake):
    """6×6 Snake as in Jumanji 0.1.3: without an action mask, and with a time limit that ends an episode."""

    num_rows: int = 6
    num_cols: int = 6
    time_limit: int = 500

    def observation(self, state: State) -> chex.Array:
        """Returns the feature maps of one state, float [6, 6, 5], without the action mask."""
        return super().observation(state).grid

    def terminal(self, state: State) -> chex.Array:
        """Tells whether the snake has crashed, fills the board or is out of time, bool []; nothing is truncated."""
        return super().terminal(state) | (state.step_count >= self.time_limit)


def published_network() -> Network:
    """Builds the published network: two hidden layers a head, of 64 units for the policy and of 128 for the value."""
    return actor_critic_network(PublishedSnake().num_actions, 32, 64, 128, hidden_layers=2)


def define_flags() -> flags.FlagValues:
    """Returns the command's flags: what the setting leaves open."""
    fixed = [field.name for field in dataclasses.fields(Config) if field.name not in CHOSEN]
    values = commands.define_training_flags(omit=fixed)
    del values.preset
    for name in CHOSEN:
        values.set_default(name, getattr(SETTING, name))
    return values


def main(values: flags.FlagValues) -> None:
    """Trains in the published setting, with what the flags choose."""
    config = dataclasses.replace(SETTING, **commands.given_settings(values))
    config = config.with_estimator(config.estimator)
    folder = storage_folder.new_logdir(values.logdir, run_folder.OWN)
    try:
        train(config, folder, commands.execution_from_flags(values), network=published_network())
        with files.told(folder):
            plots.draw_training(folder)
    except (NonFiniteError, WriteError) as error:
        sys.exit(str(error))
    print(f"The run is in {folder}, its picture is {folder / plots.TRAINING_PICTURE}")


if __name__ == "__main__":
    command_line.run(main, define_flags(), "the same command goes on from here")
