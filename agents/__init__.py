"""The advantage actor-critic agent and its training loop."""
