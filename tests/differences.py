"""Finite differences."""

import numpy as np


def central_difference(function, eta, name, step=1e-3):
    """Returns the derivative in one component by central differences with one Richardson extrapolation."""

    def difference(step):
        up, down = (function({**eta, name: eta[name] + sign * step}) for sign in (1, -1))
        return (np.asarray(up) - np.asarray(down)) / (2 * step)

    return (4 * difference(step / 2) - difference(step)) / 3
