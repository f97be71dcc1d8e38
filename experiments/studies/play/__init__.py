"""Watching agents play: loaded by `players`, at `games`, drawn by `panels`; in a window (`viewer`) or a `recording`.

`python -m experiments.play` is the command; from Python, `recording.record` is what its `--record` does.
"""

import os

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # before pygame is imported: it would greet on stdout
