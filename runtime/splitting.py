"""Whether a feed of several samples may be cut into single ones, and along which inputs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from qir.ir.errors import QirError
from qir.ir.node import Value
from qir.runtime.units import Array, Run

logger = logging.getLogger(__name__)

_TOLERANCE = 1e-3
"""Greatest difference, as a share of an output's range, that counts as rounding."""


def rows_of(feed: Mapping[str, Array], inputs: Sequence[Value]) -> tuple[int, tuple[str, ...]]:
    """Number of samples in a feed, and the inputs that carry them along axis 0; (1, ()): it is one whole.

    These are the inputs whose first dimension is not fixed, if they agree in length; or, where every input
    has a first dimension of 1, all of them.
    """
    shapes = {v.name: v.tensor.shape for v in inputs}
    names = tuple(n for n, shape in shapes.items() if feed[n].ndim and (shape is None or _is_free(shape)))
    if not names and all(shape and shape[0] == 1 and feed[n].ndim for n, shape in shapes.items()):
        names = tuple(shapes)
    lengths = {feed[n].shape[0] for n in names}
    return (lengths.pop(), names) if len(lengths) == 1 else (1, ())


def _is_free(shape: tuple[int | str | None, ...]) -> bool:
    return bool(shape) and not isinstance(shape[0], int)


def is_separable(feed: Mapping[str, Array], names: Sequence[str], run: Run) -> bool:
    """True when the first two samples together give what each gives alone, joined along axis 0.

    Outputs that are the same for both samples (not of the batch at all) count as well. Two samples are
    enough and make the answer independent of how many the user put into a feed.
    """

    def rows(start: int, stop: int) -> dict[str, Array]:
        return {n: a[start:stop] if n in names else a for n, a in feed.items()}

    try:
        both, first, second = run(rows(0, 2)), run(rows(0, 1)), run(rows(1, 2))
    except QirError as error:
        logger.info("two samples cannot run both together and alone: %s", error)
        return False
    return all(_agree(both[name], first[name], second[name]) for name in both)


def _agree(both: Array, first: Array, second: Array) -> bool:
    parts = (both, first, second)
    if not all(isinstance(part, np.ndarray) for part in parts):
        return False  # sequences and maps
    if all(_close(both, part) for part in (first, second)):
        return True
    if both.ndim == 0 or first.shape[1:] != second.shape[1:] or first.ndim == 0 or second.ndim == 0:
        return False
    return _close(both, np.concatenate([first, second]))


def _close(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    if a.dtype.kind != "f" or a.size == 0:
        return bool(np.array_equal(a, b))
    finite = a[np.isfinite(a)]
    spread = float(finite.max()) - float(finite.min()) if finite.size else 0.0
    magnitude = float(np.abs(finite).max()) if finite.size else 0.0
    tolerance = _TOLERANCE * max(spread, _TOLERANCE * magnitude)
    return bool(np.allclose(a, b, rtol=0, atol=tolerance, equal_nan=True))
