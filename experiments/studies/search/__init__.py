"""Searches for hyperparameters: what one would do without meta-gradients, and what it costs."""
