"""`python -m experiments.train` with an agent on tables, which compiles in moments: for processes that are stopped."""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import tables

from experiments import train
from experiments.config import settings
from experiments.runs import building, command_line, seeds
from experiments.runs import training as loop
from experiments.storage import checkpoints, config_file, metrics
from experiments.storage.run_folder import RunFolder

FLAGS = {
    "seed": 5,
    "num_seeds": 2,
    "estimator": "mixing",
    "horizon": 2,
    "meta_params": ("discount", "entropy_cost"),
    "num_envs": tables.NUM_ENVS,
    "rollout_length": tables.LENGTH,
}
"""The settings that the agent has by itself, and a seed."""

WINDOW = 2 * tables.NUM_ENVS * tables.LENGTH
"""Environment steps of one seed between two meta-updates."""

SICK = 8
"""The seed that diverges at once, in processes; its parameters are minus zero."""


def make_agent(config):
    """Stands in for the one of `experiments.runs.building`."""
    return tables.agent(estimator=config.make_estimator(), meta_optimizer=optax.adam(0.05))


def init_seed(agent, seed):
    """Stands in for the one of `experiments.runs.building`."""
    state = building.init_seed(agent, seed)
    learner = state.position.learner_state

    def changed(tree, value):
        return jax.tree.map(lambda leaf: jnp.where(seed == SICK, jnp.asarray(value, leaf.dtype), leaf), tree)

    moments = learner.optimizer_state._replace(mu=changed(learner.optimizer_state.mu, jnp.nan))
    learner = learner._replace(params=changed(learner.params, -0.0), optimizer_state=moments)
    return state._replace(position=state.position._replace(learner_state=learner))


def stand_in(patch):
    """Has `train` train this agent."""
    patch.setattr(loop, "make_agent", make_agent)
    patch.setattr(seeds, "init_seed", init_seed)


def flags_of(config):
    """Returns the flags that ask for these settings."""
    given = ((field, getattr(config, field.name)) for field in dataclasses.fields(config))
    return [
        f"--{settings.flag_name(field)}={','.join(value) if isinstance(value, tuple) else value}"
        for field, value in given
        if value != field.default
    ]


def states(folder):
    """Returns the arrays of a run's checkpoints, by environment steps."""
    with checkpoints.open_checkpoints(folder, read_only=True) as manager:
        restored = {at: manager.restore(at, args=ocp.args.StandardRestore()) for at in manager.all_steps()}
    return {at: jax.tree.leaves(tree) for at, tree in restored.items()}


def assert_same(folder, expected):
    """Checks that two runs left the same behind, to the bit, and nothing besides."""
    for name in (metrics.METRICS, config_file.CONFIG):
        assert (folder / name).read_bytes() == (expected / name).read_bytes()
    ours, theirs = ({path.name for path in (place / checkpoints.CHECKPOINTS).iterdir()} for place in (folder, expected))
    assert ours == theirs
    for leaves, others in zip(states(folder).values(), states(expected).values(), strict=True):
        for leaf, other in zip(leaves, others, strict=True):
            assert np.asarray(leaf).tobytes() == np.asarray(other).tobytes()


if __name__ == "__main__":
    write = RunFolder.write_metrics
    RunFolder.write_metrics = lambda *arguments: (time.sleep(0.02), write(*arguments))  # leaves the time to be stopped
    loop.make_agent, seeds.init_seed = make_agent, init_seed
    command_line.run(train.main, train.define_flags(), "the same command goes on from here")
