"""bsuite's Discounting Chain: the process against its rules, and the study of the outer loss's critic on it."""

import itertools
import json

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logit

from agents import tabular as agent_tabular
from envs import processes, tabular
from experiments import discounting_chain
from experiments.studies.discounting_chain import exact, sampled, study
from experiments.studies.discounting_chain.exact import INNER_CRITIC, OUTER_CRITIC
from metagrad import hyperparameters, windows

BONUS_CHAIN = 3
SMALL = (1, 2, 4, 7, 9)


@pytest.fixture(scope="module", autouse=True)
def _small_chain():
    """Shortens the chains of the study, in double precision."""
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(True):
        patch.setattr(exact, "REWARD_STEPS", SMALL)
        yield


def _chooses(mdp, chain):
    """Returns the policy that chooses a chain, and goes on with another action, which may not matter."""
    actions = np.full(mdp.num_states, (chain + 1) % mdp.num_actions)
    actions[0] = chain
    return np.eye(mdp.num_actions)[actions]


@pytest.mark.parametrize("reward_steps", [processes.BSUITE_REWARD_STEPS, (2, 3, 7)])
def test_a_chain_pays_once_and_an_episode_is_as_long_as_the_longest(reward_steps):
    bonus_chain = len(reward_steps) - 2
    mdp = processes.discounting_chain(bonus_chain, reward_steps)
    for chain, pays_at in enumerate(reward_steps):
        policy, state, rewards = _chooses(mdp, chain), int(mdp.start.argmax()), []
        while not mdp.is_terminal[state]:
            action = policy[state].argmax()
            rewards.append(mdp.rewards[state, action])
            (state,) = np.flatnonzero(mdp.transitions[state, action])
        assert len(rewards) == reward_steps[-1]
        assert {at: reward for at, reward in enumerate(rewards, 1) if reward} == {
            pays_at: 1.1 if chain == bonus_chain else 1.0
        }
        returned = tabular.discounted_return(mdp, jnp.asarray(policy), 0.9)
        np.testing.assert_allclose(returned, 0.9 ** np.arange(len(rewards)) @ rewards, rtol=1e-12)


def test_the_bonus_is_worth_waiting_for_at_discounts_near_one_alone():
    mdp = processes.discounting_chain(BONUS_CHAIN)
    returned = jax.jit(lambda policy, discount: tabular.discounted_return(mdp, policy, discount))
    for discount, best in ((0.5, 0), (0.996, 0), (0.997, BONUS_CHAIN), (1.0, BONUS_CHAIN)):
        assert np.argmax([returned(_chooses(mdp, chain), discount) for chain in range(5)]) == best


@pytest.mark.parametrize(
    ("bonus_chain", "reward_steps"), [(5, processes.BSUITE_REWARD_STEPS), (-1, (1, 2)), (0, (1,)), (0, (0, 2))]
)
def test_impossible_chains_are_refused(bonus_chain, reward_steps):
    with pytest.raises(ValueError, match="must be"):
        processes.discounting_chain(bonus_chain, reward_steps)


def test_gradients_with_an_outer_critic_agree_with_finite_differences_on_frozen_data():
    agent = exact.make_agent(0.95, OUTER_CRITIC, ())
    mdp, problem, horizon = agent.env, agent_tabular.converged_problem(agent), 3
    eta = hyperparameters.initial_meta_parameters(agent.tuning)
    advance = jax.jit(lambda position, number: exact.advance(problem, eta, position, number))
    start = advance(exact.uniform_start(agent, eta), 3)
    gradients, _, _ = jax.jit(lambda eta: windows.horizon_gradients(problem, horizon, eta, start, jax.random.key(0)))(
        eta
    )
    nominal = [advance(start, number) for number in range(horizon + 1)]
    # The agent's own critic is where it should be: right about the policy, which is no longer uniform.
    params, policy = start.learner_state.params, start.batch.policy
    truth = tabular.state_values(mdp, policy, exact.INITIAL_DISCOUNT)
    np.testing.assert_allclose(params["value"]["table"], truth, rtol=1e-12)
    assert np.ptp(np.asarray(policy[0])) > 0.01

    @jax.jit
    def losses(eta):
        learner, found = start.learner_state, []
        for position, following in itertools.pairwise(nominal):
            learner, _ = problem.update(learner, eta, position.batch)
            # By hand, from the values of the nominal policy under the outer discount, whatever the agent's critic says.
            values = tabular.state_values(mdp, following.batch.policy, exact.OUTER_DISCOUNT)
            advantages = mdp.rewards + tabular.going_on(mdp) @ values - values[:, None]
            log_policy = jax.nn.log_softmax(agent.network.apply(learner.params, jnp.eye(mdp.num_states)).policy.logits)
            frequencies = following.batch.states.mean(0)[:, None] * following.batch.policy
            found.append(-jnp.sum(frequencies * advantages * log_policy))
        return jnp.stack(found)

    def difference(step):
        up, down = (losses({"discount": eta["discount"] + sign * step}) for sign in (1, -1))
        return (up - down) / (2 * step)

    expected = (4 * difference(5e-4) - difference(1e-3)) / 3
    np.testing.assert_allclose(gradients["discount"], expected, rtol=1e-6, atol=1e-12)


def test_critics_start_from_the_truth_where_they_are_to_know_it():
    agent = exact.make_agent(0.95, OUTER_CRITIC, exact.ESTIMATORS["single_step"])
    uniform = np.full(agent.env.rewards.shape, 0.2)
    own, outer = (tabular.state_values(agent.env, uniform, at) for at in (exact.INITIAL_DISCOUNT, exact.OUTER_DISCOUNT))
    for knowing in (True, False):
        position = sampled.start(agent, knowing, jax.random.key(0)).position
        critics = position.learner_state, position.actor_state.outer_critic
        found = [critic.params["value"]["table"] for critic in critics]
        np.testing.assert_allclose(found[0], own if knowing else 0.0 * own, rtol=1e-5, atol=1e-6)
        assert np.allclose(found[1], outer, rtol=1e-5) == knowing  # one that does not know has learned a rollout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The results of a small study, with a lambda of one in the place of the library's."""
    folder = tmp_path_factory.mktemp("chain") / "study"
    with pytest.MonkeyPatch.context() as patch, jax.enable_x64(False):
        patch.setattr(study, "LAMBDAS", (1.0, 0.0))
        patch.setattr(study, "DISCOUNTS", (0.9, exact.INITIAL_DISCOUNT))
        patch.setattr(study, "AGES", (0, 5))
        patch.setattr(study, "CURVES", ((1.0, "fixed", INNER_CRITIC), (0.0, "mixing", OUTER_CRITIC)))
        flags = ("--num_seeds=2", "--num_updates=20", "--seed=3")
        assert not command_line.run(discounting_chain, f"--logdir={folder}", *flags)
    return folder


@pytest.fixture(scope="module")
def content(folder):
    """Returns what the command wrote."""
    assert (folder / "discounting_chain.png").read_bytes().startswith(b"\x89PNG")
    return json.loads((folder / "discounting_chain.json").read_text())


def test_the_critic_of_the_outer_loss_matters_as_it_should(content):
    assert len(content["horizon_gradients"]) == 8
    for entry in content["horizon_gradients"]:
        inner, outer, true = (np.array(entry[criterion]) for criterion in exact.CRITERIA)
        np.testing.assert_allclose(outer[0], true[0], rtol=2e-5)  # with one update
        if entry["lambda"] == 1.0:
            np.testing.assert_allclose(inner, outer, rtol=2e-5)
        else:
            assert abs(inner[0] / true[0] - 1.0) > 0.1


def test_the_discount_moves_uphill_as_far_for_each_update(content):
    """Adam's first step is as long as its learning rate, in log-odds."""
    (uphill,) = (
        entry[OUTER_CRITIC]
        for entry in content["horizon_gradients"]
        if (entry["lambda"], entry["num_updates"], entry["discount"]) == (0.0, 0, exact.INITIAL_DISCOUNT)
    )
    fixed, tuned = content["curves"]
    assert fixed["discount"] == [exact.INITIAL_DISCOUNT] * 20
    weights = exact.ESTIMATORS["mixing"]
    assert tuned["updates"] == list(range(0, 20, len(weights)))
    assert tuned["episode_return"][0] == pytest.approx(1.02)
    sign = np.sign(np.dot(weights, uphill[: len(weights)]))
    moved = np.diff(logit(tuned["discount"]))[0]
    assert moved == pytest.approx(sign * exact.META_LEARNING_RATE * len(weights), rel=1e-3)


def test_sampled_agents_are_those_of_the_seeds_that_are_named(content):
    kinds = [(entry["criterion"], entry["critics_start"]) for entry in content["sampled"]]
    assert kinds == [(critic, start) for start in ("true", "zero") for critic in (INNER_CRITIC, OUTER_CRITIC)]
    with jax.enable_x64(False):
        alone = [sampled.learn(0.95, INNER_CRITIC, 20, seed, 1)[0] for seed in (3, 4)]
    together = content["sampled"][0]
    assert together["updates"] == alone[0]["updates"] == list(range(1, 21))
    for name in ("discount", "episode_return"):
        first, second, mean = (np.array([point["estimate"] for point in curve[name]]) for curve in (*alone, together))
        np.testing.assert_allclose((first + second) / 2, mean, rtol=1e-4)
        assert np.any(first != second)
    assert np.all((mean >= 1.0) & (mean <= 1.1))


@pytest.mark.parametrize("flag", ["--num_updates=7", "--num_seeds=1", "--seed=-1", "--num_updates=x", "--logdir="])
def test_impossible_flags_are_refused_in_one_line(flag, tmp_path, capsys):
    assert command_line.run(discounting_chain, f"--logdir={tmp_path / 'new'}", flag) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "new").exists()
