"""bsuite's Discounting Chain: the process against its rules, and the study of the outer loss's critic on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs import processes, tabular

BONUS_CHAIN = 3


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _chooses(mdp, chain):
    """Returns the policy that chooses a chain, and goes on with another action, which may not matter."""
    actions = np.full(mdp.num_states, (chain + 1) % mdp.num_actions)
    actions[0] = chain
    return np.eye(mdp.num_actions)[actions]


def _episode(mdp, policy):
    """Returns the rewards of the one episode of a deterministic policy, up to the terminal state."""
    state, rewards = int(mdp.start.argmax()), []
    while not mdp.is_terminal[state]:
        action = policy[state].argmax()
        rewards.append(mdp.rewards[state, action])
        following = mdp.transitions[state, action]
        state = int(following.argmax())
        assert following[state] == 1.0
    return np.array(rewards)


@pytest.mark.parametrize("reward_steps", [processes.BSUITE_REWARD_STEPS, (2, 3, 7)])
def test_a_chain_pays_once_and_an_episode_is_as_long_as_the_longest(reward_steps):
    bonus_chain = len(reward_steps) - 2
    mdp = processes.discounting_chain(bonus_chain, reward_steps)
    assert mdp.num_states == 1 + sum(step - 1 for step in reward_steps) + reward_steps[-1]
    for chain, pays_at in enumerate(reward_steps):
        rewards = _episode(mdp, _chooses(mdp, chain))
        assert len(rewards) == reward_steps[-1]
        assert rewards[pays_at - 1] == (1.1 if chain == bonus_chain else 1.0)
        assert np.count_nonzero(rewards) == 1


@pytest.mark.parametrize("discount", [0.8, 0.95, 1.0])
def test_returns_are_the_sums_over_episodes(discount):
    mdp = processes.discounting_chain(BONUS_CHAIN)
    episodes = [_episode(mdp, _chooses(mdp, chain)) for chain in range(5)]
    sums = np.array([discount ** np.arange(100) @ rewards for rewards in episodes])
    pays_at = np.array(processes.BSUITE_REWARD_STEPS)
    np.testing.assert_allclose(sums, np.array([1.0, 1.0, 1.0, 1.1, 1.0]) * discount ** (pays_at - 1.0), rtol=1e-12)
    mixed = np.random.default_rng(0).dirichlet(np.ones(5), mdp.num_states)
    np.testing.assert_allclose(tabular.discounted_return(mdp, mixed, discount), mixed[0] @ sums, rtol=1e-12)


@pytest.mark.parametrize(
    ("discount", "best"), [(0.5, 0), (0.95, 0), (0.996, 0), (0.997, BONUS_CHAIN), (1.0, BONUS_CHAIN)]
)
def test_the_bonus_is_worth_waiting_for_at_discounts_near_one_alone(discount, best):
    mdp = processes.discounting_chain(BONUS_CHAIN)
    returns = [tabular.discounted_return(mdp, jnp.asarray(_chooses(mdp, chain)), discount) for chain in range(5)]
    assert np.argmax(returns) == best


def test_impossible_chains_are_refused():
    for bonus_chain, reward_steps in (
        (5, processes.BSUITE_REWARD_STEPS),
        (-1, (1, 2)),
        (0, (1,)),
        (0, (0, 2)),
        (0, (2, 2)),
    ):
        with pytest.raises(ValueError, match="must be"):
            processes.discounting_chain(bonus_chain, reward_steps)
