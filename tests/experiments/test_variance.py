"""The variance study from flags to files, in miniature."""

import json
import pathlib
import shutil

import command_line
import jax
import numpy as np
import pytest

from agents import tabular
from agents.hyperparameters import BIJECTIONS
from experiments import variance as command
from experiments.config.ranges import UsageError
from experiments.config.settings import Config
from experiments.runs.training import train
from experiments.studies.variance import analysis, pictures, sampling, tabular_points, text, truth_picture
from experiments.studies.variance.settings import TABULAR_NAMES, make_study
from experiments.studies.variance.study import STUDY, variance

AGENT = {"num_envs": 4, "rollout_length": 5, "num_channels": 4, "policy_width": 8, "value_width": 8}
CODE = {"environment": "tables:process"}
SMALL = AGENT | CODE | {"at_env_steps": [400], "meta_params": ["discount", "value_cost"]}
STUDY_SIZE = {"horizon": 3, "chunk_size": 4, "burn_in": 2, "num_samples": 8}
RESULTS = pathlib.Path(__file__).parents[2] / "results"
POOR, GOOD = "discount_0.8_steps_400", "discount_0.97_steps_400"


def study(logdir, *arguments, **settings):
    """Runs the command; returns its exit status."""
    flags = {name: ",".join(map(str, it)) if isinstance(it, list) else it for name, it in settings.items()}
    return command_line.run(
        command, *(f"--{name}={it}" for name, it in flags.items()), *arguments, f"--logdir={logdir}"
    )


def results(folder):
    return json.loads((folder / "variance.json").read_text())


def on_disk(folder):
    return np.concatenate([np.load(file) for file in sorted(folder.glob("*.npy"))]).astype(np.float64)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study of agents that it trains itself."""
    folder = tmp_path_factory.mktemp("trained")
    assert not study(folder, **SMALL, **STUDY_SIZE)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training run that tunes two hyperparameters."""
    folder = tmp_path_factory.mktemp("run")
    budget = {"environment": "tables:process", "num_seeds": 2, "num_env_steps": 400}
    train(Config(estimator="single_step", meta_params=("discount", "entropy_cost"), **AGENT, **budget), folder)
    return folder


def test_a_study_covers_a_low_and_a_high_discount_with_the_documented_numbers(trained):
    content = results(trained)
    assert next(iter(content)) == "summary"
    assert len((trained / "variance.json").read_text().splitlines()) < 300  # what is for programs is not in the way
    assert list(content["points"]) == [POOR, GOOD]
    assert (content["point"], content["num_samples"], content["horizon"]) == (POOR, 8, 3)
    for name, discount in ((POOR, 0.8), (GOOD, 0.97)):
        point = content["points"][name]
        assert point["hyperparameters"]["discount"] == pytest.approx(discount)
        assert json.loads((trained / f"train_{name}" / "config.json").read_text())["flags"]["discount"] == discount
        assert (point["env_steps"], point["critic"]) == (400, "outer_critic")
        assert point["episodes"]["length"] >= 1.0
        for ratio in ("variance_ratio", "noise_ratio", "mixing_reduction"):
            assert set(point[ratio]) == {"discount", "value_cost", "total"}
        # One update of the critic does not touch the policy, which alone the outer loss sees.
        unseen = point["estimators"]["single_step"]["value_cost"]
        assert unseen["variance"] == {"estimate": 0.0, "ci95": [None, None]}
        assert unseen["snr"]["estimate"] is None
    for picture in ("variance.png", "variance_details.png"):
        assert (trained / picture).read_bytes().startswith(b"\x89PNG")


def test_the_numbers_are_those_of_the_samples_on_disk(trained):
    outer = results(trained)["points"][POOR]
    drawn = on_disk(trained / "samples" / POOR)
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


def test_more_samples_and_the_truth_go_on_from_what_is_on_disk(trained):
    def snapshot():
        return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in trained.rglob("*.npy")}

    before = snapshot()
    asked = json.loads((trained / STUDY).read_text())
    for config in (asked["config"], *asked["trained"].values()):
        del config["evolution_pairs"]  # which came later
    (trained / STUDY).write_text(json.dumps(asked))
    more = SMALL | STUDY_SIZE | {"num_samples": 12, "reference": "return", "num_lifetimes": 16}
    assert not study(trained, **more)
    after = snapshot()
    assert (len(before), len(after)) == (4, 6 + 4)
    assert before.items() <= after.items()
    content = results(trained)
    assert (content["num_samples"], content["reference_is"]) == (12, "return")
    assert (trained / "truth.png").exists()
    for name, described in content["points"].items():
        lifetimes = on_disk(trained / "lifetimes" / name)
        assert lifetimes.shape == (16, 2, 2)  # at horizons 1 and 3
        assert described["num_lifetimes"] == 16
        assert [entry["horizon"] for entry in described["truth"]] == [1, 3]
        for place, entry in enumerate(described["truth"]):
            assert entry["truth"]["discount"]["estimate"] == pytest.approx(lifetimes[:, place, 0].mean(), rel=1e-5)
        evolution = described["estimators"]["evolution"]["discount"]["variance"]["estimate"]
        assert evolution == pytest.approx(lifetimes[:, -1, 0].var(ddof=1), rel=1e-5)


def test_another_study_may_not_go_on_in_the_same_folder(trained, capsys):
    assert study(trained, **SMALL | STUDY_SIZE | {"meta_params": ["discount"]}) == 2
    assert "one of a study with the same settings" in capsys.readouterr().err
    file = trained / STUDY
    original = file.read_text()
    content = json.loads(original)
    file.write_text(json.dumps(content | {"trained": dict(reversed(content["trained"].items()))}))
    assert study(trained, **SMALL | STUDY_SIZE) == 2  # the keys of an agent's samples depend on its place
    file.write_text(original)


def test_samples_of_other_studies_do_not_mix():
    """What a folder does not ask for again is what its samples do not depend on."""
    asked = make_study(SMALL)
    left_out = set(vars(asked)) - set(asked.determining()) - {"checkpoint", "at_discounts", "at_env_steps"}
    assert left_out == {"num_samples", "num_lifetimes", "reference", "chunk_size", "estimators"}
    assert {"run", "trained"} <= set(asked.determining())  # what the others are there as


def test_checkpoints_are_studied_from_early_to_late(run, tmp_path, capsys):
    # A setting that is the run's own may be said again.
    chosen = STUDY_SIZE | CODE | {"num_envs": 4, "meta_params": ["discount"], "seed_index": 1}
    assert not study(tmp_path, checkpoint=run, **chosen)
    points = results(tmp_path)["points"]
    assert list(points) == ["early", "middle", "late"]
    steps = [point["env_steps"] for point in points.values()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 400
    assert {point["seed"] for point in points.values()} == {1}
    # The other meta-parameter stays where the run had moved it to.
    assert len({point["hyperparameters"]["entropy_cost"] for point in points.values()}) == 3
    assert "late after 400 steps: discount" in capsys.readouterr().out
    asked = make_study({**CODE, "checkpoint": run, "horizon": 7, "exact_targets": False})
    assert (asked.config.horizon, asked.config.exact_targets) == (7, False)
    assert asked.names == asked.config.meta_params == ("discount", "entropy_cost")


TABLES = {"problem": "tabular", "horizon": 2, "num_samples": 512, "chunk_size": 256}


def test_the_tabular_study_converges_to_the_exact_truth_and_goes_on_from_python(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tabular_points, "BATCHES", (4, 256))
    assert not study(tmp_path, **TABLES)
    content = results(tmp_path)
    assert content["meta_params"] == list(TABULAR_NAMES) == list(tabular.study_agent(1).tuning.tuned)
    assert [entry["num_envs"] for entry in content["convergence"]] == [4, 4, 256, 256]
    for entry in content["convergence"][-2:]:
        for name in TABULAR_NAMES:
            low, high = entry["bias"][name]["ci95"]
            assert abs(entry["bias"][name]["estimate"]) < high - low  # four standard errors
            assert entry["coverage"][name] >= 0.75  # of 8 studies
            assert entry["exact"][name] == content["exact"]["expected_updates"][name][entry["horizon"] - 1]
    assert content["variance_ratio"]["discount"]["ci95"][0] > 1.0
    assert capsys.readouterr().out.endswith(f"{text.answer(content['summary'])}\n")
    assert "times less; at equal scale" in content["summary"]["answers"]["256_environments"]["in_words"]
    drawn = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npy")}
    (point,) = variance(tmp_path, quiet=True, reference="return", **TABLES)["points"].values()
    assert drawn == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.npy")}
    entry = point["truth"][-1]
    for name in TABULAR_NAMES:
        assert entry["truth"][name]["estimate"] == pytest.approx(point["exact"]["return"][name][1], rel=1e-5)
    assert entry["critics"]["own_critic"]["multi_step"]["discount"]["sign"] == "right"


def test_analysis_tells_bias_from_the_reference_and_knows_when_there_is_no_signal():
    noise = np.random.default_rng(2).normal(size=(100, 2, 2))
    gradients = noise * 0.1 + np.array([[1.0, 0.0], [1.0, 1.0]])
    result = analysis.analyse(gradients, ("discount", "lambda"), np.ones((100, 2)))
    single, multi = (result["estimators"][name] for name in ("single_step", "multi_step"))
    assert single["lambda"]["bias"]["ci95"][1] < -0.9
    assert abs(multi["lambda"]["bias"]["estimate"]) < 0.04
    assert single["total"]["cosine"]["estimate"] == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert multi["total"]["cosine"]["estimate"] == pytest.approx(1.0, abs=0.01)
    assert multi["discount"]["sign_agreement"]["estimate"] > 0.99
    decays = [entry["total"]["cosine"]["estimate"] for entry in result["mixing_decays"]]
    assert decays == sorted(decays)
    result = analysis.analyse(noise - noise.mean(0), ("discount", "lambda"), None)
    assert result["noise_ratio"]["total"] == {"estimate": None, "ci95": [None, None]}


def test_mixing_gains_by_shorter_horizons_and_by_averaging():
    """Horizons with deviations of 1, 2 and 6 that do not depend on one another."""
    gradients = np.random.default_rng(0).normal(size=(2_000, 3, 1)) * np.array([1.0, 2.0, 6.0])[:, None]
    found = analysis.reduction(gradients, ("discount",))["discount"]
    assert found["shorter_horizons"]["estimate"] == pytest.approx((1 + 4 + 36) / 3 / 36, rel=0.05)
    assert found["averaging"]["estimate"] == pytest.approx(1 / 3, rel=0.05)


@pytest.mark.parametrize(
    ("at_equal_scale", "words"),
    [
        ((3.0, 2.0, 4.0), "raw 30 [20, 40] times less; at equal scale 3 [2, 4] times less."),
        ((0.5, 0.25, 0.8), "at equal scale 2 [1.25, 4] times more."),
        ((0.9, 0.5, 1.5), "not determined (ratio 0.9 [0.5, 1.5]), discount alone 2 [1.5, 3] times less."),
    ],
)
def test_how_much_less_variance_mixing_has_is_told_in_words(at_equal_scale, words):
    ratios = {"discount": (2.0, 1.5, 3.0), "lambda": (2.0, 0.9, 3.0), "total": at_equal_scale}
    noise = {name: {"estimate": estimate, "ci95": ends} for name, (estimate, *ends) in ratios.items()}
    point = {"variance_ratio": {"total": {"estimate": 30.0, "ci95": [20.0, 40.0]}}, "noise_ratio": noise}
    summary = text.summarize({"horizon": 10, "num_samples": 64, "points": {"late": point}})
    assert words in summary["answers"]["late"]["in_words"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--num_samples=7"], "--num_samples=7: must be at least 8"),
        (["--horizon=1"], "--horizon=1: must be at least 2"),
        (["--meta_params=discount,luck"], "--meta_params=discount,luck"),
        (["--num_envs=0"], "--num_envs=0: must be at least 1"),
        (["--at_discounts=0.8,1.2"], "--at_discounts=0.8,1.2: must be a comma list, without repetition, of numbers in"),
        (["--at_discounts=0.8,x"], "--at_discounts=0.8,x: could not convert string to float: 'x'"),
        (["--at_env_steps=641"], "--at_env_steps=641: must be a multiple of"),
        (["--problem=tabular", "--at_env_steps=400"], "--at_env_steps=400: must be left out with --problem=tabular"),
        (["--seed_index=1"], "--seed_index=1: must be left out with no --checkpoint"),
        (["--checkpoint=nowhere"], "--checkpoint=nowhere: must be the folder of a training run"),
        (["--checkpoint=RUN", "--outer_lambda=0.5"], "--outer_lambda=0.5: must be left out, or 1.0, as in"),
        (["--checkpoint=RUN", "--noouter_critic"], "--outer_critic=False: must be left out, or True, as in"),
        (["--checkpoint=RUN", "--seed_index=2"], "--seed_index=2: must be in [0, 1]"),
        (["--checkpoint=BARE"], "--num_checkpoints=3: must be at most"),
    ],
)
def test_bad_input_is_one_line_with_status_2(arguments, complaint, run, tmp_path, capsys):
    shutil.copy(run / "config.json", tmp_path)  # without checkpoints
    places = [argument.replace("RUN", str(run)).replace("BARE", str(tmp_path)) for argument in arguments]
    code = {} if places == arguments else CODE
    assert study(tmp_path / "new", *places, **code) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("settings", [{"num_samples": 3}, {"colour": "red"}, {"preset": "huge"}, {"discount": 0.9}])
def test_a_study_from_python_is_checked_too(settings):
    with pytest.raises(UsageError, match=f"^{next(iter(settings))}="):
        variance(**settings)


def test_too_small_a_memory_is_one_line_that_names_the_flag(tmp_path, monkeypatch, capsys):
    def exhausted(*_):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."
        )

    monkeypatch.setattr(sampling, "draw", exhausted)
    for chunk_size, complaint in ((5, "--chunk_size=5: must be below 5"), (1, "--horizon=5: must be below 5")):
        folder = tmp_path / str(chunk_size)
        assert study(folder, problem="tabular", horizon=5, chunk_size=chunk_size) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith(complaint)


def test_all_meta_parameters_and_odd_numbers_are_shown(figures):
    names = tuple(BIJECTIONS)
    gradients = np.random.default_rng(3).normal(size=(16, 2, len(names)))
    gradients[..., 0] = 0.0
    point, nothing = (analysis.analyse(scale * gradients, names, None) for scale in (1.0, 0.0))
    point["variance_ratio"]["total"]["ci95"] = [9.0, 10.0]  # not around its estimate, which can happen
    point["estimators"] |= dict.fromkeys(("bootstrapped_2+1", "own_estimators:alike"), point["estimators"]["mixing"])
    point["env_steps_of_a_sample"] = {"single_step": 1, "multi_step": 2, "mixing": 2, "bootstrapped_2+1": 30}
    shown = {
        name: one | {"hyperparameters": dict.fromkeys(names, 0.5)} for name, one in (("late", point), ("dead", nothing))
    }
    content = {"problem": "snake", "reference_is": "multi_step", "meta_params": list(names), "points": shown}
    content |= {"horizon": 2, "num_samples": 16}
    assert pictures.draw(content, pathlib.Path()) == ["variance.png", "variance_details.png"]
    assert [len(figure.axes) for figure in figures] == [2, 12]
    printed = text.describe(content)
    assert "not determined" in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_committed_studies_can_be_drawn(figures):
    """The truth of nine agents, which is the largest study, and all panels of the tabular one."""
    truth_picture.draw_truth(json.loads((RESULTS / "truth.json").read_text()), "truth.png")
    tabular_study = json.loads((RESULTS / "variance_tabular.json").read_text())
    pictures.draw_details({"reference_is": "multi_step", **tabular_study}, "variance_details.png")
    assert [len(figure.axes) for figure in figures] == [3, 8]


def test_arrows_point_to_where_the_return_rises():
    """The truth is a gradient of minus the return."""
    intervals = ((-2.0, -1.0), (1.0, 2.0), (-1.0, 1.0), (None, None))
    assert [truth_picture.arrow({"ci95": list(ends)}) for ends in intervals] == ["↑", "↓", "?", "?"]
