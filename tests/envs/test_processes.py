"""Tabular processes and their exact functions, in float64: against power series, thresholds and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables
from differences import central_difference

from envs import processes, tabular
from envs.processes import STOP, WALK

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize(("length", "distractor_reward"), [(2, 0.5), (4, 0.3), (6, 0.1)])
def test_walking_a_chain_is_best_above_the_threshold_alone(length, distractor_reward):
    mdp = processes.chain(length, distractor_reward)
    threshold = distractor_reward ** (1 / (length - 1))
    walk, stop = (jax.nn.one_hot(jnp.full(length + 1, action), 2) for action in (WALK, STOP))
    for discount, best in ((threshold + 1e-3, walk), (threshold - 1e-3, stop)):
        returns = [tabular.discounted_return(mdp, policy, discount) for policy in (walk, stop)]
        np.testing.assert_allclose(returns, [discount ** (length - 1), distractor_reward], rtol=1e-12)
        assert max(returns) == tabular.discounted_return(mdp, best, discount)
    values = tabular.state_values(mdp, walk, threshold + 1e-3)
    assert np.all(values[:length] > distractor_reward)
    assert values[length] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"start": np.ones(2)}, "start must have shape"),
        ({"start": np.array([0.5, 0.0, 0.5])}, "start must be zero in terminal states"),
        ({"start": np.array([0.5, 0.4, 0.0])}, "start must be probabilities"),
        ({"transitions": -np.ones((3, 2, 3))}, "transitions must be probabilities"),
    ],
)
def test_impossible_tables_are_refused(change, message):
    mdp = processes.chain(2, 0.5)
    tables = {name: getattr(mdp, name) for name in ("transitions", "rewards", "is_terminal", "start")}
    with pytest.raises(ValueError, match=message):
        tabular.Tabular(**tables | change)


def test_impossible_arguments_are_refused():
    for call in (
        lambda: processes.chain(1, 0.5),
        lambda: processes.chain(3, 1.0),
    ):
        with pytest.raises(ValueError, match="must be"):
            call()


def test_returns_are_the_power_series_and_their_slope_the_finite_difference():
    mdp = tables.process()
    policy, discount = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(mdp.num_actions), mdp.num_states)), 0.9
    states, total = np.asarray(mdp.start), 0.0
    on = np.einsum("sa,sat->st", policy, tabular.going_on(mdp))
    for t in range(400):
        total += discount**t * states @ np.sum(policy * mdp.rewards, -1)
        states = states @ on
    np.testing.assert_allclose(tabular.discounted_return(mdp, policy, discount), total, rtol=1e-12)

    logits = jnp.log(policy)
    direction = np.random.default_rng(1).normal(size=logits.shape)

    def along(step):
        return tabular.discounted_return(mdp, jax.nn.softmax(logits + step["x"] * direction), discount)

    slope = jax.grad(along)({"x": jnp.zeros(())})["x"]
    np.testing.assert_allclose(slope, central_difference(along, {"x": jnp.zeros(())}, "x"), rtol=1e-8)
