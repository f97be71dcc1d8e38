"""Random search for fixed hyperparameters: what one would do without meta-gradients.

`settings` are drawn, `training` trains them all in one program, `searching` ranks them and confirms the best one, and
`picture` shows them. `python -m experiments.search` is the command.
"""
