"""Bias, variance and signal-to-noise ratio of the estimators, at agents that are held fixed.

`settings` say what is asked for and `study` carries it out: `agent_points` and `tabular_points` are where windows
start, `sampling` draws them, `analysis` and `truth` make numbers of them, `text` and `pictures` show these.
"""
