"""Bias, variance and signal-to-noise ratio of the estimators, at agents that are held fixed.

`snake_points` and `tabular_points` say where windows start, `sampling` draws their meta-gradients, `analysis` makes
numbers of these, `summary` says in words what they answer, tables and pictures show them.
"""
