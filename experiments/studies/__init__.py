"""What the larger commands do; the commands themselves, with their flags, are `experiments/NAME.py`.

A new study is a package here, `experiments/NAME.py` with its flags, and a line under `console_scripts` in `setup.cfg`.
`self_tuning` has no command: `python -m experiments.studies.self_tuning`.
"""
