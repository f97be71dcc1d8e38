"""How the study's parts are put together: what is held fixed, what is drawn anew, and what is compared with what.

No test here trains or plays: programs are toys of one line, tables, or stand-ins that record what they are given.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tables

from agents import actor_critic, evaluation
from agents.agent import inner_problem
from experiments import variance
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.runs.building import make_agent
from experiments.storage import checkpoints as saved
from experiments.storage import config_file
from experiments.storage.files import WriteError
from experiments.studies.variance import agent_points, analysis, sampling, settings, study, truth
from experiments.studies.variance.sampling import OUTER_CRITIC, OWN_CRITIC
from metagrad import windows
from metagrad.statistics import Estimate

BURN_IN = 3
NAMES = ("discount", "lambda")


@pytest.fixture(scope="module")
def walked():
    """The start of a window on tables, and what a walk by hand leads to."""
    agent = tables.agent(termination=0.0)
    state = tables.start(agent)
    fixed = (state.position.learner_state, state.position.actor_state)
    start = jax.jit(agent_points.make_start(agent, inner_problem(agent), BURN_IN))
    return agent, fixed, [start(fixed, state.eta, key) for key in jax.random.split(jax.random.key(1), 2)]


def test_environments_walk_before_a_window(walked):
    _, (_, actor), starts = walked
    for start in starts:
        # No episode ends here, so its length counts all steps: of the walk, and then of the window's first rollout.
        first_step = start.batch.rollout.episode_length[0]
        np.testing.assert_array_equal(first_step, actor.environments.episode_length + BURN_IN * tables.LENGTH + 1)
        np.testing.assert_array_equal(start.actor_state.environments.episode_length, first_step + tables.LENGTH - 1)
    assert np.any(starts[0].batch.rollout.observation[0] != starts[1].batch.rollout.observation[0])


def test_neither_the_agent_nor_the_outer_critic_learns_during_the_walk(walked):
    agent, (learner, actor), starts = walked
    for start in starts:
        jax.tree.map(np.testing.assert_array_equal, start.learner_state, learner)
        table = actor.outer_critic.params["table"]["v"]
        rollout = start.batch.rollout
        expected = actor_critic.targets(
            rollout.observation @ table, rollout.bootstrap_observation @ table, rollout, agent.outer_hyperparameters
        )
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), start.batch.outer_targets, expected)


def test_each_outer_loss_takes_its_advantages_from_the_critic_that_it_is_called_by(walked):
    agent, _, (start, _) = walked
    losses = agent_points.outer_losses(agent, start.learner_state, start.batch)
    outer_loss = partial(inner_problem(agent).outer_loss, start.learner_state)
    assert losses[OUTER_CRITIC] == pytest.approx(outer_loss(start.batch))
    assert losses[OWN_CRITIC] == pytest.approx(outer_loss(start.batch._replace(outer_targets=None)))
    assert losses[OUTER_CRITIC] != pytest.approx(losses[OWN_CRITIC])


def _adding_up():
    """A learner that adds eta up, `x_k = k (a + 10 b)`, and two outer losses."""
    return windows.InnerProblem(
        update=lambda x, eta, batch: (x + eta["a"] + 10.0 * eta["b"], {}),
        collect=lambda x, eta, actor, key: (actor, jnp.zeros(())),
        outer_loss=lambda x, batch: {"first": x**2 / 2.0, "second": -3.0 * x},
    )


def _begin(fixed, eta, key):
    return windows.Position(fixed, (), jnp.zeros(()))


ETA = {"a": jnp.float32(1.0), "b": jnp.float32(0.2)}  # x_k = 3 k from zero


def test_a_windows_gradients_are_by_critic_horizon_and_meta_parameter():
    for names, slopes in ((("b", "a"), [10.0, 1.0]), (("a",), [1.0])):
        draw = sampling.make_windows(_adding_up(), _begin, 3, names, ("second", "first"), jax.vmap)
        gradients = draw(jnp.float32(0.0), ETA, jax.random.split(jax.random.key(0), 2))
        k = np.arange(1, 4)
        expected = [-3.0 * np.outer(k, slopes), np.outer(3.0 * k * k, slopes)]
        np.testing.assert_allclose(gradients, [expected] * 2, rtol=1e-6)


def test_lifetimes_point_downhill_as_an_outer_loss_does():
    """The return is x itself, so it grows with eta; by one component alone, each sample says so."""
    draw = sampling.make_lifetimes(
        _adding_up(), _begin, lambda here, key: here.learner_state, (1, 4), 0.5, ("b",), jax.vmap
    )
    samples = draw(jnp.float32(0.0), ETA, jax.random.split(jax.random.key(0), 8))
    assert samples.shape == (8, 2, 1)
    assert np.all(samples < 0.0)
    np.testing.assert_allclose(samples[:, 1], 4.0 * samples[:, 0], rtol=1e-4)


RUN = Config(seed=5, num_seeds=3, board_size="3", num_envs=2, rollout_length=2, meta_params=NAMES, time_limit=9)


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """A run whose checkpoints say in every array which seed it belongs to, and which environment step."""

    def read(run, env_steps, like):
        def fill(leaf):
            if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                return jax.random.split(jax.random.key(0), leaf.shape)
            by_seed = env_steps + np.arange(leaf.shape[0])
            return np.broadcast_to(by_seed.reshape(-1, *[1] * (leaf.ndim - 1)), leaf.shape).astype(leaf.dtype)

        return jax.tree.map(fill, like)

    def play(agent, learner, key):
        return evaluation.Returns(jnp.array([1.0, 3.0]), jnp.array([10.0, 30.0]), jnp.array([5, 6]))

    monkeypatch.setattr(saved, "read_checkpoint", read)
    monkeypatch.setattr(saved, "checkpoint_steps", lambda run: [1, 2, 3, 4, 5])
    monkeypatch.setattr(agent_points, "fresh_episodes", play)
    config_file.save(RUN, tmp_path / config_file.CONFIG)
    return tmp_path


def study_of(run, **given):
    return settings.make_study({"checkpoint": run, "horizon": 3, "burn_in": 2, **given})


def test_the_agent_that_is_asked_for_is_studied_at_checkpoints_from_early_to_late(checkpoints):
    points = agent_points.checkpoint_points(study_of(checkpoints, seed_index=2))
    assert [(point.name, point.about["env_steps"]) for point in points] == [("early", 1), ("middle", 3), ("late", 5)]
    for point in points:
        assert point.about["seed"] == 7
        assert point.critics == (OUTER_CRITIC, OWN_CRITIC)
        number = point.about["env_steps"] + 2
        for leaf in jax.tree.leaves(point.fixed[0].params) + list(point.eta.values()):
            np.testing.assert_array_equal(leaf, number)
        # h(eta) = c exp(eta), or in odds.
        assert point.about["hyperparameters"]["entropy_cost"] == pytest.approx(RUN.entropy_cost)
        odds = RUN.discount / (1 - RUN.discount) * np.exp(number)
        assert point.about["hyperparameters"]["discount"] == pytest.approx(odds / (1 + odds), rel=1e-5)


def test_every_point_is_asked_for_the_same(checkpoints, monkeypatch):
    """The programs are replaced by what they are made of."""
    monkeypatch.setattr(agent_points, "make_start", lambda agent, problem, burn_in: f"after {burn_in} rollouts")
    monkeypatch.setattr(sampling, "make_windows", lambda *arguments: arguments)
    monkeypatch.setattr(sampling, "make_lifetimes", lambda *arguments: arguments)
    chosen = {"meta_params": ["lambda"], "reference": "return", "perturbation": 0.7, "num_checkpoints": 2}
    for outer_critic, critics in ((True, (OUTER_CRITIC, OWN_CRITIC)), (False, (OWN_CRITIC,))):
        config_file.save(dataclasses.replace(RUN, outer_critic=outer_critic), checkpoints / config_file.CONFIG)
        for point in agent_points.checkpoint_points(study_of(checkpoints, **chosen)):
            assert point.windows[1:5] == ("after 2 rollouts", 3, ("lambda",), critics)
            _, start, worth, *rest, _ = point.lifetimes
            assert (start, *rest) == ("after 2 rollouts", (1, 3), 0.7, ("lambda",))
            assert worth(windows.Position(point.fixed[0], None, None), jax.random.key(0)) == 2.0
            assert point.about["episodes"] == {"discounted": 2.0, "undiscounted": 20.0, "length": 5.5, "cut": 0.0}
            lifetimes = 2 * (12 + agent_points.EPISODES * 5.5)
            cost = {"single_step": 4, "multi_step": 12, "mixing": 12, "evolution": lifetimes}
            assert point.about["env_steps_of_a_sample"] == cost


def test_flags_reach_the_study(checkpoints, monkeypatch):
    values = variance.define_flags()
    arguments = ["--horizon=7", "--meta_params=lambda", "--burn_in=4", "--seed_index=2", "--num_checkpoints=2"]
    more = ["--seed=9", "--num_samples=11", "--chunk_size=3", "--reference=return", "--perturbation=0.5"]
    values(["variance", *arguments, *more, "--num_lifetimes=12", f"--checkpoint={checkpoints}", "--logdir=here"])
    carried_out = []

    def carry_out(asked, logdir):
        carried_out.append((asked, logdir))
        raise WriteError

    monkeypatch.setattr(study, "carry_out", carry_out)
    with pytest.raises(WriteError):
        variance.main(values)
    ((asked, logdir),) = carried_out
    assert (asked.checkpoint, logdir) == (str(checkpoints.resolve()), "here")
    assert (asked.config, asked.names) == (dataclasses.replace(RUN, horizon=7), ("lambda",))
    assert (asked.burn_in, asked.return_horizons, asked.perturbation) == (4, (1, 5, 7), 0.5)
    assert (asked.seed, asked.num_samples, asked.chunk_size, asked.num_lifetimes) == (9, 11, 3, 12)
    assert (asked.reference, asked.seed_index, asked.num_checkpoints) == ("return", 2, 2)


def test_agents_that_are_trained_keep_discounts_of_their_own(checkpoints, monkeypatch):
    trained = []

    def train(config, folder, **options):
        trained.append(config)
        folder.mkdir()
        config_file.save(config, folder / config_file.CONFIG)

    monkeypatch.setattr(agent_points, "train", train)
    configs = {
        name: dataclasses.replace(RUN, discount=discount, num_env_steps=steps)
        for name, discount, steps in [("poor", 0.8, 40), ("good", 0.9, 80)]
    }
    asked = dataclasses.replace(settings.make_study({"horizon": 3}), trained=configs, names=("lambda",))
    points = agent_points.trained_points(asked, checkpoints)
    assert [(config.discount, config.num_env_steps) for config in trained] == [(0.8, 40), (0.9, 80)]
    assert {(config.estimator, config.num_seeds, config.seed) for config in trained} == {("none", 1, 5)}
    for point, (name, config) in zip(points, configs.items(), strict=True):
        assert point.name == name
        assert point.about["env_steps"] == config.num_env_steps
        for hyper, value in config.hyperparameters().items():
            assert point.about["hyperparameters"][hyper] == pytest.approx(value, rel=1e-5)


def test_an_agents_worth_is_its_return_under_the_outer_discount(monkeypatch):
    given = []
    monkeypatch.setattr(evaluation, "episode_returns", lambda *arguments: given.extend(arguments))
    agent = make_agent(dataclasses.replace(RUN, outer_discount=0.9))
    agent_points.fresh_episodes(agent, actor_critic.LearnerState("params", None), "key")
    env, network, params, discount, _, max_steps, key = given
    assert (env, network, params, discount, key) == (agent.env, agent.network, "params", 0.9, "key")
    assert 0.9**max_steps <= agent_points.BEYOND < 0.9 ** (max_steps - 1)


def test_points_streams_and_seeds_do_not_share_their_keys(tmp_path, monkeypatch):
    """The programs are their own names, and so are the samples."""
    keys = []

    def draw(point, program, key, *rest):
        keys.append(tuple(np.asarray(jax.random.key_data(key))))
        return program

    monkeypatch.setattr(sampling, "draw", draw)
    points = [
        sampling.Point(name, {}, (OWN_CRITIC,), f"windows of {name}", f"lifetimes of {name}", None, {}, {}, NAMES)
        for name in ("one", "two")
    ]
    for seed in (0, 1):
        for what in ("windows", "lifetimes"):
            drawn = study.draw(what, Study(seed=seed), points, 8, 4, tmp_path, quiet=True)
            assert drawn == {name: f"{what} of {name}" for name in ("one", "two")}
    assert len(set(keys)) == 8


@dataclasses.dataclass
class Study:
    """The part of a study that its results are made by."""

    reference: str = "return"
    names: tuple = NAMES
    return_horizons: tuple = (1, 3)
    perturbation: float = 0.5
    seed: int = 0


def test_the_reference_is_drawn_from_the_other_half_of_the_windows():
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(16, 3, 2)) + 5.0 * (np.arange(16) % 2)[:, None, None] + np.arange(3)[:, None]
    described = analysis.analyse(gradients, NAMES, None)["estimators"]
    means = {"single_step": gradients[::2, 0], "multi_step": gradients[::2, 2], "mixing": gradients[::2].mean(1)}
    for estimator, compared in means.items():
        for place, name in enumerate(NAMES):
            expected = (compared - gradients[1::2, 2]).mean(0)[place]
            assert described[estimator][name]["bias"]["estimate"] == pytest.approx(expected, rel=1e-5)


def test_a_return_is_compared_at_the_longest_horizon_by_the_first_critic_and_then_by_the_other():
    noise = 0.1 * np.random.default_rng(1).normal(size=(16, 2, 3, 2))
    gradients = noise + np.array([1.0, -1.0])[:, None, None]  # the critics disagree
    lifetimes = noise[:12, 0, :2] + np.array([-1.0, 1.0])[:, None]  # and so do the horizons
    point = sampling.Point("late", {"num_envs": 4}, (OUTER_CRITIC, OWN_CRITIC), None, None, None, {}, {}, NAMES)
    described = study.describe(Study(), point, gradients, lifetimes)
    assert described["critic"] == OUTER_CRITIC
    assert described["num_lifetimes"] == 12
    assert described["perturbation"] == 0.5
    agreement = {OUTER_CRITIC: 1.0, OWN_CRITIC: 0.0}
    for critic, part in ((OUTER_CRITIC, described), (OWN_CRITIC, described[OWN_CRITIC])):
        multi_step = part["estimators"]["multi_step"]
        assert "bias" not in multi_step["discount"]
        assert multi_step["discount"]["sign_agreement"]["estimate"] == agreement[critic]
    assert described["reference"]["lambda"]["estimate"] == pytest.approx(lifetimes[:, 1, 1].mean(), rel=1e-5)
    assert described["estimators"]["evolution"]["lambda"]["mean"] == described["reference"]["lambda"]
    assert [entry["horizon"] for entry in described["truth"]] == [1, 3]
    signs = [
        {critic: entry["critics"][critic][name]["lambda"]["sign"] for critic in agreement}
        for entry, name in zip(described["truth"], ("single_step", "multi_step"), strict=True)
    ]
    right, wrong = truth.RIGHT, truth.WRONG
    assert signs == [{OUTER_CRITIC: wrong, OWN_CRITIC: right}, {OUTER_CRITIC: right, OWN_CRITIC: wrong}]


def test_the_truths_estimators_look_at_their_own_horizon():
    noise = 0.1 * np.random.default_rng(2).normal(size=(16, 4, 2))
    windows_by_horizon = noise + np.array([1.0, -2.0, 3.0, -4.0])[:, None]
    lifetimes = noise[:, :3] + 1.0
    entries = truth.describe({OWN_CRITIC: windows_by_horizon}, lifetimes, (1, 2, 4), NAMES)
    means = [
        {name: part["discount"]["mean"]["estimate"] for name, part in entry["critics"][OWN_CRITIC].items()}
        for entry in entries
    ]
    assert [list(part) for part in means] == [["single_step"], ["multi_step", "mixing"], ["multi_step", "mixing"]]
    np.testing.assert_allclose([value for part in means for value in part.values()], [1, -2, -0.5, -4, -0.5], atol=0.1)


@pytest.mark.parametrize(
    ("interval", "true_interval", "verdict"),
    [
        ((1.0, 2.0), (3.0, 4.0), truth.RIGHT),
        ((-2.0, -1.0), (3.0, 4.0), truth.WRONG),
        ((-1.0, 2.0), (3.0, 4.0), truth.UNCLEAR),
        ((1.0, 2.0), (-1.0, 4.0), truth.UNKNOWN),
    ],
)
def test_a_verdict_needs_both_means_told_from_zero(interval, true_interval, verdict):
    mean, true_mean = (
        Estimate(*np.array([[sum(ends) / 2], *np.transpose([ends])])) for ends in (interval, true_interval)
    )
    assert truth.verdicts(mean, true_mean) == [verdict]


def test_a_seed_that_was_dropped_is_not_studied_as_if_it_had_learned_on(checkpoints, monkeypatch):
    read = saved.read_checkpoint

    def stopped_early(run, env_steps, like):
        return read(run, env_steps, like)._replace(num_updates=np.array([9, 10, 9]))  # of ten

    monkeypatch.setattr(saved, "read_checkpoint", stopped_early)
    monkeypatch.setattr(saved, "checkpoint_steps", lambda run: [40])
    agent_points.checkpoint_points(study_of(checkpoints, num_checkpoints=1, seed_index=1))
    with pytest.raises(UsageError, match=r"seed_index=2: must be of a seed that .* had not dropped by 40"):
        agent_points.checkpoint_points(study_of(checkpoints, num_checkpoints=1, seed_index=2))
