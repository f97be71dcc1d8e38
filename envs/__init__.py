"""Environments as pure functions over a small state."""
