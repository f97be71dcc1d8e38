"""Policies as plain data: distributions of actions, of which a network returns one for each observation.

Distrax does the mathematics. One's own policy is another such tuple of arrays, [..., D], with the same methods.
"""

from typing import Any, NamedTuple, Protocol

import chex
import distrax
import jax
import jax.numpy as jnp


class Policy(Protocol):
    """Distributions of actions, one for each of the leading axes [...] of its arrays."""

    def sample(self, key: chex.PRNGKey) -> chex.Array:
        """Draws an action for each, as the environment takes it."""

    def mode(self) -> chex.Array:
        """Returns the most probable actions."""

    def log_prob(self, action: chex.Array) -> chex.Array:
        """Returns the logarithm of the probability, or of its density, float [...]."""

    def entropy(self) -> chex.Array:
        """Returns the entropies, float [...]."""

    def kl_divergence(self, other: Any) -> chex.Array:
        """Returns the divergences from these distributions to others, `KL(self || other)`, float [...]."""


class Categorical(NamedTuple):
    """One of A discrete actions, an int32.

    Attributes:
      logits: float [..., A].
    """

    logits: chex.Array

    def sample(self, key: chex.PRNGKey) -> chex.Array:
        """Draws actions, int32 [...]."""
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def mode(self) -> chex.Array:
        """Returns the most probable actions, int32 [...]."""
        return jnp.argmax(self.logits, -1).astype(jnp.int32)

    def log_prob(self, action: chex.Array) -> chex.Array:
        """Returns the logarithm of the probability of actions, int32 [...]."""
        return distrax.Categorical(self.logits).log_prob(action)

    def entropy(self) -> chex.Array:
        """Returns the entropies, float [...]."""
        return distrax.Categorical(self.logits).entropy()

    def kl_divergence(self, other: "Categorical") -> chex.Array:
        """Returns `KL(self || other)`, float [...]."""
        return distrax.Categorical(self.logits).kl_divergence(distrax.Categorical(other.logits))


class Gaussian(NamedTuple):
    """D real numbers, each with a normal distribution of its own; an action is a float [D].

    Attributes:
      mean: float [..., D].
      log_std: float [..., D].
    """

    mean: chex.Array
    log_std: chex.Array

    def _distribution(self) -> Any:
        return distrax.MultivariateNormalDiag(self.mean, jnp.exp(self.log_std))

    def sample(self, key: chex.PRNGKey) -> chex.Array:
        """Draws actions, float [..., D]."""
        return self._distribution().sample(seed=key)

    def mode(self) -> chex.Array:
        """Returns the most probable actions, float [..., D]."""
        return self.mean

    def log_prob(self, action: chex.Array) -> chex.Array:
        """Returns the logarithm of the density of actions, float [..., D]."""
        return self._distribution().log_prob(action)

    def entropy(self) -> chex.Array:
        """Returns the differential entropies, float [...]."""
        return self._distribution().entropy()

    def kl_divergence(self, other: "Gaussian") -> chex.Array:
        """Returns `KL(self || other)`, float [...]."""
        return self._distribution().kl_divergence(other._distribution())
