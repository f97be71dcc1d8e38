"""bsuite's Discounting Chain: the process against its rules, and the study of the outer loss's critic on it."""

import itertools
import json

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import tabular as agent_tabular
from envs import processes, tabular
from experiments import discounting_chain
from experiments.studies.discounting_chain import exact, sampled
from metagrad import estimators, meta_parameters, windows

BONUS_CHAIN = 3
SMALL = (1, 2, 4, 7, 9)


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


@pytest.fixture
def small_chain(monkeypatch):
    """Shortens the chains of the study."""
    monkeypatch.setattr(exact, "REWARD_STEPS", SMALL)
    sampled._program.cache_clear()


def _position(agent, num_updates):
    """Returns where learning stands after some updates with a converged critic, and eta."""
    eta = meta_parameters.initial_meta_parameters(agent.tuning)
    return exact._advance(agent_tabular.converged_problem(agent), eta, exact._start(agent, eta), num_updates), eta


@pytest.mark.usefixtures("small_chain")
@pytest.mark.parametrize("lambda_", [0.0, 0.95])
def test_gradients_with_an_outer_critic_agree_with_finite_differences_on_frozen_data(lambda_):
    agent = exact.make_agent(lambda_, exact.OUTER_CRITIC, ())
    mdp, problem, horizon = agent.env, agent_tabular.converged_problem(agent), 3
    start, eta = jax.jit(lambda: _position(agent, 3))()
    gradients, _, _ = windows.horizon_gradients(problem, horizon, eta, start, jax.random.key(0))
    nominal = [start]
    for _ in range(horizon):
        nominal.append(exact._advance(problem, eta, nominal[-1], 1))

    def predictions(learner):
        return agent.network.apply(learner.params, jnp.eye(mdp.num_states))

    @jax.jit
    def losses(eta):
        learner, found = start.learner_state, []
        for position, following in itertools.pairwise(nominal):
            learner, _ = problem.update(learner, eta, position.batch)
            # By hand, from the values of the nominal policy under the outer discount, whatever the agent's critic says.
            values = tabular.state_values(mdp, following.batch.policy, exact.OUTER_DISCOUNT)
            follow = tabular.going_on(mdp) @ values
            advantages = mdp.rewards + follow - values[:, None]
            log_policy = jax.nn.log_softmax(predictions(learner).logits)
            frequencies = following.batch.states.mean(0)[:, None] * following.batch.policy
            found.append(-jnp.sum(frequencies * advantages * log_policy))
        return jnp.stack(found)

    def difference(step):
        up, down = (losses({"discount": eta["discount"] + sign * step}) for sign in (1, -1))
        return (up - down) / (2 * step)

    expected = (4 * difference(5e-4) - difference(1e-3)) / 3
    np.testing.assert_allclose(gradients["discount"], expected, rtol=1e-6, atol=1e-12)


@pytest.mark.usefixtures("small_chain")
def test_with_one_update_the_outer_critic_gives_the_returns_own_gradient():
    ((uniform,), (later,)) = exact.horizon_gradients(0.0, [0.9], 2, ages=(0, 5))
    for entry in (uniform, later):
        np.testing.assert_allclose(entry[exact.OUTER_CRITIC][0], entry[exact.RETURN][0], rtol=1e-9)
        assert abs(entry[exact.INNER_CRITIC][0] / entry[exact.RETURN][0] - 1.0) > 0.1


@pytest.mark.usefixtures("small_chain")
def test_with_a_lambda_of_one_the_critic_of_the_outer_loss_does_not_matter():
    ((entry,),) = exact.horizon_gradients(1.0, [0.9], 3, ages=(5,))
    np.testing.assert_allclose(entry[exact.INNER_CRITIC], entry[exact.OUTER_CRITIC], rtol=1e-9)


@pytest.mark.usefixtures("small_chain")
def test_a_converged_critic_has_the_true_values_of_policy_and_discount():
    agent = exact.make_agent(0.95, exact.INNER_CRITIC, ())
    position, _ = _position(agent, 2)
    params = position.learner_state.params
    policy = jax.nn.softmax(params["policy"]["table"])
    values = tabular.state_values(agent.env, policy, exact.INITIAL_DISCOUNT)
    np.testing.assert_allclose(params["value"]["table"], values, rtol=1e-12)
    assert np.ptp(np.asarray(policy[0])) > 0.01


@pytest.mark.usefixtures("small_chain")
@pytest.mark.parametrize("estimator", ["single_step", "mixing"])
def test_the_discount_moves_uphill_as_far_for_each_update(estimator):
    """Adam's first step is as long as its learning rate, in log-odds."""
    weights = exact.ESTIMATORS[estimator]
    ((entry,),) = exact.horizon_gradients(0.0, [exact.INITIAL_DISCOUNT], len(weights), ages=(0,))
    curve = exact.learn(0.0, exact.OUTER_CRITIC, weights, 2 * len(weights))
    moved = np.diff(np.log(curve.discount / (1.0 - curve.discount)))
    uphill = np.sign(np.asarray(weights) @ entry[exact.OUTER_CRITIC])
    np.testing.assert_allclose(moved, uphill * exact.META_LEARNING_RATE * len(weights), rtol=1e-6)


@pytest.mark.usefixtures("small_chain")
def test_critics_start_from_the_truth_where_they_are_to_know_it():
    agent = exact.make_agent(0.95, exact.OUTER_CRITIC, estimators.single_step())
    uniform = np.full(agent.env.rewards.shape, 0.2)
    own, outer = (tabular.state_values(agent.env, uniform, at) for at in (exact.INITIAL_DISCOUNT, exact.OUTER_DISCOUNT))
    for knowing in (True, False):
        position = sampled._init(agent, knowing, jax.random.key(0)).position
        critics = position.learner_state, position.actor_state.outer_critic
        found = [critic.params["value"]["table"] for critic in critics]
        np.testing.assert_allclose(found[0], own if knowing else 0.0 * own, rtol=1e-5, atol=1e-6)
        assert np.allclose(found[1], outer, rtol=1e-5) == knowing  # one that does not know has learned a rollout


@pytest.mark.usefixtures("small_chain")
def test_seeds_are_those_that_are_named():
    few, one = (
        sampled.train(0.95, exact.OUTER_CRITIC, estimators.single_step(), 3, seed, number, False)
        for seed, number in ((3, 2), (4, 1))
    )
    np.testing.assert_allclose(few.episode_return[:, 1], one.episode_return[:, 0], rtol=1e-5)
    assert np.any(few.episode_return[:, 0] != few.episode_return[:, 1])


@pytest.mark.usefixtures("small_chain")
def test_the_command_writes_numbers_and_a_picture(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(discounting_chain, "DISCOUNTS", (0.9, 0.95))
    monkeypatch.setattr(
        discounting_chain,
        "CURVES",
        ((0.95, "fixed", "inner_critic"), (0.95, "mixing", "return"), (0.0, "single_step", "outer_critic")),
    )
    monkeypatch.setattr(discounting_chain, "SAMPLED", (("outer_critic", True), ("inner_critic", False)))
    with jax.enable_x64(False):
        folder = tmp_path / "study"
        assert not command_line.run(
            discounting_chain, f"--logdir={folder}", "--num_seeds=2", "--num_updates=20", "--seed=3"
        )
    content = json.loads((folder / "discounting_chain.json").read_text())
    assert len(content["horizon_gradients"]) == 8
    for entry in content["curves"]:
        assert entry["discount"][0] == pytest.approx(0.95)
        assert entry["episode_return"][0] == pytest.approx(1.02)
    assert content["curves"][0]["discount"][-1] == pytest.approx(0.95)
    assert [entry["critics_start"] for entry in content["sampled"]] == ["true", "zero"]
    for entry in content["sampled"]:
        assert entry["updates"][-1] == 20
        assert 1.0 <= entry["episode_return"][-1]["estimate"] <= 1.1
    assert (folder / "discounting_chain.png").read_bytes().startswith(b"\x89PNG")
    assert "outer_critic" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--num_updates=7", "--num_seeds=1", "--seed=-1", "--num_updates=x", "--logdir="])
def test_impossible_flags_are_refused_in_one_line(flag, tmp_path, capsys):
    assert command_line.run(discounting_chain, f"--logdir={tmp_path / 'new'}", flag) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "new").exists()
