"""Random search for fixed hyperparameters: what one would do without meta-gradients, and what it costs."""
