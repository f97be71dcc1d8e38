"""Training: against other libraries' on the same game, with each estimator, with many seeds, and its memory.

Each figure but those of other libraries compares the program by which `experiments.train` trains with another such one.
Against others it tunes nothing. Batch sizes and the network are the same on every side: for policy and value each two
convolutions, a hidden layer and an output. Jumanji's network also sees the time, one more input of either hidden layer.
All use Adam, and one seed. Jumanji's agent trains inside one program, as its own training does, on its own game. That
of stable-baselines3 is PyTorch, and plays our game through Gymnasium, in one process, as its own `make_vec_env` makes
them: what is compared is how long it takes to train an agent on this game with either library, the interface included.
"""

import dataclasses
import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from envs import gymnasium_snake
from experiments.config.estimators import Named
from experiments.config.ranges import board_shape
from experiments.config.settings import Config
from experiments.runs.building import init_seeds, learning_of, require_agent
from experiments.runs.layout import lay_out
from experiments.runs.seeds import training_program
from experiments.storage import checkpoints
from experiments.studies.benchmark import games, measuring, work
from experiments.studies.benchmark.measuring import SECONDS, STEPS_A_SECOND, Figure, Figures, Program, Side
from experiments.studies.benchmark.settings import Scale

PEER_UPDATES = 4
"""Of one call of a peer. They take so much longer than ours that page faults are less than a hundredth of it."""


def train(scale: Scale) -> Figures:
    """Returns what the suite `train` measures, by name."""
    peers: dict[str, tuple[str, Callable[[Config], Program]]] = {
        "jumanji": ("Jumanji's A2C agent", _jumanjis_agent),
        "stable_baselines3": ("stable-baselines3's A2C through Gymnasium", _stable_baselines_agent),
    }
    return {name: partial(_against, scale, name, *peer) for name, peer in peers.items()}


def _against(scale: Scale, package: str, against: str, make_peer: Callable[[Config], Program]) -> Figure:
    config = scale.config.with_estimator("none")
    peer = None
    if measuring.installed(package):
        peer = Side(make_peer(config), PEER_UPDATES * config.steps_per_window)
    ours = _training(config, scale, config.steps_per_window)
    return measuring.race(STEPS_A_SECOND, against, ours, peer, scale, scale.windows * work.update_flops(config))


def estimators(scale: Scale) -> Figures:
    """Returns what the suite `estimators` measures, by name: `none` has no outer critic to train, the others have."""

    def update(config: Config) -> Figure:
        ours = _training(config, scale, config.updates_per_window)
        none = _training(config.with_estimator("none"), scale, 1)
        return measuring.race(SECONDS, "an update that tunes nothing", ours, none, scale)

    return {name: partial(update, config) for name, config in _tuned(scale).items()}


def _tuned(scale: Scale) -> dict[str, Config]:
    """Returns the settings of agents that tune, by the names of their estimators with horizons."""
    horizon, further = scale.tuned.horizon, scale.tuned.bootstrap_updates
    numbers = {"single_step": (), "bootstrapped": (horizon, further)}
    named = [Named(name, *numbers.get(name, (horizon,))) for name in scale.estimators]
    return {one.title: scale.tuned.with_named(one) for one in named}


def seeds(scale: Scale) -> Figures:
    """Returns what the suite `seeds` measures, by name."""
    config = scale.tuned.with_estimator("single_step")

    def together(number: int) -> Figure:
        ours = _training(dataclasses.replace(config, num_seeds=number), scale, number * config.steps_per_window)
        alone = _training(config, scale, config.steps_per_window)
        return measuring.race(STEPS_A_SECOND, "one seed at a time", ours, alone, scale)

    return {f"seeds_{number}": partial(together, number) for number in scale.seeds}


def memory(scale: Scale) -> Figures:
    """Returns what the suite `memory` measures, by name: peaks of all devices together, by the compiler's plan."""
    first, *others = scale.horizons

    def peak(**changes: Any) -> float:
        return _peak(dataclasses.replace(scale.config, **changes))

    def longer(horizon: int) -> Figure:
        return measuring.sizes(f"horizon {first}", peak(horizon=horizon), peak(horizon=first))

    def more(num_seeds: int) -> Figure:
        return measuring.sizes("one seed", peak(num_seeds=num_seeds), peak(num_seeds=1))

    def tuning(config: Config) -> Figure:
        none = scale.tuned.with_estimator("none")
        return measuring.sizes("an agent that tunes nothing", _peak(config), _peak(none))

    figures = {f"mixing_{horizon}": partial(longer, horizon) for horizon in others}
    figures |= {f"seeds_{number}": partial(more, number) for number in scale.seeds}
    return figures | {f"tuned_by_{name}": partial(tuning, config) for name, config in _tuned(scale).items()}


def _peak(config: Config) -> float:
    """Returns the bytes that the compiler plans for a training program, on all devices together."""
    plan: Any = _compiled(config).memory_analysis()
    held = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return float(plan.temp_size_in_bytes + held) * lay_out(config.num_seeds).mesh.size


@functools.cache
def _compiled(config: Config) -> jax.stages.Compiled:
    program, inputs = training_program(require_agent(config), [], lay_out(config.num_seeds))
    return program.lower(*inputs).compile()


def _training(config: Config, scale: Scale, amount: int) -> Side:
    """Makes the program that trains all seeds at once, going on from its last call, with an amount a window."""
    program, layout = _compiled(config), lay_out(config.num_seeds)
    (states,) = layout.split(checkpoints.without_keys(init_seeds(learning_of(require_agent(config)), config)))
    (counts,) = layout.split(np.full(config.num_seeds, scale.windows, np.int32))

    def step(states: Any) -> Any:
        return program(*jax.device_put((states, {}, counts), layout.sharding))[0]

    return Side(measuring.stepping(step, states), amount * scale.windows)


def _jumanjis_agent(config: Config) -> Program:
    """Makes Jumanji's training, on one device."""
    from jumanji.environments import Snake
    from jumanji.training.agents.a2c import A2CAgent
    from jumanji.training.networks import make_actor_critic_networks_snake
    from jumanji.training.types import ActingState, TrainingState
    from jumanji.wrappers import VmapAutoResetWrapper

    snake = Snake(**games.sizes(config))
    env = VmapAutoResetWrapper(snake)
    widths = [config.policy_width], [config.value_width]
    agent = A2CAgent(
        env=env,
        n_steps=config.rollout_length,
        total_batch_size=config.num_envs,
        actor_critic_networks=make_actor_critic_networks_snake(snake, config.num_channels, *widths),
        optimizer=optax.adam(config.learning_rate),
        normalize_advantage=False,
        discount_factor=config.discount,
        bootstrapping_factor=config.lambda_,
        l_pg=config.policy_cost,
        l_td=config.value_cost / 2,  # theirs is the square, ours half of it
        l_en=config.entropy_cost,
    )
    states, timestep = env.reset(jax.random.split(jax.random.PRNGKey(0), config.num_envs))
    acting = ActingState(states, timestep, jax.random.PRNGKey(1), jnp.zeros(()), jnp.zeros(()))
    state = TrainingState(agent.init_params(jax.random.PRNGKey(2)), acting)

    def learn(state: TrainingState) -> TrainingState:
        return jax.lax.scan(lambda state, _: (agent.run_epoch(state)[0], None), state, None, PEER_UPDATES)[0]

    # It adds up over an axis of this name, which its own training makes by `jax.pmap` as well.
    program = jax.pmap(learn, axis_name="devices", devices=jax.local_devices()[:1])
    return measuring.stepping(program, jax.tree.map(lambda leaf: leaf[None], state))


def _stable_baselines_agent(config: Config) -> Program:
    """Makes stable-baselines3's training, with our network in PyTorch."""
    import torch
    from stable_baselines3 import A2C
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    (rows, cols), channels = board_shape(config.board_size), config.num_channels

    class Torso(BaseFeaturesExtractor):
        def __init__(self, observation_space: Any) -> None:
            super().__init__(observation_space, -(-rows // 2) * -(-cols // 2) * channels)
            self.layers = torch.nn.Sequential(
                torch.nn.ZeroPad2d((0, cols % 2, 0, rows % 2)),
                torch.nn.Conv2d(observation_space.shape[-1], channels, kernel_size=2, stride=2),
                torch.nn.ReLU(),
                torch.nn.ZeroPad2d((0, 1, 0, 1)),
                torch.nn.Conv2d(channels, channels, kernel_size=2),
                torch.nn.ReLU(),
                torch.nn.Flatten(),
            )

        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return self.layers(observations.permute(0, 3, 1, 2))

    agent = A2C(
        "MlpPolicy",
        make_vec_env(gymnasium_snake.ID, n_envs=config.num_envs, env_kwargs=games.sizes(config)),
        learning_rate=config.learning_rate,
        n_steps=config.rollout_length,
        gamma=config.discount,
        gae_lambda=config.lambda_,
        ent_coef=config.entropy_cost,
        vf_coef=config.value_cost / 2,
        use_rms_prop=False,
        policy_kwargs={
            "features_extractor_class": Torso,
            "share_features_extractor": False,
            "net_arch": {"pi": [config.policy_width], "vf": [config.value_width]},
            "activation_fn": torch.nn.ReLU,
        },
    )
    env_steps = PEER_UPDATES * config.steps_per_window
    return lambda: agent.learn(env_steps, reset_num_timesteps=False)
