"""The variance study from flags to files, in miniature, and the samples that it rests on."""

import functools
import json
import pathlib
import shutil

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents import actor_critic, tabular, training
from experiments import variance
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.runs import divergence
from experiments.runs import training as loop
from experiments.storage.files import WriteError
from experiments.studies.variance import (
    analysis,
    answer_picture,
    details_picture,
    sampling,
    settings,
    summary,
    tables,
    truth_picture,
)
from experiments.studies.variance import truth as truth_lib
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
SMALL = [*NETWORK, "--environment=tables:process", "--num_envs=4", "--rollout_length=5", "--at_env_steps=400"]
RESULTS = pathlib.Path(__file__).parents[2] / "results"
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


POOR, GOOD = "discount_0.8_steps_400", "discount_0.97_steps_400"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training run that tunes two hyperparameters."""
    folder = tmp_path_factory.mktemp("run") / "single_step"
    loop.train(Config(estimator="single_step", meta_params=("discount", "entropy_cost"), **SETTINGS), folder)
    return folder


def test_a_study_covers_a_low_and_a_high_discount(trained):
    content = results(trained)
    assert list(content["points"]) == [POOR, GOOD]
    assert content["point"] == POOR
    for name, discount in ((POOR, 0.8), (GOOD, 0.97)):
        point = content["points"][name]
        assert point["hyperparameters"]["discount"] == pytest.approx(discount)
        assert json.loads((trained / f"train_{name}" / "config.json").read_text())["flags"]["discount"] == discount
        assert point["env_steps"] == 400
        assert point["critic"] == "outer_critic"
        assert point["episodes"]["length"] >= 1.0
    assert content["num_samples"] == 8
    assert content["horizon"] == 3
    assert (trained / "variance.png").read_bytes().startswith(b"\x89PNG")


def test_variance_json_has_the_documented_numbers(trained):
    content = results(trained)
    assert next(iter(content)) == "summary"
    assert len((trained / "variance.json").read_text().splitlines()) < 300  # what is for programs is not in the way
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


def told(raw, at_equal_scale, num_samples=64, **alone):
    """What is said of a point, by ratios that are an estimate and the ends of its interval."""

    def as_json(ratios):
        return {name: {"estimate": estimate, "ci95": list(ends)} for name, (estimate, *ends) in ratios.items()}

    point = {"variance_ratio": as_json({"total": raw}), "noise_ratio": as_json({**alone, "total": at_equal_scale})}
    content = {"horizon": 10, "num_samples": num_samples, "points": {"256_environments": point}}
    told = summary.summarize(content)
    (answer,) = told["answers"].values()
    return f"{told['question']} {answer['in_words']} {told['meaning']}"


UNKNOWN = (None, None, None)


@pytest.mark.parametrize(
    ("ratios", "words"),
    [
        ({}, "256 environments: raw 30 [20, 40] times less; at equal scale 3 [2, 4] times less."),
        ({"raw": (0.5, 0.25, 0.8)}, "raw 2 [1.25, 4] times more;"),
        ({"raw": UNKNOWN}, "raw not determined;"),
        ({"at_equal_scale": (0.9, 0.5, 1.5)}, "at equal scale not determined (ratio 0.9 [0.5, 1.5])."),
        (
            {"at_equal_scale": UNKNOWN, "discount": (2.0, 1.5, 3.0), "lambda": (2.0, 0.9, 3.0)},
            "at equal scale not determined, discount alone 2 [1.5, 3] times less.",
        ),
        ({"num_samples": 8}, "intervals are narrower than they should be"),
    ],
)
def test_how_much_less_variance_mixing_has_is_told_in_words(ratios, words):
    assert words in told(**{"raw": (30.0, 20.0, 40.0), "at_equal_scale": (3.0, 2.0, 4.0), **ratios})


def test_the_numbers_are_those_of_the_samples_on_disk(trained):
    outer = results(trained)["points"][POOR]
    files = sorted((trained / "samples" / POOR).glob("*.npy"))
    drawn = np.concatenate([np.load(file) for file in files]).astype(np.float64)
    assert drawn.shape == (8, 2, 3, 2)
    assert not np.allclose(drawn[:, 0], drawn[:, 1], rtol=0.1, atol=0.0)
    for gradients, content in ((drawn[:, 0], outer), (drawn[:, 1], outer["own_critic"])):
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


@pytest.fixture(scope="module")
def judged(trained):
    """The same study, held against the true return's gradient."""
    arguments = ["--meta_params=discount,value_cost", "--reference=return", "--num_lifetimes=16", "--num_samples=8"]
    assert not study(*SMALL, *STUDY[:-1], *arguments, f"--logdir={trained}")
    return trained


def test_the_truth_is_that_of_the_lifetimes_on_disk(judged):
    content = results(judged)
    assert content["reference_is"] == "return"
    for point in (POOR, GOOD):
        described = content["points"][point]
        files = sorted((judged / "lifetimes" / point).glob("*.npy"))
        lifetimes = np.concatenate([np.load(file) for file in files]).astype(np.float64)
        assert lifetimes.shape == (16, 2, 2)  # at horizons 1 and 3
        assert described["num_lifetimes"] == 16
        assert [entry["horizon"] for entry in described["truth"]] == [1, 3]
        for place, entry in enumerate(described["truth"]):
            truth = lifetimes[:, place].mean(0)
            assert entry["truth"]["discount"]["estimate"] == pytest.approx(truth[0], rel=1e-5)
            assert set(entry["critics"]) == {"outer_critic", "own_critic"}
        assert described["reference"] == described["truth"][-1]["truth"]
        assert list(described["truth"][0]["critics"]["outer_critic"]) == ["single_step"]
        evolution = described["estimators"]["evolution"]
        assert evolution["discount"]["variance"]["estimate"] == pytest.approx(lifetimes[:, -1, 0].var(ddof=1), rel=1e-5)
        steps = described["env_steps_of_a_sample"]
        assert steps["multi_step"] == steps["mixing"] == 3 * steps["single_step"] == 3 * 4 * 5
        assert steps["evolution"] > 2 * (60 + 256)
        multi_step = described["estimators"]["multi_step"]
        assert multi_step["total"].keys() >= {"cosine", "scaled_error"}
        assert "bias" not in multi_step["discount"]


def test_lifetimes_do_not_depend_on_the_outer_critic(judged, tmp_path):
    """The agents and their lifetimes are the same without it; windows then have one critic."""
    arguments = ["--meta_params=discount,value_cost", "--reference=return", "--num_lifetimes=8", "--noouter_critic"]
    assert not study(*SMALL, *STUDY, *arguments, "--at_discounts=0.8", f"--logdir={tmp_path}")
    for kind, own in (("samples", 1), ("lifetimes", None)):
        with_critic, without = (
            np.concatenate([np.load(file) for file in sorted((folder / kind / POOR).glob("*.npy"))])[:8]
            for folder in (judged, tmp_path)
        )
        expected = with_critic if own is None else with_critic[:, own:]
        np.testing.assert_allclose(without, expected, rtol=2e-4, atol=1e-7)


def verdict(samples, truth):
    return truth_lib.describe({"own_critic": samples[:, None]}, truth[:, None], (1,), ("discount",))["truth"][0]


@pytest.mark.parametrize(
    ("mean", "true_mean", "expected"),
    [(1.0, 2.0, "right"), (-1.0, -2.0, "right"), (1.0, -2.0, "wrong"), (0.0, 2.0, "unclear"), (1.0, 0.0, "unknown")],
)
def test_signs_are_told_only_where_both_means_are_known(mean, true_mean, expected):
    rng = np.random.default_rng(0)
    samples, truth = (rng.normal(size=(count, 1)) for count in (60, 40))
    samples, truth = samples - samples.mean(0) + mean, truth - truth.mean(0) + true_mean
    entry = verdict(samples, truth)
    assert entry["critics"]["own_critic"]["single_step"]["discount"]["sign"] == expected


def test_each_horizon_is_held_against_its_own_truth():
    rng = np.random.default_rng(1)
    means = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    gradients = means + 0.01 * rng.normal(size=(50, 3, 2))
    lifetimes = means[[0, 2]] + 0.01 * rng.normal(size=(30, 2, 2))
    first, last = truth_lib.describe({"outer_critic": gradients}, lifetimes, (1, 3), ("discount", "lambda"))["truth"]
    assert first["critics"]["outer_critic"]["single_step"]["total"]["cosine"]["estimate"] > 0.99
    multi_step, mixing = (last["critics"]["outer_critic"][name] for name in ("multi_step", "mixing"))
    assert multi_step["total"]["cosine"]["estimate"] > 0.99
    assert multi_step["lambda"]["sign"] == "right"
    assert abs(mixing["total"]["cosine"]["estimate"]) < 0.1  # the mean of the three, (1/3, 0)


def test_a_study_that_was_killed_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    arguments = [*SMALL, *STUDY, "--meta_params=discount,value_cost", "--at_discounts=0.8"]
    save, saved = np.save, []

    def save_once(stream, chunk):
        if saved:
            raise RuntimeError
        saved.append(chunk)
        save(stream, chunk)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", save_once)
        with pytest.raises(RuntimeError):
            study(*arguments, f"--logdir={tmp_path / 'killed'}")
    assert [file.name for file in (tmp_path / "killed").rglob("*.npy")] == ["00000000.npy"]
    assert not study(*arguments, f"--logdir={tmp_path / 'killed'}")
    assert not study(*arguments, f"--logdir={tmp_path / 'whole'}")
    killed, whole = (results(tmp_path / name)["points"][POOR] for name in ("killed", "whole"))
    assert killed | {"checkpoint": None} == whole | {"checkpoint": None}


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
    assert "late after 400 steps: discount" in printed


@pytest.mark.parametrize(("flags", "exact"), [([], True), (["--noexact_targets"], False)])
def test_what_a_study_of_checkpoints_leaves_open_is_taken_from_the_flags(flags, exact, run):
    values = settings.define_flags()
    values(["variance", f"--checkpoint={run}", "--horizon=7", "--noouter_critic", *flags])
    with pytest.raises(UsageError, match="--outer_critic=False: must be left out, or True, as in"):
        settings.study_from_flags(values)
    values = settings.define_flags()
    values(["variance", f"--checkpoint={run}", "--horizon=7", "--meta_params=discount", *flags])
    study = settings.study_from_flags(values)
    assert (study.config.horizon, study.config.exact_targets) == (7, exact)
    assert study.names == ("discount",)
    assert study.config.meta_params == ("discount", "entropy_cost")


def test_samples_are_the_gradients_of_reverse_mode():
    agent = tabular.study_agent(8)
    problem = training.inner_problem(agent)
    states = jnp.asarray([0.5, 0.3, 0.2, 0.0])
    fixed = (actor_critic.init(agent.network, agent.optimizer, jnp.eye(4), jax.random.key(1)), states)
    eta = {"discount": jnp.float32(0.3), "lambda": jnp.float32(-0.2)}

    def start(fixed, key):
        return tabular.sampled_start(agent, *fixed, key)

    def losses(learner, batch):
        return {"twice": 2.0 * problem.outer_loss(learner, batch), "once": problem.outer_loss(learner, batch)}

    program = sampling.make_windows(
        problem._replace(outer_loss=losses), start, 3, ("lambda",), ("once", "twice"), jax.vmap
    )
    key = jax.random.key(5)
    gradients, twice = program(fixed, eta, key[None])[0]
    np.testing.assert_allclose(twice, 2.0 * gradients, rtol=1e-5)
    start_key, window_key = jax.random.split(key)
    position = start(fixed, start_key)
    reverse = jax.jit(functools.partial(windows.meta_gradient, problem, estimators.mixing(3)))
    expected, _, _ = reverse(eta, position, window_key)
    np.testing.assert_allclose(gradients[:, 0].mean(), expected["lambda"], rtol=1e-4)


TABULAR = ["--problem=tabular", "--horizon=2", "--num_samples=512", "--chunk_size=256"]


@pytest.fixture(scope="module")
def tables_folder(tmp_path_factory):
    """Where the tabular study's samples lie, once a test has drawn them."""
    return tmp_path_factory.mktemp("tables")


def test_the_tabular_study_converges_to_the_truth(tables_folder, capsys):
    assert not study(*TABULAR, f"--logdir={tables_folder}")
    content = results(tables_folder)
    assert [entry["num_envs"] for entry in content["convergence"]] == [4, 4, 16, 16, 64, 64, 256, 256]
    for entry in content["convergence"][-2:]:
        for name in ("discount", "lambda"):
            low, high = entry["bias"][name]["ci95"]
            assert abs(entry["bias"][name]["estimate"]) < high - low  # four standard errors
            assert entry["coverage"][name] >= 0.75  # of 8 studies
            exact = content["exact"]["expected_updates"][name][entry["horizon"] - 1]
            assert entry["exact"][name] == exact
    assert content["variance_ratio"]["discount"]["ci95"][0] > 1.0
    printed = capsys.readouterr().out
    assert "coverage" in printed
    assert printed.endswith(f"{tables.answer(content['summary'])}\n")
    assert "times less; at equal scale" in content["summary"]["answers"]["256_environments"]["in_words"]


def test_the_tabular_truth_is_exact(tables_folder):
    assert not study(*TABULAR, "--reference=return", f"--logdir={tables_folder}")
    (point,) = results(tables_folder)["points"].values()
    entry = point["truth"][-1]
    for place, name in enumerate(("discount", "lambda")):
        assert entry["truth"][name]["estimate"] == pytest.approx(point["exact"]["return"][name][1], rel=1e-5), place
    assert entry["critics"]["own_critic"]["multi_step"]["discount"]["sign"] == "right"


def test_analysis_is_undetermined_where_there_is_no_signal():
    noise = np.random.default_rng(1).normal(size=(64, 3, 2))
    result = analysis.analyse(noise - noise.mean(0), ("discount", "lambda"), None)
    assert result["noise_ratio"]["total"] == {"estimate": None, "ci95": [None, None]}
    assert result["variance_ratio"]["total"]["estimate"] > 1.0


def test_analysis_tells_bias_from_the_reference():
    noise = np.random.default_rng(2).normal(size=(400, 2, 2))
    gradients = noise * 0.1 + np.array([[1.0, 0.0], [1.0, 1.0]])
    result = analysis.analyse(gradients, ("discount", "lambda"), np.ones((400, 2)))
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
        (["--chunk_size=5"], "--chunk_size=5: must be below 5, since the memory does not hold so many windows at once"),
        (["--chunk_size=1"], "--horizon=5: must be below 5, since the memory does not hold so long a window"),
    ],
)
def test_too_small_a_memory_is_one_line_that_names_the_flag(arguments, complaint, tmp_path, monkeypatch, capsys):
    def exhausted(*_):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."
        )

    monkeypatch.setattr(sampling, "draw", exhausted)
    arguments = ["--problem=tabular", "--horizon=5", *arguments, f"--logdir={tmp_path}"]
    assert command_line.run(variance, *arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1] == complaint


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
        (["--burn_in=2147483648"], "--burn_in=2147483648: must be at least 0 and below 2^31"),
        (["--at_discounts=0.8,1.2"], "--at_discounts=1.2: must be in (0, 1)"),
        (["--at_discounts=0.8,x"], "--at_discounts=0.8,x: must be a comma list"),
        (["--at_env_steps=400,400"], "--at_env_steps=400,400: must be a comma list, without repetition"),
        (["--at_env_steps=641"], "--at_env_steps=641: must be a multiple of"),
        (["--reference=luck"], "--reference=luck: must be one of multi_step, return"),
        (["--num_lifetimes=8"], "--num_lifetimes=8: must be left out with --reference=multi_step"),
        (["--reference=return", "--num_lifetimes=7"], "--num_lifetimes=7: must be at least 8"),
        (["--reference=return", "--perturbation=0"], "--perturbation=0.0: must be in (0, 10]"),
        (["--problem=tabular", "--at_env_steps=400"], "--at_env_steps=400: must be left out with --problem=tabular"),
        (["--checkpoint=RUN", "--at_discounts=0.9"], "--at_discounts=0.9: must be left out with --checkpoint"),
        (
            ["--checkpoint=RUN", "--outer_discount=0.9"],
            "--outer_discount=0.9: must be left out, or 0.999, which the run's",
        ),
        (["--checkpoint=RUN", "--outer_lambda=0.5"], "--outer_lambda=0.5: must be left out, or 1.0, which the run's"),
        (["--seed_index=1"], "--seed_index=1: must be left out with no --checkpoint"),
        (["--problem=tabular", "--board_size=8"], "--board_size=8: must be left out with --problem=tabular"),
        (["--problem=tabular", "--meta_params=discount"], "--meta_params=discount: must be left out"),
        (["--checkpoint=nowhere"], "--checkpoint=nowhere: must be the folder of a training run"),
        (["--checkpoint=RUN", "--board_size=8"], "--board_size=8: must be left out, or 3, as in"),
        (["--checkpoint=RUN", "--num_channels=8"], "--num_channels=8: must be left out, or 4, as in"),
        (["--checkpoint=RUN", "--meta_params=lambda"], "--meta_params=lambda: must be among"),
        (["--checkpoint=RUN", "--meta_params=discount,discount"], "--meta_params=discount,discount: must be among"),
        (["--meta_learning_rate_halving=7"], "Unknown command line flag 'meta_learning_rate_halving'"),
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

    return sampling.Point("late", {}, ("own_critic",), program, None, jnp.float32(learner), {}, {})


def draw(point, folder, num_samples=8, chunk_size=4, seed=0):
    return sampling.draw(
        point, point.windows, jax.random.key(seed), num_samples, chunk_size, folder, lambda count: None
    )


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


def _damage(file, how):
    content = file.read_bytes()
    if how == "cut":
        file.write_bytes(content[:-3])
    elif how == "garbage":
        file.write_bytes(b"no samples at all")
    elif how == "empty":
        file.write_bytes(b"")
    else:
        chunk = np.load(file)
        np.save(file, {"nan": chunk * np.nan, "shape": chunk[:, :1], "text": chunk.astype(str), "none": chunk[:0]}[how])


@pytest.mark.parametrize("how", ["cut", "garbage", "empty", "nan", "shape", "text", "none"])
def test_a_damaged_file_of_samples_is_refused_by_name(how, tmp_path):
    draw(fake_point(), tmp_path)
    file = tmp_path / "00000004.npy"
    _damage(file, how)
    with pytest.raises(UsageError, match=f"{file}: is not a file of samples"):
        draw(fake_point(), tmp_path)
    file.unlink()
    draw(fake_point(), tmp_path)


def test_a_gradient_that_is_not_finite_stops_the_study(tmp_path):
    draw(fake_point(), tmp_path, num_samples=4)
    with pytest.raises(divergence.NonFiniteError, match="sample 4 at late"):
        draw(fake_point(gradient=jnp.nan), tmp_path)
    assert len(list(tmp_path.glob("*.npy"))) == 1


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_all_meta_parameters_and_odd_numbers_are_shown(scale, figures):
    names = tuple(INTERVALS)
    gradients = scale * np.random.default_rng(3).normal(size=(16, 2, len(names)))
    gradients[..., 0] = 0.0
    nothing = analysis.analyse(np.zeros_like(gradients), names, None)
    point = analysis.analyse(gradients, names, None)
    point["variance_ratio"]["total"]["ci95"] = [9.0, 10.0]  # not around its estimate, which can happen
    content = {
        "problem": "snake",
        "reference_is": "multi_step",
        "horizon": 2,
        "num_samples": 16,
        "meta_params": list(names),
        "points": {
            name: {"hyperparameters": dict.fromkeys(names, 0.5), **one}
            for name, one in (("late", point), ("dead", nothing))
        },
    }
    answer_picture.draw(content, "variance.png")
    details_picture.draw(content, "variance_details.png")
    assert [len(figure.axes) for figure in figures] == [2, 12]
    printed = tables.describe(content)
    assert "not determined" in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_committed_studies_can_be_drawn(figures):
    """The truth of nine agents, which is the largest study, and all panels of the tabular one."""
    truth_picture.draw(json.loads((RESULTS / "truth.json").read_text()), "truth.png")
    tabular_study = json.loads((RESULTS / "variance_tabular.json").read_text())
    details_picture.draw({"reference_is": "multi_step", **tabular_study}, "variance_details.png")
    assert [len(figure.axes) for figure in figures] == [3, 9]


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


def test_the_order_of_the_settings_in_a_folder_does_not_matter_but_that_of_its_agents(tmp_path):
    """Another version may write them in another order; the keys of an agent's samples depend on its place."""
    values = settings.define_flags()
    values(["variance", *SMALL])
    asked = settings.study_from_flags(values)
    file = variance.open_folder(str(tmp_path), asked) / variance.STUDY
    content = json.loads(file.read_text())

    def turned(key):
        return json.dumps(content | {key: dict(reversed(content[key].items()))})

    file.write_text(turned("config"))
    assert variance.open_folder(str(tmp_path), asked) == tmp_path
    file.write_text(turned("trained"))
    with pytest.raises(UsageError, match="a study with the same settings"):
        variance.open_folder(str(tmp_path), asked)


def test_samples_of_other_studies_do_not_mix():
    """What a folder does not ask for again is what its samples do not depend on."""
    values = settings.define_flags()
    values(["variance", *SMALL])
    asked = settings.study_from_flags(values)
    left_out = set(asked._fields) - set(asked.determining())
    assert left_out == {"num_samples", "num_lifetimes", "reference", "chunk_size"}


def test_a_full_disk_stops_a_study_in_one_line(tmp_path, monkeypatch):
    def full(stream, chunk):
        raise OSError("2400 requested and 9 written")  # as NumPy says it, without a number

    monkeypatch.setattr(np, "save", full)
    drawn = sampling.Point("late", {}, (), None, None, (), {}, {})
    with pytest.raises(WriteError, match=r"cannot be written to \(2400 requested and 9 written\); what was complete"):
        sampling.draw(drawn, lambda *_: np.ones((4, 1)), jax.random.key(0), 8, 4, tmp_path / "late", lambda _: None)


def test_a_folder_knows_an_agent_by_its_environments_keys_too(tmp_path):
    points = [sampling.Point("late", {}, (), None, None, (jax.random.key(seed),), {}, {}) for seed in (0, 1)]
    for _ in range(2):
        sampling._claim(tmp_path, points[0], jax.random.key(5))
    with pytest.raises(UsageError, match="holds samples of another agent"):
        sampling._claim(tmp_path, points[1], jax.random.key(5))


@pytest.mark.parametrize(
    ("ends", "arrow"), [((-2.0, -1.0), "↑"), ((1.0, 2.0), "↓"), ((-1.0, 1.0), "?"), ((None,) * 2, "?")]
)
def test_arrows_point_to_where_the_return_rises(ends, arrow):
    """The truth is a gradient of minus the return."""
    assert truth_picture._arrow({"ci95": list(ends)}) == arrow


def test_mixing_gains_by_shorter_horizons_and_by_averaging():
    """Horizons with deviations of 1, 2 and 6 that do not depend on one another."""
    gradients = np.random.default_rng(0).normal(size=(4_000, 3, 1)) * np.array([1.0, 2.0, 6.0])[:, None]
    found = analysis._mixing_reduction(gradients, ("discount",))["discount"]
    assert found["shorter_horizons"]["estimate"] == pytest.approx((1 + 4 + 36) / 3 / 36, rel=0.05)
    assert found["averaging"]["estimate"] == pytest.approx(1 / 3, rel=0.05)
