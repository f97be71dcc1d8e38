"""Tabular processes: a short chain with a distractor, and bsuite's Discounting Chain.

Each is a function that fills the tables of a `tabular.Tabular`.
"""

from collections.abc import Sequence

import numpy as np

from envs.tabular import Tabular

STOP, WALK = range(2)

BSUITE_REWARD_STEPS = (1, 3, 10, 30, 100)
"""When the chains of bsuite's Discounting Chain pay, in steps from an episode's start."""

BONUS = 0.1
"""What one chain of the Discounting Chain pays on top of one."""


def chain(length: int, distractor_reward: float) -> Tabular:
    """Builds a chain of states with a reward of one at its end and a smaller one at hand.

    An episode starts in state 0. `WALK` moves on by one state, without a reward until it leaves the last: that pays
    one and ends the episode. `STOP` pays the distractor reward at once and ends the episode, in any state. Walking from
    state s to the end is worth `discount^(length - 1 - s)`, so walking is the best action in every state if and only if

        discount > distractor_reward^(1 / (length - 1)),

    and at a smaller discount stopping is best in state 0.

    Args:
      length: L, the number of states that are not terminal, at least 2; state L is the terminal one.
      distractor_reward: in (0, 1).

    Returns:
      The chain, with S = L + 1 and A = 2.

    Raises:
      ValueError: if an argument is out of its range.
    """
    if length < 2:
        raise ValueError(f"length must be at least 2, got {length}")
    if not 0.0 < distractor_reward < 1.0:
        raise ValueError(f"distractor_reward must be in (0, 1), got {distractor_reward}")
    transitions = np.zeros((length + 1, 2, length + 1))
    transitions[:, STOP, length] = 1.0
    transitions[:, WALK] = np.eye(length + 1, k=1)
    transitions[length, WALK, length] = 1.0
    rewards = np.zeros((length + 1, 2))
    rewards[:length, STOP] = distractor_reward
    rewards[length - 1, WALK] = 1.0
    states = np.arange(length + 1)
    return Tabular(transitions, rewards, states == length, (states == 0).astype(np.float64))


def discounting_chain(bonus_chain: int, reward_steps: Sequence[int] = BSUITE_REWARD_STEPS) -> Tabular:
    """Builds bsuite's Discounting Chain: one choice, whose reward comes sooner or later.

    The first action of an episode chooses a chain, and no later action matters. Chain c pays with its
    `reward_steps[c]`-th action: one, or 1.1 on the bonus chain. An episode lasts as long as the longest chain, whatever
    was chosen. So chain c is worth `reward(c) discount^(reward_steps[c] - 1)` from the start, and every return is one
    without a discount, but for the bonus.

    A state is the chosen chain and the number of steps until the chain has paid, and from then on the number of steps
    alone: the chains that have paid are the same process, nothing more until the end. This is exact, for any policy
    that does not tell them apart, and leaves 240 of bsuite's 497 states. bsuite shows the chain and the fraction of
    the episode that is over in place of the state's indicator.

    See Osband et al. (2020), "Behaviour Suite for Reinforcement Learning", and `environments/discounting_chain.py` in
    its code.

    Args:
      bonus_chain: the chain that pays more, in [0, C).
      reward_steps: when each of C chains pays, in increasing order from at least 1; the last is the episodes' length.

    Returns:
      The process, with A = C. State 0 is the first and the last the terminal one.

    Raises:
      ValueError: if an argument is out of its range.
    """
    num_chains, length = len(reward_steps), reward_steps[-1] if reward_steps else 0
    if num_chains < 2 or reward_steps[0] < 1 or any(np.diff(reward_steps) <= 0):
        raise ValueError(f"reward_steps must be at least two, increasing from at least 1, got {tuple(reward_steps)}")
    if not 0 <= bonus_chain < num_chains:
        raise ValueError(f"bonus_chain must be in [0, {num_chains}), got {bonus_chain}")
    waiting = [(chain, step) for chain, pays_at in enumerate(reward_steps) for step in range(1, pays_at)]
    paid = [(None, step) for step in range(1, length + 1)]
    places = {state: place for place, state in enumerate([(None, 0), *waiting, *paid])}
    transitions = np.zeros((len(places), num_chains, len(places)))
    rewards = np.zeros((len(places), num_chains))
    for (chosen, step), place in places.items():
        for action in range(num_chains):
            chain = action if step == 0 else chosen
            if chain is not None and reward_steps[chain] == step + 1:
                rewards[place, action] = 1.0 + BONUS * (chain == bonus_chain)
                chain = None
            transitions[place, action, places[chain, min(step + 1, length)]] = 1.0
    states = np.arange(len(places))
    return Tabular(transitions, rewards, states == len(places) - 1, (states == 0).astype(np.float64))
