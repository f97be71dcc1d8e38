"""The variance study from flags to files, in miniature, and the samples that it rests on."""

import functools
import json
import shutil

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import actor_critic, tabular, training
from experiments import train
from experiments.config import Config, UsageError
from experiments.variance import __main__ as variance
from experiments.variance import analysis, picture, sampling, tables
from metagrad import estimators, windows
from metagrad.meta_parameters import INTERVALS

SETTINGS = {
    "board_size": "3",
    "num_seeds": 2,
    "num_envs": 4,
    "rollout_length": 5,
    "num_env_steps": 400,
    "num_channels": 4,
    "policy_width": 8,
    "value_width": 8,
    "time_limit": 50,
}
NETWORK = ["--num_channels=4", "--policy_width=8", "--value_width=8"]
SMALL = [*NETWORK, "--board_size=3", "--num_envs=4", "--rollout_length=5", "--num_env_steps=400", "--time_limit=50"]
STUDY = ["--horizon=3", "--chunk_size=4", "--burn_in=2", "--num_samples=8"]


def study(*arguments):
    """Runs the command; returns its exit status."""
    return command_line.run(variance, *arguments)


def results(folder):
    return json.loads((folder / "variance.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study of agents that it trains itself."""
    folder = tmp_path_factory.mktemp("trained")
    assert not study(*SMALL, *STUDY, "--meta_params=discount,value_cost", f"--logdir={folder}")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training run that tunes two hyperparameters."""
    folder = tmp_path_factory.mktemp("run") / "single_step"
    train.train(Config(estimator="single_step", meta_params=("discount", "entropy_cost"), **SETTINGS), folder)
    return folder


def test_a_study_covers_a_poor_and_a_good_point(trained):
    content = results(trained)
    assert set(content["points"]) == {"poor", "good"}
    assert content["point"] == "poor"
    assert content["points"]["poor"]["hyperparameters"]["discount"] == pytest.approx(0.8)
    assert content["points"]["poor"]["hyperparameters"]["lambda"] == pytest.approx(0.5)
    assert content["points"]["good"]["hyperparameters"]["discount"] == pytest.approx(0.97)
    assert content["num_samples"] == 8
    assert content["horizon"] == 3
    assert (trained / "variance.png").read_bytes().startswith(b"\x89PNG")


def test_variance_json_has_the_documented_numbers(trained):
    content = results(trained)
    for point in [content, *content["points"].values()]:
        for estimator in ("single_step", "multi_step", "mixing"):
            for name in ("discount", "value_cost"):
                for statistic in ("mean", "variance", "snr"):
                    number = point["estimators"][estimator][name][statistic]
                    assert set(number) == {"estimate", "ci95"}
                    if (estimator, name) != ("single_step", "value_cost"):
                        low, high = number["ci95"]
                        assert low <= number["estimate"] <= high
        # One update of the critic does not touch the policy, which alone the outer loss sees.
        unseen = point["estimators"]["single_step"]["value_cost"]
        assert unseen["variance"] == {"estimate": 0.0, "ci95": [None, None]}
        assert unseen["snr"]["estimate"] is None
        for ratio in ("variance_ratio", "noise_ratio"):
            assert set(point[ratio]) == {"discount", "value_cost", "total"}


def test_the_numbers_are_those_of_the_samples_on_disk(trained):
    content = results(trained)["points"]["poor"]
    files = sorted((trained / "samples" / "poor").glob("*.npy"))
    gradients = np.concatenate([np.load(file) for file in files]).astype(np.float64)
    assert gradients.shape == (8, 3, 2)
    for place, name in enumerate(("discount", "value_cost")):
        expected = {"single_step": gradients[:, 0], "multi_step": gradients[:, 2], "mixing": gradients.mean(1)}
        for estimator, samples in expected.items():
            described = content["estimators"][estimator][name]
            assert described["mean"]["estimate"] == pytest.approx(samples[:, place].mean(), rel=1e-5)
            assert described["variance"]["estimate"] == pytest.approx(samples[:, place].var(ddof=1), rel=1e-5)
        ratio = expected["multi_step"][:, place].var() / expected["mixing"][:, place].var()
        assert content["variance_ratio"][name]["estimate"] == pytest.approx(ratio, rel=1e-5)


def test_more_samples_go_on_from_those_on_disk(trained, tmp_path):
    def snapshot():
        return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in trained.rglob("*.npy")}

    before = snapshot()
    more = [*STUDY[:-1], "--num_samples=12"]
    assert not study(*SMALL, *more, "--meta_params=discount,value_cost", f"--logdir={trained}")
    after = snapshot()
    assert len(before) == 4
    assert len(after) == 6
    assert before.items() <= after.items()
    assert results(trained)["num_samples"] == 12


def test_a_study_that_was_killed_goes_on_to_the_same_numbers(run, tmp_path, monkeypatch):
    arguments = [*STUDY, f"--checkpoint={run}", "--num_checkpoints=1"]
    write, written = sampling._write, []

    def write_once(file, chunk):
        if written:
            raise InterruptedError
        written.append(file)
        write(file, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "_write", write_once)
        with pytest.raises(InterruptedError):
            study(*arguments, f"--logdir={tmp_path / 'killed'}")
    assert [file.name for file in (tmp_path / "killed").rglob("*.npy")] == ["00000000.npy"]
    assert not study(*arguments, f"--logdir={tmp_path / 'killed'}")
    assert not study(*arguments, f"--logdir={tmp_path / 'whole'}")
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


def test_checkpoints_are_studied_from_early_to_late(run, tmp_path, capsys):
    # A setting that is the run's own may be said again.
    assert not study(
        *STUDY,
        "--num_envs=4",
        f"--checkpoint={run}",
        "--meta_params=discount",
        "--seed_index=1",
        f"--logdir={tmp_path}",
    )
    points = results(tmp_path)["points"]
    assert list(points) == ["early", "middle", "late"]
    steps = [point["env_steps"] for point in points.values()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 400
    assert {point["seed"] for point in points.values()} == {1}
    # The other meta-parameter stays where the run had moved it to.
    assert len({point["hyperparameters"]["entropy_cost"] for point in points.values()}) == 3
    printed = capsys.readouterr().out
    assert "late: discount" in printed
    assert "noise ratio" in printed


def test_samples_are_the_gradients_of_reverse_mode():
    agent = tabular.study_agent(8)
    problem = training.inner_problem(agent)
    states = jnp.asarray([0.5, 0.3, 0.2, 0.0])
    fixed = (actor_critic.init(agent.network, agent.optimizer, jnp.eye(4), jax.random.key(1)), states)
    eta = {"discount": jnp.float32(0.3), "lambda": jnp.float32(-0.2)}

    def start(fixed, key):
        return tabular.sampled_start(agent, *fixed, key)

    program = sampling.make_program(problem, start, 3, ("lambda",), jax.vmap)
    key = jax.random.key(5)
    gradients = program(fixed, eta, key[None])[0]
    start_key, window_key = jax.random.split(key)
    position = start(fixed, start_key)
    reverse = jax.jit(functools.partial(windows.meta_gradient, problem, estimators.mixing(3)))
    expected, _, _ = reverse(eta, position, window_key)
    np.testing.assert_allclose(gradients[:, 0].mean(), expected["lambda"], rtol=1e-4)


def test_the_tabular_study_converges_to_the_truth(tmp_path, capsys):
    arguments = ["--problem=tabular", "--horizon=2", "--num_samples=512", "--chunk_size=256", f"--logdir={tmp_path}"]
    assert not study(*arguments)
    content = results(tmp_path)
    assert [entry["num_envs"] for entry in content["convergence"]] == [4, 4, 16, 16, 64, 64, 256, 256]
    for entry in content["convergence"][-2:]:
        for name in ("discount", "lambda"):
            low, high = entry["bias"][name]["ci95"]
            assert abs(entry["bias"][name]["estimate"]) < high - low  # four standard errors
            assert entry["coverage"][name] >= 0.75  # of 8 studies
            exact = content["exact"]["expected_updates"][name][entry["horizon"] - 1]
            assert entry["exact"][name] == exact
    assert content["variance_ratio"]["discount"]["ci95"][0] > 1.0
    assert "coverage" in capsys.readouterr().out


def test_analysis_is_undetermined_where_there_is_no_signal():
    noise = np.random.default_rng(1).normal(size=(64, 3, 2))
    result = analysis.analyse(noise - noise.mean(0), ("discount", "lambda"), None)
    assert result["noise_ratio"]["total"] == {"estimate": None, "ci95": [None, None]}
    assert result["variance_ratio"]["total"]["estimate"] > 1.0


def test_analysis_tells_bias_from_the_reference():
    noise = np.random.default_rng(2).normal(size=(400, 2, 2))
    gradients = noise * 0.1 + np.array([[1.0, 0.0], [1.0, 1.0]])
    result = analysis.analyse(gradients, ("discount", "lambda"), np.array([1.0, 1.0]))
    single, multi = (result["estimators"][name] for name in ("single_step", "multi_step"))
    assert single["lambda"]["bias"]["ci95"][1] < -0.9
    assert abs(multi["lambda"]["bias"]["estimate"]) < 0.02
    assert single["total"]["cosine"]["estimate"] == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert multi["total"]["cosine"]["estimate"] == pytest.approx(1.0, abs=0.01)
    assert multi["discount"]["sign_agreement"]["estimate"] > 0.99
    decays = [entry["total"]["cosine"]["estimate"] for entry in result["mixing_decays"]]
    assert decays == sorted(decays)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--problem=chess"], "--problem=chess"),
        (["--num_samples=7"], "--num_samples=7: must be at least 8"),
        (["--horizon=1"], "--horizon=1: must be at least 2"),
        (["--meta_params="], "--meta_params="),
        (["--meta_params=discount,luck"], "--meta_params=discount,luck"),
        (["--chunk_size=0"], "--chunk_size=0"),
        (["--burn_in=-1"], "--burn_in=-1"),
        (["--seed_index=1"], "--seed_index=1: must be left out with no --checkpoint"),
        (["--problem=tabular", "--board_size=8"], "--board_size=8: must be left out with --problem=tabular"),
        (["--problem=tabular", "--meta_params=discount"], "--meta_params=discount: must be left out"),
        (["--checkpoint=nowhere"], "--checkpoint=nowhere: must be the folder of a training run"),
        (["--checkpoint=RUN", "--board_size=8"], "--board_size=8: must be left out, or 3, as in"),
        (["--checkpoint=RUN", "--num_channels=8"], "--num_channels=8: must be left out, or 4, as in"),
        (["--checkpoint=RUN", "--meta_params=lambda"], "--meta_params=lambda: must be among"),
        (["--checkpoint=RUN", "--seed_index=2"], "--seed_index=2: must be in [0, 1]"),
        (["--checkpoint=RUN", "--num_checkpoints=4"], "--num_checkpoints=4: must be 1, 2 or 3"),
        (["--logdir=RUN"], "--logdir="),
    ],
)
def test_bad_input_is_one_line_with_status_2(arguments, complaint, run, tmp_path, capsys):
    logdir = [] if any(argument.startswith("--logdir") for argument in arguments) else [f"--logdir={tmp_path / 'new'}"]
    assert study(*logdir, *(argument.replace("RUN", str(run)) for argument in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_a_checkpoint_that_does_not_fit_is_one_line(run, tmp_path, capsys):
    config = run / "config.json"
    original = config.read_text()
    try:
        config.write_text(original.replace('"policy_width": 8', '"policy_width": 9'))
        assert study(*STUDY, f"--checkpoint={run}", f"--logdir={tmp_path / 'study'}") == 2
    finally:
        config.write_text(original)
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not fit its run's settings" in line


def fake_point(learner=1.0, gradient=1.0):
    """A point whose windows cost nothing: each gradient is its window's random number times `gradient`."""

    def program(fixed, eta, keys):
        return gradient * fixed * jax.vmap(lambda key: jax.random.normal(key, (3, 2)))(keys)

    return sampling.Point("late", {}, program, jnp.float32(learner), {}, {})


def draw(point, folder, num_samples=8, chunk_size=4, seed=0):
    return sampling.draw(point, jax.random.key(seed), num_samples, chunk_size, folder, lambda count: None)


def test_windows_do_not_depend_on_the_chunks_they_come_in(tmp_path):
    whole = draw(fake_point(), tmp_path / "whole", num_samples=9, chunk_size=9)
    draw(fake_point(), tmp_path / "parts", num_samples=3, chunk_size=2)
    parts = draw(fake_point(), tmp_path / "parts", num_samples=9, chunk_size=3)
    np.testing.assert_array_equal(whole, parts)
    assert whole.shape == (9, 3, 2)


@pytest.mark.parametrize("other", [{"point": fake_point(learner=2.0)}, {"point": fake_point(), "seed": 1}])
def test_samples_of_another_agent_or_key_are_refused(other, tmp_path):
    draw(fake_point(), tmp_path)
    with pytest.raises(UsageError, match="holds samples of another agent"):
        draw(folder=tmp_path, **other)


def test_a_gradient_that_is_not_finite_stops_the_study(tmp_path):
    draw(fake_point(), tmp_path, num_samples=4)
    with pytest.raises(train.NonFiniteError, match="window 4 at late"):
        draw(fake_point(gradient=jnp.nan), tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 1


def test_the_picture_has_room_for_all_meta_parameters_and_odd_numbers(tmp_path):
    names = tuple(INTERVALS)
    gradients = np.random.default_rng(3).normal(size=(16, 2, len(names)))
    gradients[..., 0] = 0.0
    point = analysis.analyse(gradients, names, None)
    point["variance_ratio"]["total"]["ci95"] = [9.0, 10.0]  # not around its estimate, which can happen
    content = {
        "problem": "snake",
        "horizon": 2,
        "num_samples": 16,
        "meta_params": list(names),
        "points": {"late": {"hyperparameters": dict.fromkeys(names, 0.5), **point}},
    }
    picture.draw(content, tmp_path / "variance.png")
    assert (tmp_path / "variance.png").exists()
    assert "undetermined" in tables.describe(content)


def test_a_refused_study_leaves_no_folder(run, tmp_path, capsys):
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(run / "config.json", bare)
    assert study(*STUDY, f"--checkpoint={bare}", f"--logdir={tmp_path / 'study'}") == 2
    assert "--num_checkpoints=3: must be at most" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_another_study_may_not_go_on_in_the_same_folder(trained, capsys):
    assert study(*SMALL, *STUDY, "--meta_params=discount", f"--logdir={trained}") == 2
    assert "one of a study with the same settings" in capsys.readouterr().err


def test_help_lists_the_flags(capsys):
    assert not study("--help")
    printed = capsys.readouterr().out
    assert "--num_samples" in printed
    assert "goes on from the samples" in printed
