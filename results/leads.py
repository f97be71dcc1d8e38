"""Measures how noisy the meta-gradient is with other derivatives of the advantages: the tables of leads.md.

    python -m results.leads --at_discounts=0.8,0.95,0.99 --at_env_steps=20480,64000,1024000 --lambda=0.95 \
        --outer_discount=0.997 --logdir=runs/truth \
        --agents=discount_0.8_steps_64000,discount_0.95_steps_64000,discount_0.8_steps_1024000

The flags are those of the study in variance.md. Its agents are taken from its folder; those that are not there are
trained. Stopped in the middle, the same command goes on.

A window is run once, with zeros added to every update's advantages and returns, and each estimator's loss is
differentiated in these zeros. Discount and lambda reach an update through these two alone; that the values move as
well, by earlier updates, is part of the slopes. So the product of the slopes with the derivatives of advantages and
returns is the meta-gradient, a variant is nothing but other derivatives, and all of them see the same windows.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from absl import flags

from agents import actor_critic, networks, rollouts, training
from agents.actor_critic import LearnerState, Targets
from agents.training import Actor, Agent, Batch
from experiments.config.ranges import UsageError, refuse
from experiments.figures.tables import INTERVALS_NOTE, as_json, cell, table
from experiments.runs import command_line
from experiments.runs.building import make_agent, over_leading_axis
from experiments.runs.divergence import NonFiniteError
from experiments.studies.variance import sampling, snake_points
from experiments.studies.variance.sampling import Program
from experiments.studies.variance.settings import Study, define_flags, study_from_flags
from experiments.variance import LIFETIMES, WINDOWS, open_folder
from metagrad import estimators, meta_parameters, statistics, windows
from metagrad.meta_parameters import MetaParameters
from metagrad.statistics import Estimate

MOVING, NAMES = ("discount", "lambda"), ("discount", "lambda", "entropy_cost")
"""What the targets depend on, and all that is differentiated: entropy cost's own meta-gradient has no variants."""

HORIZON = 5
"""Inner updates of a window, whatever the study's."""

ESTIMATORS = ("single-step", f"multi-step({HORIZON})", f"mixing({HORIZON})")

PLAIN, CENTRED = "plain", "(a)"
VARIANTS = (PLAIN, "(a')", "(b)", "(c)", "(c')", "(d)", "(d) with (a')", "(e)")
"""As in leads.md. For (a) the updates themselves are others, so its windows are drawn by themselves."""

TRAINING, SCALING, EXPLAINING = 700, 10, 100
"""Rollouts of the fixed agent that train the nets, that give their outputs' scale, and that tell what they explain."""

STEP, SPREAD = 2e-3, 0.5
"""First step of the nets' Adam, which decays to zero; standard deviation of eta in the training of (b)."""

RESAMPLES = 9_999

Fixed = tuple[LearnerState, Actor]


class Seen(NamedTuple):
    """What an update saw: its values, float [T, B], those of the bootstrap observations, [2, B], and the rollout."""

    values: chex.Array
    bootstrap_values: chex.Array
    rollout: rollouts.Rollout


class Nets(NamedTuple):
    """What is learned besides the agent; `net` applies the parameters.

    Attributes:
      slopes: parameters of `w`, whose outputs are two of (c) and then two of (c'), by `MOVING`.
      scale: float [4], by which the outputs are multiplied, ...
      centre: ... and what is added to them then, float [4].
      critic: parameters of `V(s, eta)`, for (b).
    """

    slopes: hk.Params
    scale: chex.Array
    centre: chex.Array
    critic: hk.Params


def net(params: hk.Params, observation: Any, eta: chex.Array | None = None) -> chex.Array:
    """Applies the agent's critic with parameters of its own, to [..., *an observation's shape]: float [..., outputs].

    What the hidden layer gets may have eta added, float [2] or [..., 2], times the matrix that is called so.
    """
    maps = observation.grid.astype(jnp.float32)
    leading = maps.shape[:-3]
    maps = maps.reshape(-1, *maps.shape[-3:])
    for stride in (2, 1):
        layer = params[f"value_conv_{stride}"]
        maps = jax.nn.relu(networks.convolve(maps, layer["w"], stride) + layer["b"])
    hidden = maps.reshape(*leading, -1) @ params["hidden"]["w"] + params["hidden"]["b"]
    if eta is not None:
        hidden += eta @ params["eta"]["w"]
    return jax.nn.relu(hidden) @ params["out"]["w"] + params["out"]["b"]


def init_nets(learner: LearnerState, derivatives: chex.Array, observation: Any, key: chex.PRNGKey) -> Nets:
    """Begins with the agent's own critic for `V`, and with the mean of some `dG`, float [N, 2, T, B], for `w`."""
    layers = {"hidden": "value_head/~/linear_0", "out": "value_head/~/linear_1"}
    layers |= {name: name for name in ("value_conv_2", "value_conv_1")}
    critic = {name: learner.params[place] for name, place in layers.items()}
    channels, width = (critic[name]["b"].size for name in ("value_conv_1", "hidden"))
    fresh = networks.value_network(channels, width).init(key, observation)
    outputs = 2 * len(MOVING)
    last = {"w": jnp.zeros((width, outputs)), "b": jnp.zeros(outputs)}
    return Nets(
        slopes={name: fresh[place] for name, place in layers.items()} | {"out": last},
        scale=jnp.tile(derivatives.std((0, 2, 3)) + 1e-6, 2),
        centre=jnp.tile(derivatives.mean((0, 2, 3)), 2),
        critic=critic | {"eta": {"w": jnp.zeros((len(MOVING), width))}},
    )


def value_slopes(nets: Nets, seen: Seen) -> dict[str, list[chex.Array]]:
    """Returns what the nets say of the slopes in eta of the values, [2, T, B], and the bootstrap values, [2, 2, B]."""
    observations = (seen.rollout.observation, seen.rollout.bootstrap_observation)
    nominal = jnp.zeros(len(MOVING))
    learned = [jnp.moveaxis(net(nets.slopes, each) * nets.scale + nets.centre, -1, 0) for each in observations]
    critics = [jax.jacfwd(partial(net, nets.critic, each))(nominal)[..., 0, :] for each in observations]
    return {
        "(b)": [jnp.moveaxis(slopes, -1, 0) for slopes in critics],
        "(c)": [outputs[: len(MOVING)] for outputs in learned],
        "(c')": [outputs[len(MOVING) :] for outputs in learned],
    }


def derivative(agent: Agent, eta: MetaParameters, seen: Seen, slopes: Sequence[chex.Array] = ()) -> Targets:
    """Differentiates the targets in discount and lambda.

    Args:
      agent: the agent.
      eta: meta-parameters.
      seen: what the targets are computed from.
      slopes: w, as `value_slopes` has them; zero without them.

    Returns:
      The derivatives, float [2, T, B] each: of the returns `dG + K w`, of the advantages `dG + K w - w`.
    """

    def targets_at(values: chex.Array, bootstrap_values: chex.Array, moving: MetaParameters) -> Targets:
        hyper = meta_parameters.hyperparameters(agent.tuning, eta | moving)
        return actor_critic.targets(values, bootstrap_values, seen.rollout, hyper)

    def along(*tangents: Any) -> Targets:
        return jax.jvp(targets_at, (*seen[:2], {name: eta[name] for name in MOVING}), tangents)[1]

    slopes = slopes or [jnp.zeros((len(MOVING), *values.shape)) for values in seen[:2]]
    return jax.vmap(along)(*slopes, dict(zip(MOVING, jnp.eye(len(MOVING)), strict=True)))


def variants(agent: Agent, eta: MetaParameters, nets: Nets, seen: Seen) -> dict[str, Targets]:
    """Returns what each variant takes for the derivatives of an update's targets, float [2, T, B] each.

    Where the values move, that of the returns is the derivative of the value loss's residual, `G - v`.
    """
    plain = derivative(agent, eta, seen)
    slopes = value_slopes(nets, seen)
    advantages = actor_critic.targets(*seen, meta_parameters.hyperparameters(agent.tuning, eta)).advantages

    def centre(array: chex.Array) -> chex.Array:
        return array - array.mean((-2, -1), keepdims=True)

    def project(array: chex.Array, advantages: chex.Array) -> chex.Array:
        product = jnp.sum(array * advantages, (-2, -1), keepdims=True)
        return array - product / jnp.sum(advantages**2) * advantages

    def residual(slopes: Sequence[chex.Array]) -> chex.Array:
        return derivative(agent, eta, seen, slopes).advantages

    # (e): linear in the constant, so that two of them tell with which one the batch's mean is zero.
    zero, one = plain.advantages, residual([jnp.ones((len(MOVING), *values.shape)) for values in seen[:2]])
    constant = zero.mean((-2, -1), keepdims=True) / (zero - one).mean((-2, -1), keepdims=True)
    residuals = {
        "(b)": residual(slopes["(b)"]),
        "(c')": residual(slopes["(c')"]),
        "(e)": zero + constant * (one - zero),
    }
    replaced = {
        "(a')": centre(plain.advantages),
        "(c)": plain.advantages - slopes["(c)"][0],
        "(d)": project(plain.advantages, advantages),
        "(d) with (a')": project(centre(plain.advantages), centre(advantages)),
    }
    return {
        PLAIN: plain,
        **{name: Targets(array, array) for name, array in residuals.items()},
        **{name: plain._replace(advantages=array) for name, array in replaced.items()},
    }


def walk(agent: Agent, fixed: Fixed, key: chex.PRNGKey, number: int, step: Callable, carry: Any = None) -> Any:
    """Scans rollouts of the fixed agent by a function of what is carried, what an update would see, and a key."""
    learner, actor = fixed
    collect = rollouts.collect(agent.env, agent.network, agent.rollout_length)

    def body(carry: tuple[rollouts.ActorState, Any], key: chex.PRNGKey) -> tuple[tuple[rollouts.ActorState, Any], Any]:
        key, own = jax.random.split(key)
        environments, rollout = collect(learner.params, carry[0], key)
        values = agent.network.apply(learner.params, rollout.observation).value
        bootstrap_values = agent.network.apply(learner.params, rollout.bootstrap_observation).value
        carried, output = step(carry[1], Seen(values, bootstrap_values, rollout), own)
        return (environments, carried), output

    (_, carry), outputs = jax.lax.scan(body, (actor.environments, carry), jax.random.split(key, number))
    return carry, outputs


def train_nets(agent: Agent, number: int, fixed: Fixed, eta: MetaParameters, key: chex.PRNGKey) -> Nets:
    """Trains `w` by regression on `dG` and on `dG + K w`, and `V(s, eta)` on returns, with eta perturbed."""
    optimizer = optax.adam(optax.cosine_decay_schedule(STEP, number))
    net_key, scale_key, key = jax.random.split(key, 3)
    _, derivatives = walk(
        agent, fixed, scale_key, SCALING, lambda _, seen, __: (_, derivative(agent, eta, seen).returns)
    )
    nets = init_nets(
        fixed[0], derivatives, jax.tree.map(lambda leaf: leaf[:1], fixed[1].environments.observation), net_key
    )

    def loss(params: tuple[hk.Params, hk.Params], seen: Seen, shifts: chex.Array) -> chex.Array:
        slopes = value_slopes(nets._replace(slopes=params[0]), seen)
        goals = [derivative(agent, eta, seen).returns, derivative(agent, eta, seen, slopes["(c')"]).returns]
        outputs = jnp.concatenate([slopes["(c)"][0], slopes["(c')"][0]])
        errors = (outputs - jax.lax.stop_gradient(jnp.concatenate(goals))) / nets.scale[:, None, None]
        # (b): each environment has an eta of its own, and its returns are those under it.
        shifted = {name: eta[name] + shifts[:, place] for place, name in enumerate(MOVING)}
        hyper = meta_parameters.hyperparameters(agent.tuning, eta | shifted)
        observations = (seen.rollout.observation, seen.rollout.bootstrap_observation)
        values, bootstrap_values = (net(params[1], each, shifts)[..., 0] for each in observations)
        returns = actor_critic.targets(values, bootstrap_values, seen.rollout, hyper).returns
        return jnp.mean(errors**2) + 0.5 * jnp.mean((values - jax.lax.stop_gradient(returns)) ** 2)

    def step(carry: tuple, seen: Seen, key: chex.PRNGKey) -> tuple[tuple, None]:
        params, state = carry
        shifts = SPREAD * jax.random.normal(key, (agent.num_envs, len(MOVING)))
        change, state = optimizer.update(jax.grad(loss)(params, seen, shifts), state)
        return (optax.apply_updates(params, change), state), None

    params = (nets.slopes, nets.critic)
    (params, _), _ = walk(agent, fixed, key, number, step, (params, optimizer.init(params)))
    return nets._replace(slopes=params[0], critic=params[1])


def explained(agent: Agent, number: int, fixed: Fixed, eta: MetaParameters, nets: Nets, key: chex.PRNGKey) -> Any:
    """Returns the shares of the variance that nets explain, and of `dG`'s mean square that of its squared mean."""

    def squares(_: None, seen: Seen, __: chex.PRNGKey) -> tuple[None, dict[str, tuple]]:
        plain = derivative(agent, eta, seen).returns
        parts = {PLAIN: (plain.var((1, 2)), jnp.mean(plain**2, (1, 2)))}
        for name, slopes in value_slopes(nets, seen).items():
            goal = plain if name == "(c)" else derivative(agent, eta, seen, slopes).returns
            parts[name] = ((goal - slopes[0]).var((1, 2)), goal.var((1, 2)))
        return None, parts

    parts = walk(agent, fixed, key, number, squares)[1]
    return {name: 1.0 - left.mean(0) / whole.mean(0) for name, (left, whole) in parts.items()}


def make_windows(agent: Agent, burn_in: int, horizon: int) -> Program:
    """Makes the program that draws windows.

    Args:
      agent: the agent.
      burn_in: rollouts before a window.
      horizon: n.

    Returns:
      The program. Its first argument is what is fixed, the nets, and a number: 1 if updates are those of (a), so that
      `PLAIN` is its meta-gradient, and else 0. A sample is float [V, 3, 3]: by variant, estimator and meta-parameter.
    """
    problem = training.inner_problem(agent)
    start = snake_points.make_start(agent, problem, burn_in)
    single_step = estimators.single_step() + (0.0,) * (horizon - 1)
    weights = jnp.array([single_step, estimators.multi_step(horizon), estimators.mixing(horizon)])

    def draw(fixed: Fixed, nets: Nets, centred: chex.Array, eta: MetaParameters, key: chex.PRNGKey) -> chex.Array:
        start_key, window_key = jax.random.split(key)

        def update(learner: LearnerState, given: tuple, batch: Batch) -> tuple[LearnerState, Seen]:
            # `actor_critic.update`, with something added to the targets.
            added, entropy_cost = given
            rollout = batch.rollout
            hyper = meta_parameters.hyperparameters(agent.tuning, eta | {"entropy_cost": entropy_cost})
            predictions, pullback = jax.vjp(
                lambda params: agent.network.apply(params, rollout.observation), learner.params
            )
            bootstrap_values = agent.network.apply(learner.params, rollout.bootstrap_observation).value
            seen = Seen(predictions.value, bootstrap_values, rollout)
            targets = jax.tree.map(jnp.add, actor_critic.targets(*seen, hyper), added)
            targets = targets._replace(advantages=targets.advantages - centred * targets.advantages.mean())
            slope, _ = jax.grad(actor_critic.loss, has_aux=True)(predictions, rollout.action, targets, hyper)
            return actor_critic.descend(agent.optimizer, learner, pullback(slope)[0], hyper["learning_rate"]), seen

        def losses(added: Targets, entropy_cost: chex.Array) -> tuple[chex.Array, Seen]:
            def advance(position: windows.Position, inputs: tuple) -> tuple[windows.Position, tuple]:
                given, key = (inputs[0], entropy_cost), inputs[1]
                position, seen = windows.advance(problem._replace(update=update), given, position, key)
                return position, (problem.outer_loss(position.learner_state, position.batch), seen)

            # The keys that the library gives a window's horizons.
            keys = jax.vmap(jax.random.fold_in, (None, 0))(window_key, jnp.arange(horizon))
            return jax.lax.scan(advance, start(fixed, start_key), (added, keys))[1]

        zeros = jnp.zeros((horizon, agent.rollout_length, agent.num_envs))
        _, pullback, seen = jax.vjp(losses, Targets(zeros, zeros), eta["entropy_cost"], has_aux=True)
        slopes, entropy = jax.lax.map(pullback, weights)
        taken = jax.lax.map(partial(variants, agent, eta, nets), seen)
        directions = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(taken[name] for name in VARIANTS))
        products = [jnp.einsum("entb,vnitb->vei", *pair) for pair in zip(slopes, directions, strict=True)]
        own = jnp.broadcast_to(entropy[:, None], (len(VARIANTS), len(ESTIMATORS), 1))
        return jnp.concatenate([products[0] + products[1], own], -1)

    @jax.jit
    def program(held: tuple[Fixed, Nets, chex.Array], eta: MetaParameters, keys: chex.PRNGKey) -> chex.Array:
        return over_leading_axis(partial(draw, *held, eta))(keys)

    return program


def deviation(samples: np.ndarray) -> np.ndarray:
    """Returns the standard deviation of a vector, of samples [..., N, M]."""
    return np.sqrt(samples.var(-2, ddof=1).sum(-1))


def signal_to_noise(samples: np.ndarray) -> np.ndarray:
    """Returns the estimate of `statistics.signal_to_noise`, of samples [..., N, M]."""
    return np.linalg.norm(samples.mean(-2), axis=-1) / deviation(samples)


def noise(samples: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Returns the standard deviation over that of the plain updates."""
    return deviation(samples) / deviation(plain)


def gain(samples: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """Returns how much the signal-to-noise ratio is larger than with plain updates."""
    return signal_to_noise(samples) - signal_to_noise(plain)


def paired(statistic: Callable[..., np.ndarray], *pairs: tuple[np.ndarray, np.ndarray]) -> str:
    """Writes the mean over agents of a statistic of two sets of samples, [N, M] each, which are resampled together."""
    rng = np.random.default_rng(0)
    resampled = []
    for pair in pairs:
        chosen = rng.integers(0, len(pair[0]), (RESAMPLES, len(pair[0])))
        resampled.append(statistic(*(samples[chosen] for samples in pair)))
    estimate = np.mean([statistic(*pair) for pair in pairs])
    return written(Estimate(estimate, *np.quantile(np.mean(resampled, 0), [0.025, 0.975])))


def written(estimate: Estimate, place: Any = (), scale: float = 1.0) -> str:
    """Writes one number of an estimate, with its interval."""
    return cell(as_json(Estimate(*(scale * part[place] for part in estimate))), "undetermined")


def describe(drawn: Mapping[str, np.ndarray], truth: np.ndarray | None) -> str:
    """Lays out an agent's variants, a table for each estimator.

    Args:
      drawn: samples by variant, float [N, 3, 3]; those of fewer windows have the first ones.
      truth: samples of the true return's gradient after the window's updates, float [L, 3], or None.
    """
    header = ["windows", "signal-to-noise", *NAMES, "noise", "gain", "noise ratio", "cosine to the truth"]
    header += [f"{what}, {name}, 1e-5" for what in ("mean", "plus") for name in MOVING]
    tables = []
    for place, estimator in enumerate(ESTIMATORS):
        rows = []
        for name, every in drawn.items():
            samples, plain = every[:, place], drawn[PLAIN][: len(every), place]
            mixing, looks_ahead = place == 2, place > 0
            means = [statistics.mean(samples), statistics.mean(samples - plain)]
            rows.append(
                [
                    name,
                    str(len(samples)),
                    written(statistics.signal_to_noise(samples)),
                    *(f"{signal_to_noise(samples[:, [column]]):.2f}" for column in range(len(NAMES))),
                    paired(noise, (samples, plain)),
                    paired(gain, (samples, plain)),
                    written(statistics.noise_ratio(every[:, 1], samples)) if mixing else "",
                    written(statistics.cosine(samples, truth)) if looks_ahead and truth is not None else "",
                    *(written(mean, column, 1e5) for mean in means for column in range(len(MOVING))),
                ]
            )
        tables.append(table([estimator, *header], rows))
    return "\n".join(tables)


def pooled(agents: Sequence[Mapping[str, np.ndarray]]) -> str:
    """Lays out the gains in signal-to-noise ratio, the agents that have a variant averaged."""
    rows = []
    for name in dict.fromkeys(name for drawn in agents for name in drawn if name != PLAIN):
        pairs = [(drawn[name], drawn[PLAIN][: len(drawn[name])]) for drawn in agents if name in drawn]
        gains = [paired(gain, *((x[:, place], y[:, place]) for x, y in pairs)) for place in range(len(ESTIMATORS))]
        rows.append([name, str(len(pairs)), *gains])
    return table(["gain, agents averaged", "agents", *ESTIMATORS], rows)


def kept_nets(file: pathlib.Path, train: Callable[[], Nets]) -> Nets:
    """Trains the nets, unless they are on disk."""
    leaves, structure = jax.tree.flatten(jax.eval_shape(train))
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, *jax.tree.leaves(train()))
    with np.load(file) as arrays:
        return jax.tree.unflatten(structure, [arrays[f"arr_{place}"] for place in range(len(leaves))])


def measure(study: Study, folder: pathlib.Path, names: Sequence[str], num_centred: int) -> None:
    """Measures some of a study's agents, and prints the tables."""
    *_, config = study.trained.values()  # eta counts from its values, as in the study
    agent = make_agent(config)
    agent = dataclasses.replace(agent, tuning=meta_parameters.tune(config.hyperparameters(), NAMES))
    program = make_windows(agent, study.burn_in, HORIZON)
    train, explain = jax.jit(partial(train_nets, agent, TRAINING)), jax.jit(partial(explained, agent, EXPLAINING))
    measured = []
    for point in snake_points.trained_points({name: study.trained[name] for name in names}, study.asked, folder):
        eta = meta_parameters.meta_parameters_of(agent.tuning, point.about["hyperparameters"])
        # The study's keys: its windows are these, up to their length.
        key = jax.random.fold_in(jax.random.key(study.seed), WINDOWS)
        key = jax.random.fold_in(key, list(study.trained).index(point.name))
        train_key, explain_key = jax.random.split(jax.random.fold_in(key, WINDOWS))
        nets = kept_nets(folder / "leads" / f"{point.name}.npz", partial(train, point.fixed, eta, train_key))
        shares = explain(point.fixed, eta, nets, explain_key)
        drawn: dict[str, np.ndarray] = {}
        for centred, number in ((False, study.num_samples), (True, num_centred)):
            if number:
                place = folder / "leads" / ("centred" if centred else "plain") / point.name
                held = point._replace(fixed=(point.fixed, nets, jnp.float32(centred)), eta=eta)
                with tqdm.tqdm(total=number, desc=str(place), unit=" windows") as bar:
                    samples = sampling.draw(held, program, key, number, study.chunk_size, place, bar.update)
                columns = enumerate([CENTRED] if centred else VARIANTS)
                drawn |= {name: samples[:, column] for column, name in columns}
        files = sorted((folder / LIFETIMES / point.name).glob("*.npy"))
        truth = None
        if files and HORIZON in study.return_horizons:
            truth = np.concatenate([np.load(file) for file in files])[:, study.return_horizons.index(HORIZON)]
        print(f"\n{point.name}\n{describe(drawn, truth)}")
        for name in (PLAIN, "(b)", "(c)", "(c')"):
            what = (
                "of the mean square of dG is its squared mean" if name == PLAIN else f"of its variance {name} explains"
            )
            print(", ".join(f"{share:.0%} ({one})" for one, share in zip(MOVING, shares[name], strict=True)), what)
        measured.append(drawn)
    print(f"\n{pooled(measured)}\n{INTERVALS_NOTE} undetermined: a mean, or the truth, cannot be told from zero.")


def main(values: flags.FlagValues) -> None:
    """Measures what the flags ask for."""
    study = study_from_flags(values)
    if not study.trained or study.config.shared_torso or not study.config.exact_targets or study.names != NAMES:
        raise UsageError(
            "leads: agents trained for a study, with exact targets, torsos of their own and the default --meta_params"
        )
    names = values.agents or list(study.trained)
    if not set(names) <= set(study.trained):
        refuse("agents", values.agents, f"among {', '.join(study.trained)}")
    try:
        measure(study, open_folder(values.logdir, study), names, values.num_centred)
    except NonFiniteError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    own = define_flags()
    flags.DEFINE_list("agents", None, "names of the study's agents to measure; by default all", flag_values=own)
    flags.DEFINE_integer("num_centred", 0, "windows of (a); by default none", lower_bound=0, flag_values=own)
    command_line.run(main, own, "the same command goes on from here")
