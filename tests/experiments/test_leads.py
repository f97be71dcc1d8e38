"""The meta-gradients of results/leads.py, against updates that the library differentiates as a whole."""

import dataclasses
import pathlib
import runpy
import types
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from agents import actor_critic, training
from agents.actor_critic import Targets
from experiments.config.settings import Config
from experiments.runs.building import make_agent
from experiments.studies.variance import snake_points
from metagrad import meta_parameters, windows

ROOT = pathlib.Path(__file__).resolve().parents[2]
leads = types.SimpleNamespace(**runpy.run_path(str(ROOT / "results" / "leads.py")))

HORIZON, BURN_IN, WINDOWS = 3, 1, 2
CONFIG = Config(
    estimator="none",
    board_size="3",
    time_limit=9,
    num_envs=4,
    rollout_length=6,
    learning_rate=0.3,
    outer_critic=False,
    num_channels=2,
    policy_width=3,
    value_width=3,
)


@pytest.fixture(scope="module")
def studied():
    """An agent, what is fixed, eta and nets; the first steps of Adam would be of one length whatever eta says."""
    agent = dataclasses.replace(
        make_agent(CONFIG),
        optimizer=optax.identity(),
        tuning=meta_parameters.tune(CONFIG.hyperparameters(), leads.NAMES),
    )
    state = jax.jit(partial(training.init, agent))(jax.random.key(0))
    fixed, eta = state.position[:2], state.eta
    nets = jax.jit(lambda: leads.train_nets(agent, 5, fixed, eta, jax.random.key(1)))()
    assert np.any(np.asarray(nets.critic["eta"]["w"]) != 0.0)
    # After longer training, eta would count for more.
    matrix = jax.random.normal(jax.random.key(4), (2, CONFIG.value_width))
    nets = nets._replace(critic=nets.critic | {"eta": {"w": matrix}})
    return agent, fixed, eta, nets


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.key(2), WINDOWS)


@pytest.fixture(scope="module")
def drawn(studied, keys):
    """The samples of each variant, and of (a)."""
    agent, fixed, eta, nets = studied
    program = leads.make_windows(agent, BURN_IN, HORIZON)
    samples, centred = (program((fixed, nets, jnp.float32(each)), eta, keys) for each in (0.0, 1.0))
    by_variant = {name: samples[:, place] for place, name in enumerate(leads.VARIANTS)}
    return by_variant | {leads.CENTRED: centred[:, 0]}


WHOLE = ("(a)", "(a')", "(b)")


@pytest.fixture(scope="module")
def whole(studied, keys):
    """The estimators by the library, whose update is given targets that have a variant's derivative by themselves."""
    agent, fixed, eta, nets = studied
    cut, original = jax.lax.stop_gradient, actor_critic.targets

    def moved(hyper, observation):
        """How the value moves with eta by the critic of (b), whose level is that of the agent's own."""
        odds = [jax.scipy.special.logit(hyper[name]) for name in leads.MOVING]
        shift = jnp.stack([value - cut(value) for value in odds])
        return (leads.net(nets.critic, observation, shift) - leads.net(nets.critic, observation))[..., 0]

    def targets(chosen, values, bootstrap_values, rollout, hyper):
        if "learning_rate" not in hyper:  # of the outer loss
            return original(values, bootstrap_values, rollout, hyper)
        direct = original(cut(values), cut(bootstrap_values), rollout, hyper).returns.mean()
        change = chosen["(b)"] * moved(hyper, rollout.observation)
        bootstrap_values += chosen["(b)"] * moved(hyper, rollout.bootstrap_observation)
        returns, advantages = original(values + change, bootstrap_values, rollout, hyper)
        advantages -= chosen["(a)"] * advantages.mean() + chosen["(a')"] * (direct - cut(direct))
        return Targets(returns - change, advantages)  # the loss takes the unmoved value off again

    problem = training.inner_problem(agent)
    start = snake_points.make_start(agent, problem, BURN_IN)

    @jax.jit
    def draw(chosen, key):
        start_key, window_key = jax.random.split(key)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(actor_critic, "targets", partial(targets, chosen))
            gradients, _, _ = windows.horizon_gradients(problem, HORIZON, eta, start(fixed, start_key), window_key)
        return jnp.stack([gradients[name] for name in leads.NAMES], -1)

    choices = {name: {each: jnp.float32(each == name) for each in WHOLE} for name in (leads.PLAIN, *WHOLE)}
    gradients = {name: np.stack([draw(chosen, key) for key in keys]) for name, chosen in choices.items()}
    return {name: np.stack([part[:, 0], part[:, -1], part.mean(1)], 1) for name, part in gradients.items()}


@pytest.mark.parametrize("variant", [leads.PLAIN, *WHOLE])
def test_a_variant_is_the_meta_gradient_of_an_update_with_that_derivative(drawn, whole, variant):
    size = np.abs(whole[variant]).max((0, 1))
    assert np.all(size > 0.0)
    np.testing.assert_allclose(drawn[variant] / size, whole[variant] / size, atol=1e-4)
    if variant != leads.PLAIN:  # and they do differ
        assert np.abs((drawn[variant] - drawn[leads.PLAIN]) / size).max() > 1e-2


@pytest.fixture(scope="module")
def seen(studied):
    """What an update would see."""
    agent, (learner, actor), _, _ = studied

    @jax.jit
    def look():
        rollout = training.inner_problem(agent).collect(learner, actor, jax.random.key(3))[1].rollout
        values = agent.network.apply(learner.params, rollout.observation).value
        return leads.Seen(values, agent.network.apply(learner.params, rollout.bootstrap_observation).value, rollout)

    return look()


def test_what_the_variants_are_for(studied, seen):
    agent, _, eta, nets = studied

    @jax.jit
    def compute():
        taken = leads.variants(agent, eta, nets, seen)
        ahead = leads.value_slopes(nets, seen)["(c')"]
        hyper = meta_parameters.hyperparameters(agent.tuning, eta)
        followed = leads.derivative(agent, eta, seen, ahead).returns
        return taken, actor_critic.targets(*seen, hyper).advantages, followed - ahead[0]

    variants, advantages, errors = jax.tree.map(np.asarray, compute())
    assert set(variants) == set(leads.VARIANTS)
    taken = {name: targets.advantages for name, targets in variants.items()}
    size = np.abs(taken["plain"]).max((1, 2))
    for name in ("(a')", "(d) with (a')", "(e)"):
        np.testing.assert_allclose(taken[name].mean((1, 2)) / size, 0.0, atol=1e-5)
    assert np.all(np.abs(taken["plain"].mean((1, 2))) / size > 1e-3)
    changes = {name: np.abs(np.sum(taken[name] * advantages, (1, 2))) / size for name in ("plain", "(d)")}
    assert np.all(changes["(d)"] < 1e-4 * changes["plain"])
    np.testing.assert_allclose(taken["(c')"], errors, atol=1e-5)


def test_the_critic_that_sees_eta_begins_as_the_agents(studied, seen):
    _, (learner, _), _, _ = studied
    rollout = seen.rollout
    batch = jax.tree.map(lambda leaf: leaf[0], rollout.observation)
    begun = jax.jit(lambda: leads.init_nets(learner, jnp.ones((1, 2, 6, 4)), batch, jax.random.key(0)))()
    values = jax.jit(lambda: leads.net(begun.critic, rollout.observation, jnp.ones(2))[..., 0])()
    np.testing.assert_allclose(values, seen.values, rtol=1e-4, atol=1e-6)


def test_half_of_everything_has_half_the_noise_and_gains_nothing():
    plain = np.random.default_rng(0).normal(size=(40, 3, 3)) + 1.0
    assert leads.paired(leads.noise, (plain[:, 2] / 2, plain[:, 2])) == "0.5 [0.5, 0.5]"
    assert float(leads.paired(leads.gain, (plain[:, 2] / 2, plain[:, 2])).split()[0]) == pytest.approx(0.0, abs=1e-12)
    rows = leads.describe({"plain": plain, "half": plain[:20] / 2}, None).splitlines()
    assert sum(row.startswith("half") for row in rows) % len(leads.ESTIMATORS) == 0  # in as many blocks as columns need
    clearer = plain - 0.5 * (plain - plain.mean(0))
    assert leads.gain(clearer[:, 2], plain[:, 2]) == pytest.approx(leads.signal_to_noise(plain[:, 2]))
