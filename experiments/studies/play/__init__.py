"""Watching agents play, from a folder of agents to a window or a file.

`players` are loaded from runs, their `games` go on side by side in one program, and a `match` draws both with the
`panels`; a `viewer` shows it in a window and a `recording` keeps it. `python -m experiments.play` is the command.
"""
