"""The Discounting Chain, where the outer loss's critic decides what is learned.

`exact` has gradients and learning curves in expectation, `sampled` trains agents, `study` is all of it, for `picture`.
"""

import os

# The exact values solve many small linear systems. OpenBLAS's threads wait for each other in a loop: on a busy machine
# that costs fifty times what the second core gains. That of SciPy reads this when it is loaded, hence here.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
