"""Training: the advantage actor-critic, tuning nothing, against other libraries' on the same game.

Batch sizes and the network are the same on every side: for policy and value each two convolutions, a hidden layer and
an output. Jumanji's network also sees the time, one more input of either hidden layer. All use Adam, and one seed.

Jumanji's agent trains inside one program, as its own training does, on its own game. That of stable-baselines3 is
PyTorch, and plays our game through Gymnasium, one process with as many environments as the batch has, as its own
`make_vec_env` makes them. What is compared there is how long it takes to train an agent on this game with either
library, the interface included.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from envs import gymnasium_snake
from experiments.config.ranges import board_shape
from experiments.config.settings import Config
from experiments.studies.benchmark import figures, programs, timing, work
from experiments.studies.benchmark.figures import STEPS_A_SECOND, Figure, Figures, Side
from experiments.studies.benchmark.settings import Scale
from experiments.studies.benchmark.timing import Program
from experiments.studies.benchmark.work import Work

PEERS = ("jumanji", "stable_baselines3")

PEER_UPDATES = 4
"""Of one call of a peer. They take so much longer than ours that page faults are less than a hundredth of it."""


def suite(scale: Scale) -> Figures:
    """Returns what this suite measures, by name."""
    return {
        "jumanji": partial(_against, scale, "jumanji", "Jumanji's A2C agent", _jumanjis_agent),
        "stable_baselines3": partial(
            _against, scale, "stable_baselines3", "stable-baselines3's A2C through Gymnasium", _stable_baselines_agent
        ),
        "products": partial(_against_its_products, scale),
    }


def _against(scale: Scale, package: str, against: str, make_peer: Any) -> Figure:
    config = scale.config.with_estimator("none")
    peer = None
    if figures.installed(package):
        peer = Side(make_peer(config), PEER_UPDATES * config.steps_per_window)
    ours = _ours(scale, config, config.steps_per_window)
    return figures.race(STEPS_A_SECOND, against, ours, peer, scale, _work(scale, config))


def _against_its_products(scale: Scale) -> Figure:
    """Holds an update against its products of matrices alone, which no layout of the rest can undercut."""
    config = scale.config.with_estimator("none")
    matrices = [
        (jnp.ones((product.times, product.rows, product.inner)), jnp.ones((product.inner, product.cols)))
        for product in work.update_products(config)
    ]

    def multiply(lefts: jax.Array, right: jax.Array) -> jax.Array:
        last = jnp.zeros((lefts.shape[1], right.shape[1]))
        return jax.lax.fori_loop(0, len(lefts), lambda place, _: lefts[place] @ right, last)

    alone = timing.overwriting(lambda matrices: [multiply(*pair) for pair in matrices], matrices)
    against = "its products of matrices alone"
    return figures.race(figures.SECONDS, against, _ours(scale, config, 1), Side(alone), scale, _work(scale, config))


def _ours(scale: Scale, config: Config, amount: int) -> Side:
    """Makes our side, with an amount a window, which is an update."""
    return Side(programs.training(config, scale.windows), amount * scale.windows)


def _work(scale: Scale, config: Config) -> Work:
    return Work(scale.windows * work.update_flops(config))


def _jumanjis_agent(config: Config) -> Program:
    """Makes Jumanji's training, on one device."""
    from jumanji.environments import Snake as JumanjiSnake
    from jumanji.training.agents.a2c import A2CAgent
    from jumanji.training.networks import make_actor_critic_networks_snake
    from jumanji.training.types import ActingState, TrainingState
    from jumanji.wrappers import VmapAutoResetWrapper

    snake = JumanjiSnake(*board_shape(config.board_size), config.time_limit)
    games = VmapAutoResetWrapper(snake)
    agent = A2CAgent(
        env=games,
        n_steps=config.rollout_length,
        total_batch_size=config.num_envs,
        actor_critic_networks=make_actor_critic_networks_snake(
            snake, config.num_channels, [config.policy_width], [config.value_width]
        ),
        optimizer=optax.adam(config.learning_rate),
        normalize_advantage=False,
        discount_factor=config.discount,
        bootstrapping_factor=config.lambda_,
        l_pg=config.policy_cost,
        l_td=config.value_cost / 2,  # theirs is the square, ours half of it
        l_en=config.entropy_cost,
    )
    states, timestep = games.reset(jax.random.split(jax.random.PRNGKey(0), config.num_envs))
    acting = ActingState(states, timestep, jax.random.PRNGKey(1), jnp.zeros(()), jnp.zeros(()))
    state = TrainingState(agent.init_params(jax.random.PRNGKey(2)), acting)

    def learn(state: TrainingState) -> TrainingState:
        return jax.lax.scan(lambda state, _: (agent.run_epoch(state)[0], None), state, None, PEER_UPDATES)[0]

    # It adds up over an axis of this name, which its own training makes by `jax.pmap` as well.
    program = jax.pmap(learn, axis_name="devices", devices=jax.local_devices()[:1])
    return timing.stepping(program, jax.tree.map(lambda leaf: leaf[None], state))


def _stable_baselines_agent(config: Config) -> Program:
    """Makes stable-baselines3's training, with our network in PyTorch."""
    import torch
    from stable_baselines3 import A2C
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

    rows, cols = board_shape(config.board_size)
    cells = -(-rows // 2) * -(-cols // 2)

    class Torso(BaseFeaturesExtractor):
        def __init__(self, observation_space: Any) -> None:
            super().__init__(observation_space, cells * config.num_channels)
            self.layers = torch.nn.Sequential(
                torch.nn.ZeroPad2d((0, cols % 2, 0, rows % 2)),
                torch.nn.Conv2d(observation_space.shape[-1], config.num_channels, 2, 2),
                torch.nn.ReLU(),
                torch.nn.ZeroPad2d((0, 1, 0, 1)),
                torch.nn.Conv2d(config.num_channels, config.num_channels, 2),
                torch.nn.ReLU(),
                torch.nn.Flatten(),
            )

        def forward(self, observations: torch.Tensor) -> torch.Tensor:
            return self.layers(observations.permute(0, 3, 1, 2))

    sizes = {"num_rows": rows, "num_cols": cols, "time_limit": config.time_limit}
    agent = A2C(
        "MlpPolicy",
        make_vec_env(gymnasium_snake.ID, n_envs=config.num_envs, env_kwargs=sizes),
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
