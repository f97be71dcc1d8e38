"""The commands from flags to files, in miniature."""

import csv
import dataclasses
import functools
import json
import shutil
import signal
import subprocess
import sys

import command_line
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tables

from agents import training
from experiments import compare, curves, plots, run_folder, train
from experiments import config as config_lib
from experiments.building import init_seeds, make_agent, make_weights
from experiments.config import EXECUTION, Config, Execution, UsageError
from metagrad import estimators, meta_parameters

TRAINING = [
    "--num_seeds=2",
    "--num_envs=4",
    "--rollout_length=5",
    "--horizon=2",
    "--num_env_steps=400",
    "--num_channels=4",
    "--policy_width=8",
    "--value_width=8",
]
SMALL = [*TRAINING, "--board_size=3x4", "--time_limit=50"]
TABLES = [*TRAINING, "--environment=tables:process"]
"""Compiles in half the time, for tests that do not depend on the game."""


def test_ctrl_c_while_compiling_is_one_line(tmp_path):
    command = [sys.executable, "-m", "experiments.train", *SMALL, f"--logdir={tmp_path / 'run'}"]
    command.append("--compilation_cache=none")  # no time to stop it otherwise
    # A shell starts what runs in its background deaf to Ctrl-C, and these tests may run there.
    listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=listen) as process:
        printed = ""
        while "compiling" not in printed:
            printed += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        printed += process.stderr.read()
    assert process.returncode == 130
    assert printed.splitlines()[-1] == "stopped; the same command goes on from here"
    assert "Traceback" not in printed


def _rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "mixing"
    assert not command_line.run(train, *SMALL, "--estimator=mixing", f"--logdir={folder}")
    return folder


def test_train_writes_every_file(run):
    names = {path.name for path in run.iterdir()}
    assert {"config.json", "metrics.csv", "checkpoint", "train.png"} <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    assert (run / "train.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_are_tidy(run):
    rows = _rows(run)
    tuned = ["discount", "lambda", "entropy_cost"]
    assert list(rows[0]) == [
        "env_steps",
        "seed",
        "episode_return",
        "episode_length",
        *(f"hyper/{name}" for name in tuned),
        *(f"meta_grad/{name}" for name in tuned),
        "loss/entropy",
        "loss/policy",
        "loss/value",
    ]
    assert [(int(row["env_steps"]), int(row["seed"])) for row in rows] == [
        (steps, seed) for steps in range(40, 401, 40) for seed in (0, 1)
    ]
    columns = run_folder.read_metrics(run)
    assert columns["hyper/discount"].shape == (10, 2)
    assert np.all(np.isfinite(columns["meta_grad/discount"]))


def test_settings_come_back_from_the_folder(run):
    config = config_lib.load(run / "config.json")
    assert config.board_size == "3x4"
    assert config.lambda_ == Config().lambda_
    assert config.meta_params == Config().meta_params


def test_checkpoints_hold_the_whole_training_state(run):
    config = config_lib.load(run / "config.json")
    steps = run_folder.checkpoint_steps(run)
    assert steps[-1] == 400
    assert len(steps) > 1
    state = init_seeds(make_agent(config), config)
    restored = run_folder.read_checkpoint(run, 400, state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert np.all(np.asarray(restored.num_updates) == 400 // (4 * 5))
    assert restored.key.dtype == state.key.dtype
    last = {name: run_folder.read_metrics(run)[f"hyper/{name}"][-1] for name in config.meta_params}
    hyper = train.meta_parameters.hyperparameters(make_agent(config).tuning, restored.eta)
    for name, values in last.items():
        np.testing.assert_allclose(hyper[name], values, rtol=1e-6)


def test_the_same_flags_give_the_same_metrics_to_the_bit(run, tmp_path):
    assert not command_line.run(train, *SMALL, "--estimator=mixing", f"--logdir={tmp_path}/again")
    assert (tmp_path / "again" / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()


def test_compare_writes_its_files_and_a_table(tmp_path, capsys):
    arguments = ["--meta_params=discount,learning_rate", "--baseline=discount:0.5,lambda:0.3"]
    assert not command_line.run(compare, *TABLES, *arguments, f"--logdir={tmp_path}/all")
    folder = tmp_path / "all"
    printed = capsys.readouterr().out
    comparison = json.loads((folder / "compare.json").read_text())
    assert comparison["env_steps"] == 400
    assert comparison["num_seeds"] == 2
    assert comparison["num_grid_seeds"] == 0
    assert comparison["wall_seconds"] > 0
    assert list(comparison["estimators"]) == ["none", "single_step", "multi_step", "mixing", "baseline"]
    assert config_lib.load(folder / "baseline" / "config.json").lambda_ == 0.3
    for estimator, result in comparison["estimators"].items():
        assert estimator in printed
        assert (folder / estimator / "metrics.csv").exists()
        last_tenth = [
            float(row["episode_return"] or "nan") for row in _rows(folder / estimator) if int(row["env_steps"]) > 360
        ]
        # A seed in which no episode ended has no part in the mean.
        measured = [np.mean(ended) for seed in (0, 1) if (ended := [x for x in last_tenth[seed::2] if np.isfinite(x)])]
        expected = pytest.approx(np.mean(measured), rel=1e-5) if measured else None
        assert result["final_return"]["estimate"] == expected
        tuned = [] if estimator in ("none", "baseline") else ["discount", "learning_rate"]
        assert list(result["meta_grad_std"]) == tuned
        assert result.get("meta_learning_rate") == (0.01 if tuned else None)
        for name, deviation in result["meta_grad_std"].items():
            samples = run_folder.read_metrics(folder / estimator)[f"meta_grad/{name}"]
            expected = np.sqrt(np.mean(np.var(samples, axis=1, ddof=1)))
            np.testing.assert_allclose(deviation["estimate"], expected, rtol=1e-5)  # files have six digits
            assert deviation["ci95"] == [None, None]  # two seeds are too few
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")


def test_estimators_with_other_settings_train(tmp_path):
    arguments = ["--mixing_weights=geometric", "--optimizer=rmsprop", "--num_seeds=1", "--meta_params=value_cost"]
    outer = ["--outer_value_cost=0.5", "--outer_entropy_cost=0.01", "--shared_torso"]
    assert not command_line.run(train, *TABLES, *arguments, *outer, f"--logdir={tmp_path}/other")
    config = config_lib.load(tmp_path / "other" / "config.json")
    assert make_weights(config) == pytest.approx((1 / 1.8, 0.8 / 1.8))


def test_numbers_that_are_not_finite_stop_the_run(tmp_path, capsys):
    status = command_line.run(train, *TABLES, "--estimator=none", "--learning_rate=1e38", f"--logdir={tmp_path}/broken")
    assert "parameters of seed 0 was not finite at environment step 20 (update 1)" in status
    assert (tmp_path / "broken" / "config.json").exists()
    assert (tmp_path / "broken" / "metrics.csv").exists()


BAD = [
    ("--meta_params=discount,warmth", "--meta_params=discount,warmth: must be a comma list"),
    ("--meta_params=", "--meta_params=: must be a comma list"),
    ("--meta_params=lambda,lambda", "--meta_params=lambda,lambda: must be a comma list, without repetition"),
    ("--horizon=0", "--horizon=0: must be at least 1"),
    ("--discount=1.0", "--discount=1.0: must be in (0, 1)"),
    ("--discount=nan", "--discount=nan: must be in (0, 1)"),
    ("--lambda=1.5", "--lambda=1.5: must be in [0, 1]"),
    ("--lambda=1", "--lambda=1.0: must be in (0, 1) to be tuned"),
    ("--lambda=0.99999999", "--lambda=0.99999999: must be in (0, 1) to be tuned"),  # 1 in single precision
    ("--entropy_cost=0", "--entropy_cost=0.0: must be in (0, inf) to be tuned"),
    ("--board_size=1", "--board_size=1: must be a number N or ROWSxCOLS, each in [2, 32]"),
    ("--board_size=6x33", "--board_size=6x33: must be"),
    ("--board_size=big", "--board_size=big: must be"),
    ("--num_seeds=0", "--num_seeds=0: must be at least 1"),
    (
        "--num_env_steps=399",
        "--num_env_steps=399: must be a multiple of num_envs × rollout_length × horizon = 40,",
    ),
    ("--num_env_steps=0", "--num_env_steps=0: must be at least 1"),
    ("--time_limit=0", "--time_limit=0: must be at least 1"),
    ("--learning_rate=0", "--learning_rate=0.0: must be positive"),
    ("--learning_rate=1e39", "--learning_rate=1e+39: must be positive"),
    ("--discount=0.999999999", "--discount=0.999999999: must be in (0, 1)"),
    ("--seed=2147483647", "--seed=2147483647: must be at most 2^31 - --num_seeds (2)"),
    ("--time_limit=2147483648", "--time_limit=2147483648: must be at least 1 and below 2^31"),
    ("--num_env_steps=10000000000000", "--num_env_steps=10000000000000: must be below 2^31"),
    ("--mixing_decay=1.5", "--mixing_decay=1.5: must be in (0, 1]"),
    ("--preset=huge", "preset"),
    ("--horizon=many", "horizon"),
    ("--colour=red", "colour"),
    ("stray", "stray"),
]
BAD_ESTIMATOR = ("--estimator=magic", "--estimator=magic: must be one of none, single_step, multi_step, mixing")


@pytest.mark.parametrize(
    ("command", "argument", "message"),
    [(command, *bad) for command in (train, compare) for bad in BAD] + [(train, *BAD_ESTIMATOR)],
)
def test_bad_input_is_one_line_and_status_2(command, argument, message, tmp_path, capsys):
    assert command_line.run(command, *SMALL, argument, f"--logdir={tmp_path}/run") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_logdir_that_holds_another_commands_results_is_refused(run, capsys):
    assert command_line.run(compare, *SMALL, f"--logdir={run}") == 2
    error = capsys.readouterr().err
    assert f"--logdir={run}: must be a new or empty folder" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("inside", ["file", "file/run"])
def test_a_logdir_that_cannot_be_written_to_is_refused(inside, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command_line.run(train, *SMALL, f"--logdir={tmp_path}/{inside}") == 2
    error = capsys.readouterr().err
    assert "must be a folder that can be written to" in error
    assert error.count("\n") == 1


def test_what_broke_first_is_named():
    never = np.array([-1, -1])
    summary = training.Summary(
        *[np.array(0)] * 4,
        loss_sums={},
        meta_gradient={},
        first_nonfinite={
            "loss/entropy": np.array([-1, 9]),
            "loss/value": np.array([-1, 8]),
            "meta_grad/discount": np.array([-1, 7]),
            "meta_grad/lambda": never,
            "parameters": np.array([-1, 7]),
        },
    )
    config = Config(seed=5, num_seeds=2, num_envs=10, rollout_length=3)
    assert train._divergences(config, summary) == {
        1: "meta_grad/discount of seed 6 was not finite at environment step 210 (update 7)"
    }
    assert train._divergences(config, summary._replace(first_nonfinite={"loss/value": never})) == {}


@pytest.mark.parametrize("command", [train, compare], ids=["train", "compare"])
def test_help_lists_every_flag(command, capsys):
    assert not command_line.run(command, "--help")
    printed = capsys.readouterr().out
    assert printed.startswith(command.__doc__)
    for field in (*dataclasses.fields(Config), *dataclasses.fields(Execution)):
        used = (command, field.name) != (compare, "estimator")  # it compares all of them
        assert (f"--{field.metadata['name'] or field.name}:" in printed.replace("[no]", "")) == used


def test_help_does_not_wait_for_what_only_runs_need():
    """A second each: the flags of a command are known without these."""
    heavy = ["matplotlib", "orbax", "rlax", "scipy.stats", "tensorboardX"]
    script = f"import sys, experiments.compare; print([name for name in {heavy} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded == "[]\n"


def test_a_missing_logdir_is_one_line(capsys):
    assert command_line.run(train, *SMALL) == 2
    assert "logdir" in capsys.readouterr().err


def test_flags_beat_the_preset(tmp_path):
    assert not command_line.run(train, "--preset=paper", *TABLES, "--estimator=none", f"--logdir={tmp_path}/run")
    config = config_lib.load(tmp_path / "run" / "config.json")
    assert config.num_seeds == 2  # the flag
    assert config.discount == config_lib.PRESETS["paper"]["discount"]  # the preset


def test_presets_are_valid_for_every_estimator():
    for preset in config_lib.PRESETS.values():
        for estimator in config_lib.ESTIMATORS:
            config_lib.validate(dataclasses.replace(Config(**preset), estimator=estimator))


@pytest.mark.parametrize(("estimator", "meta_updates"), [("single_step", 12), ("mixing", 3)])
def test_the_meta_learning_rate_falls_by_inner_updates(estimator, meta_updates):
    """Adam's steps along a gradient that stays the same are as long as its learning rate."""
    config = Config(estimator=estimator, horizon=4, meta_learning_rate=0.5, meta_learning_rate_halving=12)
    for halving, expected in ((12, [0.5, 0.25, 0.5 / 3]), (0, [0.5] * 3)):
        optimizer = make_agent(dataclasses.replace(config, meta_learning_rate_halving=halving)).meta_optimizer
        eta = {"discount": jnp.float32(0.0)}
        state, steps = optimizer.init(eta), []
        for _ in range(2 * meta_updates + 1):
            step, state = optimizer.update({"discount": jnp.float32(-0.3)}, state, eta)
            steps.append(float(step["discount"]))
        np.testing.assert_allclose(steps[::meta_updates], expected, rtol=1e-4)


@pytest.mark.parametrize("content", [None, "{}", "not json", '{"format": 99, "flags": {}}'])
def test_settings_that_cannot_be_read_are_refused(content, tmp_path):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=r"config\.json"):
        config_lib.load(path)


def test_an_outer_critic_is_learned_unless_it_is_left_out_or_nothing_is_tuned(run, tmp_path):
    config = config_lib.load(run / "config.json")
    assert config.outer_critic
    assert make_agent(config).outer_critic is not None
    assert make_agent(dataclasses.replace(config, outer_critic=False)).outer_critic is None
    assert not command_line.run(train, *TABLES, "--estimator=none", f"--logdir={tmp_path / 'none'}")
    assert not config_lib.load(tmp_path / "none" / "config.json").outer_critic
    assert not config.with_estimator("none").outer_critic
    assert config.with_estimator("multi_step").outer_critic
    assert not dataclasses.replace(config, outer_critic=False).with_estimator("mixing").outer_critic


def test_an_outer_critic_without_an_outer_loss_is_refused(tmp_path, capsys):
    assert command_line.run(train, *SMALL, "--estimator=none", "--outer_critic", f"--logdir={tmp_path}") == 2
    assert "--outer_critic=True: must be left out with --estimator=none" in capsys.readouterr().err


def test_folders_of_an_older_format_are_refused_in_one_line(run, tmp_path, capsys):
    old = json.loads((run / "config.json").read_text())
    del old["flags"]["outer_critic"]
    (tmp_path / "config.json").write_text(json.dumps(old | {"format": 1}))
    (tmp_path / "metrics.csv").write_bytes((run / "metrics.csv").read_bytes())
    assert command_line.run(curves, f"--runs={tmp_path}") == 2
    assert "has format 1, and this version reads format 5" in capsys.readouterr().err


def test_curves_are_called_by_what_differs_and_end_where_the_metrics_do(run, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    (other / "metrics.csv").write_bytes((run / "metrics.csv").read_bytes())
    config = config_lib.load(run / "config.json")
    config_lib.save(dataclasses.replace(config, outer_critic=False, lambda_=0.5), other / "config.json")
    arguments = [f"--runs={run},{other}", "--columns=hyper/discount,episode_return"]
    assert not command_line.run(curves, *arguments, f"--picture={tmp_path / 'curves.png'}")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "outer_critic False" in printed
    assert "lambda 0.5" in printed
    assert "estimator" not in printed
    columns = run_folder.read_metrics(run)
    ends = columns["hyper/discount"][-1]
    assert curves.final(columns, "hyper/discount").estimate == pytest.approx(ends.mean(), rel=1e-6)
    drawn = curves.with_fixed(columns, config)  # what was tuned as it was, what was not as it stayed
    np.testing.assert_array_equal(drawn["hyper/discount"], columns["hyper/discount"])
    np.testing.assert_array_equal(drawn["hyper/value_cost"], np.full((10, 2), config.value_cost))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--runs=: must be given"),
        (["--runs=RUN,RUN"], "--runs: two of the runs have the same settings"),
        (["--runs=RUN", "--columns=luck"], "--columns=luck: must be among those of every run"),
        (["--runs=RUN", "--picture=nowhere/at/all.png"], "--picture=nowhere/at/all.png: must be a file"),
        (["--runs=nowhere"], "is not the settings of a run"),
    ],
)
def test_curves_refuse_what_is_impossible(arguments, complaint, run, capsys):
    assert command_line.run(curves, *(argument.replace("RUN", str(run)) for argument in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def _shapes(network, env):
    """Returns the shapes of a network's parameters, without computing any."""
    observation = jax.eval_shape(
        jax.vmap(env.observation), jax.vmap(env.initial)(jax.random.split(jax.random.key(0), 1))
    )
    params = jax.eval_shape(network.init, jax.random.key(0), observation)
    return {name: leaves["w"].shape for name, leaves in params.items()}


def _steps(optimizer, gradients):
    """Returns an optimizer's steps from gradients that are given."""
    state = optimizer.init(jnp.zeros_like(jnp.asarray(gradients[0])))
    steps = []
    for gradient in gradients:
        step, state = optimizer.update(jnp.asarray(gradient), state)
        steps.append(np.asarray(step))
    return np.array(steps)


FLAGS = Config(
    estimator="multi_step",
    horizon=3,
    meta_params=("lambda", "value_cost"),
    board_size="4x5",
    time_limit=77,
    num_envs=6,
    rollout_length=7,
    learning_rate=0.3,
    meta_learning_rate=0.25,
    meta_gradient_clip=2.0,
    discount=0.5,
    lambda_=0.6,
    policy_cost=1.5,
    value_cost=0.2,
    entropy_cost=0.04,
    outer_discount=0.8,
    outer_lambda=0.9,
    num_channels=2,
    policy_width=3,
    value_width=5,
)


def test_the_agent_is_what_its_settings_say():
    agent = make_agent(FLAGS)
    assert (agent.env.num_rows, agent.env.num_cols, agent.env.time_limit) == (4, 5, 77)
    assert (agent.num_envs, agent.rollout_length) == (6, 7)
    assert agent.weights == estimators.multi_step(3)
    mixing = dataclasses.replace(FLAGS, estimator="mixing", mixing_decay=0.5)
    assert make_agent(mixing).weights == estimators.mixing(3)
    geometric = dataclasses.replace(mixing, mixing_weights="geometric")
    assert make_agent(geometric).weights == estimators.mixing(3, 0.5)
    assert agent.tuning.tuned == ("lambda", "value_cost")
    assert agent.tuning.initial == {
        "discount": 0.5,
        "lambda": 0.6,
        "policy_cost": 1.5,
        "value_cost": 0.2,
        "entropy_cost": 0.04,
        "learning_rate": 0.3,
    }
    shapes = _shapes(agent.network, agent.env)
    assert shapes["policy_conv_2"][-1] == shapes["value_conv_1"][-1] == 2
    assert shapes["policy_head/~/linear_0"][-1] == 3
    assert shapes["value_head/~/linear_0"][-1] == 5
    assert "shared_conv_2" in _shapes(make_agent(dataclasses.replace(FLAGS, shared_torso=True)).network, agent.env)
    nothing = make_agent(FLAGS.with_estimator("none"))
    assert nothing.weights == nothing.tuning.tuned == ()
    assert nothing.outer_critic is None


def test_the_outer_loss_has_settings_of_its_own():
    always = {"discount": 0.8, "lambda": 0.9, "policy_cost": 1.0}
    assert make_agent(FLAGS).outer_hyperparameters == always
    costs = {"outer_value_cost": 0.3, "outer_entropy_cost": 0.02}
    more = make_agent(dataclasses.replace(FLAGS, **costs)).outer_hyperparameters
    assert more == always | {"value_cost": 0.3, "entropy_cost": 0.02}
    assert make_agent(dataclasses.replace(FLAGS, outer_critic=False)).outer_critic is None
    assert make_agent(FLAGS).exact_targets
    assert not make_agent(dataclasses.replace(FLAGS, exact_targets=False)).exact_targets
    critic = make_agent(FLAGS).outer_critic
    shapes = _shapes(critic.network, make_agent(FLAGS).env)
    assert (shapes["value_conv_2"][-1], shapes["value_head/~/linear_0"][-1]) == (2, 5)


def test_optimizers_are_those_of_the_flags():
    # After one gradient, a gradient of zero: Adam goes on by its momentum, RMSProp stops.
    going_on = (0.9 * 0.1 / (1 - 0.9**2)) / np.sqrt(0.999 * 0.001 / (1 - 0.999**2))
    # RMSProp's mean square starts at zero, of which it keeps 0.9.
    for name, first, second in (("adam", 1.0, going_on), ("rmsprop", np.sqrt(1 / 0.1), 0.0)):
        agent = make_agent(dataclasses.replace(FLAGS, optimizer=name))
        np.testing.assert_allclose(_steps(agent.optimizer, [[2.0], [0.0]])[:, 0], [first, second], rtol=1e-3)
        critic_steps = _steps(agent.outer_critic.optimizer, [[2.0], [0.0]])[:, 0]
        np.testing.assert_allclose(critic_steps, [-0.3 * first, -0.3 * second], rtol=1e-3)


def test_the_meta_optimizer_is_adam_on_clipped_gradients():
    gradients = np.array([[30.0, -40.0], [0.3, 0.4]])
    first, second = [1.2, -1.6] * np.ones(2), gradients[1]  # of length 2, to which the first is clipped
    mean = (0.09 * first + 0.1 * second) / (1 - 0.9**2)
    square = (0.000999 * first**2 + 0.001 * second**2) / (1 - 0.999**2)
    expected = [-0.25 * np.sign(first), -0.25 * mean / np.sqrt(square)]
    np.testing.assert_allclose(_steps(make_agent(FLAGS).meta_optimizer, gradients), expected, rtol=1e-3)


def test_rows_name_their_seeds(tmp_path):
    config = Config(seed=5, num_seeds=3)
    with run_folder.RunWriter(tmp_path, config, EXECUTION) as writer:
        for env_steps in (10, 20):
            writer.write_metrics(env_steps, {"episode_return": env_steps + np.array([1.0, np.nan, 3.0])})
    columns = run_folder.read_metrics(tmp_path)
    np.testing.assert_array_equal(columns["seed"], [[5, 6, 7]] * 2)
    np.testing.assert_array_equal(columns["env_steps"], [[10] * 3, [20] * 3])
    np.testing.assert_array_equal(columns["episode_return"], [[11, np.nan, 13], [21, np.nan, 23]])


def test_metrics_are_averages_over_what_they_are_of():
    agent = tables.agent()
    eta = {"discount": jnp.array([0.0, 1.0]), "entropy_cost": jnp.array([0.5, 0.0])}
    summary = training.Summary(
        num_updates=np.array([10, 10]),
        num_episodes=np.array([4, 0]),
        return_sum=np.array([6.0, 0.0]),
        length_sum=np.array([20.0, 0.0]),
        loss_sums={"value": np.array([5.0, 2.0])},
        meta_gradient={"discount": np.array([0.1, 0.2]), "entropy_cost": np.array([0.3, 0.4])},
        first_nonfinite={},
    )
    metrics = train._metrics(agent, eta, summary, np.array([False, False]))
    odds = 0.6 / 0.4 * np.exp(1.0)
    expected = {
        "episode_return": [1.5, np.nan],
        "episode_length": [5.0, np.nan],
        "hyper/discount": [0.6, odds / (1 + odds)],
        "hyper/entropy_cost": [0.02 * np.exp(0.5), 0.02],
        "meta_grad/discount": [0.1, 0.2],
        "meta_grad/entropy_cost": [0.3, 0.4],
        "loss/value": [0.5, 0.2],
    }
    assert list(metrics) == list(expected)
    for name, column in expected.items():
        np.testing.assert_allclose(metrics[name], column, rtol=1e-5, err_msg=name)


def test_rows_and_checkpoints_are_of_the_environment_steps_that_they_name(tmp_path, monkeypatch):
    """With 130 windows there are 44 logging points, the last of one window, where all others have three."""
    config = Config(
        seed=5,
        num_seeds=2,
        horizon=2,
        meta_params=("discount", "entropy_cost"),
        num_envs=tables.NUM_ENVS,
        rollout_length=tables.LENGTH,
        num_env_steps=130 * 2 * tables.NUM_ENVS * tables.LENGTH,
    )
    agent = tables.agent(weights=estimators.mixing(2), meta_optimizer=optax.sgd(0.05))
    monkeypatch.setattr(train, "make_agent", lambda config: agent)
    train.train(config, tmp_path)
    columns, window = run_folder.read_metrics(tmp_path), agent.steps_per_window
    np.testing.assert_array_equal(columns["env_steps"][:, 0], window * np.array([*range(3, 130, 3), 130]))
    np.testing.assert_array_equal(columns["seed"], [[5, 6]] * 44)
    steps = run_folder.checkpoint_steps(tmp_path)
    assert steps == [window * windows for windows in (18, 36, 54, 72, 90, 108, 126, 130)]
    like = jax.eval_shape(lambda: init_seeds(agent, config))
    for env_steps in steps:
        state = run_folder.read_checkpoint(tmp_path, env_steps, like)
        np.testing.assert_array_equal(state.num_updates, env_steps // (tables.NUM_ENVS * tables.LENGTH))
        (row,) = np.flatnonzero(columns["env_steps"][:, 0] == env_steps)
        for name, values in meta_parameters.hyperparameters(agent.tuning, state.eta).items():
            if name in config.meta_params:
                np.testing.assert_allclose(columns[f"hyper/{name}"][row], values, rtol=1e-5)
                assert values[0] != values[1]


KEPT = Execution(keep=3)
HANDED_ON = {"execution": KEPT, "network": "the user's own", "quiet": True}
"""What every run of a comparison is given, whatever it is."""


@pytest.fixture
def trained(monkeypatch):
    """Replaces training: writes metrics by a rule, and notes which settings went where, in order."""
    configs, points = {}, 20

    def fake(config, folder, execution, **options):
        assert {"execution": execution, **options} == HANDED_ON
        configs[folder.name] = config
        best = {"single_step": 0.3, "mixing": 0.1}.get(config.estimator, 0.0)
        gain = 0.0 if config.estimator == "none" else 2.0 - abs(config.meta_learning_rate - best)
        with run_folder.RunWriter(folder, config, execution) as writer:
            for point in range(points):
                # The last tenth, and no point before it, returns about 7.
                returns = (7.0 + gain if point >= 18 else 100.0) + np.arange(config.num_seeds)
                names = [f"meta_grad/{name}" for name in config.meta_params]
                gradients = {name: point + np.arange(config.num_seeds) * scale for scale, name in enumerate(names, 1)}
                writer.write_metrics(
                    (point + 1) * config.num_env_steps // points, {"episode_return": returns} | gradients
                )
        return train.Result(run_folder.read_metrics(folder), 1.0)

    monkeypatch.setattr(compare, "train", fake)
    monkeypatch.setattr(plots, "draw_comparison", lambda *arguments: None)
    return configs


def test_compare_trains_every_estimator_alike_on_the_same_seeds(tmp_path, trained):
    config = dataclasses.replace(FLAGS, seed=4, num_seeds=3, num_env_steps=2_520, meta_learning_rate=0.5)
    comparison = compare.compare(compare.make_configs(config, config_lib.ESTIMATORS, []), tmp_path, **HANDED_ON)
    assert list(trained) == list(config_lib.ESTIMATORS) == list(comparison["estimators"])
    for estimator, used in trained.items():
        assert used == dataclasses.replace(config, estimator=estimator, outer_critic=estimator != "none")
        result = comparison["estimators"][estimator]
        gain = {"none": 0.0, "single_step": 1.8, "multi_step": 1.5, "mixing": 1.6}[estimator]
        assert result["final_return"]["estimate"] == result["interquartile_mean"]["estimate"] == 8.0 + gain
        np.testing.assert_allclose(result["mean_return"]["estimate"], (18 * 101.0 + 2 * (8.0 + gain)) / 20, rtol=1e-5)
        assert ("gain" in result) == (estimator != "none")
        if estimator != "none":
            assert result["gain"]["estimate"] == pytest.approx(gain)
            assert result["probability_of_improvement"]["estimate"] == 1.0
        deviations = {name: deviation["estimate"] for name, deviation in result["meta_grad_std"].items()}
        assert deviations == ({} if estimator == "none" else {"lambda": 1.0, "value_cost": 2.0})


def test_compare_chooses_each_meta_learning_rate_on_other_seeds(tmp_path, trained):
    config = dataclasses.replace(FLAGS, seed=4, num_seeds=3, num_env_steps=2_520)
    configs = compare.make_configs(config, ["none", "single_step", "mixing:2"], ["discount:0.3"])
    comparison = compare.compare(configs, tmp_path, compare.Grid((0.1, 0.3), num_seeds=2), **HANDED_ON)
    tried = [f"{name}_{rate}" for name in ("single_step", "mixing_2") for rate in ("0.1", "0.3")]
    assert sorted(trained) == sorted(["none", "single_step", "mixing_2", "baseline", *tried])
    for name, chosen in (("single_step", 0.3), ("mixing_2", 0.1)):
        result = comparison["estimators"][name]
        assert trained[name].meta_learning_rate == result["meta_learning_rate"] == chosen
        assert (trained[name].seed, trained[name].num_seeds) == (4, 3)
        for rate, trial in zip((0.1, 0.3), result["grid"], strict=True):
            used = trained[f"{name}_{rate}"]
            assert used == dataclasses.replace(configs[name], seed=7, num_seeds=2, meta_learning_rate=rate)
            assert trial["final_return"]["estimate"] == pytest.approx(7.5 + 2.0 - abs(rate - chosen))
    assert comparison["estimators"]["baseline"]["gain"]["estimate"] == 0.0
    assert comparison["wall_seconds"] == 8.0


@pytest.mark.parametrize(
    ("changed", "rates", "complaint"),
    [
        (
            {},
            (0.1, 0.2, 0.3),
            "--meta_learning_rates=0.1,0.2,0.3: must be those of which the run in .*/single_step",
        ),
        ({}, (0.1,), "--meta_learning_rates=0.1: must be those of which the run in .*/single_step has"),
        ({"num_env_steps": 5_040}, (0.1, 0.3), "--num_env_steps=5040: must be 2520, as of the run in"),
        ({"rollout_length": 14}, (0.1, 0.3), "--rollout_length=14: must be 7, as of the run in"),
    ],
)
def test_a_run_is_not_chosen_anew_by_other_trials(changed, rates, complaint, tmp_path, trained):
    config = dataclasses.replace(FLAGS, seed=4, num_seeds=3, num_env_steps=2_520)

    def run(config, rates):
        configs = compare.make_configs(config, ["single_step"])
        return compare.compare(configs, tmp_path, compare.Grid(rates, num_seeds=2), **HANDED_ON)

    first = run(config, (0.1, 0.3))
    trained.clear()
    with pytest.raises(UsageError, match=complaint):
        run(dataclasses.replace(config, **changed), rates)
    assert not trained
    shutil.rmtree(tmp_path / "single_step")  # as if stopped before the run began
    assert run(config, (0.1, 0.3)) == first


def test_a_run_without_trials_is_not_chosen_by_them_afterwards(tmp_path, trained):
    configs = compare.make_configs(dataclasses.replace(FLAGS, num_env_steps=2_520), ["single_step"])
    compare.compare(configs, tmp_path, **HANDED_ON)
    trained.clear()
    with pytest.raises(UsageError, match=r"--meta_learning_rates=0.25,0.3: must be those of which the run in"):
        compare.compare(configs, tmp_path, compare.Grid((0.25, 0.3)), **HANDED_ON)
    assert not trained


def test_summaries_weigh_seeds_and_points_as_they_say():
    """The interquartile mean of four seeds leaves two out; points of a run that was made longer lie further apart."""
    metrics = {
        "env_steps": np.tile([[10.0], [20.0], [120.0]], 4),
        "episode_return": np.array([[8.0] * 4, [np.nan] * 4, [0.0, 1.0, 4.0, 9.0]]),
        "seed": np.tile(np.arange(4.0), (3, 1)),
    }
    result = compare._summarise(Config(estimator="none"), metrics, None)
    estimates = {name: result[name]["estimate"] for name in ("final_return", "interquartile_mean", "mean_return")}
    assert estimates == {
        "final_return": 3.5,
        "interquartile_mean": 2.5,
        "mean_return": pytest.approx((10 * 8.0 + 100 * 3.5) / 110),
    }


def test_the_flags_of_the_grid_and_of_the_execution_arrive_and_a_folder_with_trials_alone_goes_on(
    tmp_path, monkeypatch
):
    arrived = []

    def stopped(*arguments):
        arrived.append(arguments)
        raise run_folder.WriteError("stopped")

    monkeypatch.setattr(compare, "compare", stopped)
    (tmp_path / compare.GRID).mkdir()
    given = ["--meta_learning_rates=0.1,0.3", "--num_grid_seeds=4", "--on_divergence=drop", f"--logdir={tmp_path}"]
    assert command_line.run(compare, *SMALL, "--estimators=mixing", *given) == "stopped"
    ((configs, folder, grid, execution),) = arrived
    assert list(configs) == ["mixing"]
    assert (folder, grid) == (tmp_path, compare.Grid((0.1, 0.3), 4))
    assert execution == Execution(on_divergence="drop")


def test_a_meta_learning_rate_without_a_return_is_the_worst():
    trials = [{"meta_learning_rate": rate, "final_return": {"estimate": mean}} for rate, mean in ((1, None), (2, -0.5))]
    assert compare._best_rate(trials) == compare._best_rate(trials[::-1]) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--estimators="], "--estimators=: must be given: a comma list"),
        (
            ["--estimators=mixing:5,tuning"],
            "--estimators=mixing:5,tuning: must be a comma list, without repetition, of",
        ),
        (["--estimators=single_step:3"], "--estimators=single_step:3: must be a comma list, without repetition, of"),
        (["--estimators=mixing,mixing"], "--estimators=mixing,mixing: must be a comma list, without repetition, of"),
        (
            ["--estimators=mixing:5,mixing:5"],
            "--estimators=mixing:5,mixing:5: must be a comma list, without repetition,",
        ),
        (["--estimators=mixing:0"], "--horizon=0: must be at least 1"),
        (["--estimators=mixing:3"], "--num_env_steps=400: must be a multiple of num_envs × rollout_length × horizon"),
        (["--baseline=discount:1.5"], "--discount=1.5: must be in (0, 1)"),
        (["--baseline=horizon:5"], "--baseline=horizon:5: must be a comma list of NAME:VALUE, NAME of discount"),
        (["--baseline=lambda:0,lambda:1"], "--baseline=lambda:0,lambda:1: must be a comma list of NAME:VALUE"),
        (["--baseline=discount"], "--baseline=discount: must be a comma list of NAME:VALUE"),
        (["--meta_learning_rates=0.1,0"], "--meta_learning_rates=0.1,0: must be positive numbers"),
        (["--meta_learning_rates=0.1,x"], "--meta_learning_rates=0.1,x: must be positive numbers"),
        (["--meta_learning_rates=0.1,0.1"], "--meta_learning_rates=0.1,0.1: must be positive numbers"),
        (["--meta_learning_rates=0.1,0.1000000001"], "--meta_learning_rates=0.1,0.1000000001: must be positive"),
        (["--meta_learning_rates=0.1", "--meta_learning_rate=0.1"], "--meta_learning_rate=0.1: must be left out"),
        (["--meta_learning_rates=0.1", "--num_grid_seeds=0"], "--num_grid_seeds=0: must be at least 1"),
    ],
)
def test_impossible_comparisons_are_refused_in_one_line(arguments, complaint, tmp_path, capsys):
    assert command_line.run(compare, *SMALL, *arguments, f"--logdir={tmp_path}/all") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(complaint)
    assert not (tmp_path / "all").exists()


def test_spreads_are_pooled_standard_deviations():
    """Two seeds that are 2 d apart have the deviation d sqrt(2); variances are averaged over five points."""
    halves = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    samples = np.stack([10.0 - halves, 10.0 + halves], 1)
    expected = [np.sqrt(np.mean(2.0 * halves[max(point - 2, 0) : point + 3] ** 2)) for point in range(7)]
    np.testing.assert_allclose(plots._pooled_deviation(samples), expected)


def test_a_run_that_tunes_nothing_is_called_so_alone_and_by_its_name_among_others(tmp_path):
    config = Config(estimator="none", outer_critic=False, num_seeds=1)
    with run_folder.RunWriter(tmp_path, config, EXECUTION) as writer:
        writer.write_metrics(10, {"episode_return": np.array([1.0])})
    assert [run.label for run in plots._read_runs({"": tmp_path})] == ["nothing is tuned"]
    assert [run.label for run in plots._read_runs({"fixed_bad": tmp_path})] == ["fixed-bad: nothing is tuned"]


@pytest.mark.parametrize(("every", "expected"), [(1, [*range(1, 21)]), (6, [6, 12, 18, 20])])
def test_checkpoints_are_written_as_often_as_is_asked(every, expected, tmp_path, monkeypatch):
    written = []
    write = run_folder.RunWriter.write_checkpoint

    def write_checkpoint(writer, env_steps, *arguments):
        written.append(env_steps // 20)
        write(writer, env_steps, *arguments)

    monkeypatch.setattr(run_folder.RunWriter, "write_checkpoint", write_checkpoint)
    given = [f"--checkpoint_every={every}", "--keep=1", f"--logdir={tmp_path / 'run'}"]
    assert not command_line.run(train, *TABLES, "--estimator=none", *given)
    assert written == expected
