"""An agent of your own: proximal policy optimization (Schulman et al., 2017) as the inner update.

    python examples/own_agent.py

The commands take it as well, on Catch, Snake and any other environment:
    python -m experiments.train --agent=examples.own_agent:ppo --agent_options=epochs=2,clip=0.1 --logdir=runs/ppo
"""

import dataclasses

import jax
import jax.numpy as jnp
import rlax

from agents import actor_critic
from agents.agent import Agent
from experiments.config.settings import Config
from experiments.runs.training import Result, train


def ppo(agent: Agent, epochs: int = 2, minibatches: int = 4, clip: float = 0.2) -> Agent:
    """Learns from each rollout in several epochs of minibatches, of as many environments each.

    The environments are alike, so minibatches need not be drawn; what is random travels in the batch.
    """

    def update(learner, hyper, rollout):
        before = agent.network.apply(learner.params, rollout.observation)
        bootstrap_values = agent.network.apply(learner.params, rollout.bootstrap_observation).value
        targets = actor_critic.targets(before.value, bootstrap_values, rollout, hyper)
        data = rollout.observation, rollout.action, before.policy.log_prob(rollout.action), targets
        parts = jax.tree.map(lambda leaf: jnp.stack(jnp.split(leaf, minibatches, axis=1)), data)

        def loss(params, observation, action, log_prob, targets):
            predictions = agent.network.apply(params, observation)
            ratio = jnp.exp(predictions.policy.log_prob(action) - log_prob)
            clipped = jnp.clip(ratio, 1.0 - clip, 1.0 + clip)
            terms = {
                "policy": -jnp.mean(jnp.minimum(ratio * targets.advantages, clipped * targets.advantages)),
                "value": jnp.mean(rlax.l2_loss(predictions.value, targets.returns)),
                "entropy": -jnp.mean(predictions.policy.entropy()),
            }
            return actor_critic.weigh(terms, hyper), terms

        def step(learner, part):
            gradient, terms = jax.grad(loss, has_aux=True)(learner.params, *part)
            return actor_critic.descend(agent.optimizer, learner, gradient, hyper), terms

        everything = jax.tree.map(lambda leaf: jnp.concatenate([leaf] * epochs), parts)
        learner, terms = jax.lax.scan(step, learner, everything)
        return learner, jax.tree.map(jnp.mean, terms)

    return dataclasses.replace(agent, update=update)


def main(**settings) -> Result:
    """Trains two such agents on Catch, which tune their own discounts, and prints what became of them."""
    shared = {"environment": "catch", "num_seeds": 2, "num_env_steps": 64_000, "meta_params": ("discount",)}
    result = train(Config(**shared | {"agent": f"{__name__}:ppo"} | settings))
    for name in ("episode_return", "hyper/discount"):
        print(f"{name}: from {result.metrics[name][0].mean():.3f} to {result.metrics[name][-1].mean():.3f}")
    return result


if __name__ == "__main__":
    main()
