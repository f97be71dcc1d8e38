"""The states of many seeds, and the compiled program that trains them from one logging point to the next.

Which device trains which seed is decided in `layout`.
"""

import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import numpy as np

from agents import training
from agents.agent import Agent
from agents.training import Learning, Summary, TrainingState
from experiments.runs import compilation
from experiments.runs.building import init_seed, learning_of
from experiments.runs.layout import Layout, over_batch
from experiments.storage.checkpoints import with_keys, without_keys
from metagrad.hyperparameters import MetaParameters

POLL_SECONDS = 0.01


class Starts(NamedTuple):
    """Where seeds start from; all else is the same for them.

    Attributes:
      numbers: int32 [N], of the seeds.
      hyperparameters: float32 [N] each: values in place of those that the agent starts from, or keeps.
    """

    numbers: np.ndarray
    hyperparameters: Mapping[str, np.ndarray]


class Succession(NamedTuple):
    """Where seeds go on from after a logging point, each with its own random numbers.

    Attributes:
      sources: int [N], for each seed the place of the one whose state it takes over; its own place to keep its state.
      hyperparameters: float32 [N] each: values from here on, of those in `Starts`.
    """

    sources: np.ndarray
    hyperparameters: Mapping[str, np.ndarray]


class Seeds:
    """Seeds in training, whose states `advance` replaces, for it reuses their memory.

    Attributes:
      batches: their states without keys, [size of a batch, ...] each; if there are several, in the host's memory.
    """

    batches: list[TrainingState]

    def __init__(self, agent: Agent | Learning, starts: Starts, layout: Layout) -> None:
        """Compiles the program that trains a batch."""
        self._learning, self._starts, self._layout = learning_of(agent), starts, layout
        program, inputs = training_program(agent, list(starts.hyperparameters), layout)
        self._program = compilation.compiled(program, *inputs)

    def begin(self, states: TrainingState | None) -> None:
        """Goes on from states without keys, [N, ...] each; without them, initialises every seed."""
        if states is not None:
            self.batches = self._layout.split(states)
            return

        @jax.jit
        def init(numbers: chex.Array) -> TrainingState:
            return over_batch(lambda number: without_keys(init_seed(self._learning, number)), self._layout)(numbers)

        numbers = self._layout.split(self._starts.numbers)
        self.batches = [
            _aside(init(jax.device_put(batch, self._layout.sharding)), of=len(numbers)) for batch in numbers
        ]

    def succeed(self, succession: Succession) -> np.ndarray:
        """Lets every seed go on from where another one is, but with its own key; returns from where, int [N]."""
        self._starts = self._starts._replace(hyperparameters=succession.hyperparameters)
        if np.any(succession.sources != np.arange(len(succession.sources))):
            states = self.states()
            taken_over = jax.tree.map(lambda leaf: leaf[succession.sources], states)
            self.batches = self._layout.split(taken_over._replace(key=states.key))
        return succession.sources

    def eta(self) -> MetaParameters:
        """Returns the meta-parameters, NumPy arrays [N]."""
        return self._layout.join([batch.eta for batch in self.batches])

    def states(self) -> TrainingState:
        """Returns the states without keys, NumPy arrays [N, ...]."""
        return self._layout.join(self.batches)

    def advance(self, num_windows: np.ndarray) -> Summary:
        """Trains every seed for its number of windows, int [N]; returns the summaries, NumPy arrays [N, ...]."""
        summaries = []
        inputs = self._layout.split((self._starts.hyperparameters, num_windows.astype(np.int32)))
        for index, batch in enumerate(inputs):
            state, summary = self._program(*jax.device_put((self.batches[index], *batch), self._layout.sharding))
            wait(summary)
            self.batches[index] = _aside(state, of=len(self.batches))
            summaries.append(summary)
        return self._layout.join(summaries)


def training_program(agent: Agent | Learning, names: list[str], layout: Layout) -> tuple[jax.stages.Wrapped, tuple]:
    """Makes the program that trains a batch of seeds.

    Args:
      agent: of every seed.
      names: of hyperparameters that differ from seed to seed.
      layout: of the batch.

    Returns:
      The program, from states without keys, whose memory it reuses, these hyperparameters, float32 [size] each, and
      numbers of windows, int32 [size], to the next states and summaries; and the shapes, dtypes and places of what it
      takes.
    """
    like = jax.eval_shape(partial(init_seed, learning_of(agent)), 0)

    def advance_seed(inputs: tuple[TrainingState, dict, chex.Array]) -> tuple[TrainingState, Summary]:
        state, own, num_windows = inputs
        state, summary = training.train(learning_of(agent, own), with_keys(state, like), num_windows)
        return without_keys(state), summary

    def advance(states: TrainingState, own: dict, num_windows: chex.Array) -> tuple[TrainingState, Summary]:
        return over_batch(advance_seed, layout)((states, own, num_windows))

    own = dict.fromkeys(names, jax.ShapeDtypeStruct((), np.float32))
    inputs = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((layout.size, *leaf.shape), leaf.dtype, sharding=layout.sharding),
        (jax.eval_shape(without_keys, like), own, jax.ShapeDtypeStruct((), np.int32)),
    )
    return jax.jit(advance, donate_argnums=0), inputs


def wait(summary: Summary) -> None:
    """Waits for the device in small steps: inside one long call, no signal would be seen."""
    while not summary.num_updates.is_ready():
        time.sleep(POLL_SECONDS)


def _aside(batch: Any, of: int) -> Any:
    """Moves one of several batches to the host's memory, where it waits for its turn."""
    return jax.device_get(batch) if of > 1 else batch
