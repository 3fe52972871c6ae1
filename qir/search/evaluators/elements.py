"""Numbers that users' code keeps in arrays, or in tensors of whatever library."""

from __future__ import annotations

import numpy as np


def as_lists(metric: object) -> object:
    """An array or tensor as a number, or as nested lists of numbers; anything else as it is."""
    tolist = getattr(metric, "tolist", None)
    return metric if isinstance(metric, type) or not callable(tolist) else tolist()


def only_element(metric: object) -> object:
    """What an array or tensor of one element holds; anything else as it is."""
    if isinstance(metric, np.generic):
        return metric
    shape = getattr(metric, "shape", None)
    if not isinstance(shape, tuple) or any(size != 1 for size in shape):
        return metric
    found = as_lists(metric)
    while isinstance(found, list) and len(found) == 1:
        found = found[0]
    return found
