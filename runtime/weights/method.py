"""What a method is that chooses the scales of a weight, and what several of them need."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from qir.ir.errors import ConfigError, ModelError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.channels import channels_first
from qir.runtime.scales import FLT_EPSILON, LEAST_FLOAT, params_of_range
from qir.runtime.workers import cores

F32 = npt.NDArray[np.float32]
_SMALL = 1 << 20  # steps of a search that are not worth a thread


class WeightMethod(Protocol):
    """What `quantize-weights` needs of a method: options are the fields of a frozen dataclass."""

    def close(self, weights: npt.NDArray[Any], spec: QuantSpec) -> QuantParams:
        """Scales for float weights: a pure function of its arguments and of the method's options.

        ModelError when the weights are empty, not floating point, or not finite; PassError when the spec does
        not fit the shape.
        """


def checked_rows(weights: npt.NDArray[Any], spec: QuantSpec) -> F32:
    """The weights as a float32 matrix [C, n], one row per scale; the errors of `WeightMethod.close`."""
    if not np.issubdtype(weights.dtype, np.floating):
        raise ModelError(f"weights must be floating point, not {weights.dtype}")
    if weights.size == 0:
        raise ModelError(f"weights of shape {list(weights.shape)} are empty")
    rows = channels_first(weights.astype(np.float32, copy=False), spec)
    bad = rows.size - int(np.count_nonzero(np.isfinite(rows)))
    if bad:
        raise ModelError(
            f"{bad} of {rows.size} weights are NaN or infinite; repair the model or leave the layer in float"
        )
    return rows


def params_of_rows(rows: F32, spec: QuantSpec) -> QuantParams:
    """Params by the range of each row: scale 1.0 where all weights are zero.

    Weights of more than 8 bits have finer scales than the hardware for which D.2 was made.
    """
    least = FLT_EPSILON if spec.qtype.bits <= 8 else LEAST_FLOAT
    return params_of_range(rows.min(axis=1), rows.max(axis=1), spec, least=least)


def check_symmetric(method: str, spec: QuantSpec) -> None:
    """ConfigError for a spec with zero points, which searches for scales do not know."""
    if not spec.symmetric:
        raise ConfigError(f"method {method} is for symmetric weights; use arq, or a symmetric spec")


def in_threads(search: Callable[[int, int], None], count: int, cost: int) -> None:
    """Call `search(first, last)` for ranges that make up 0 to `count`, in threads where `cost` is worth it.

    `cost` is the number of steps in all. Items must be independent of each other; then the result does not
    depend on the number of threads.
    """
    parts = min(cores(), count, 1 + cost // _SMALL)
    if parts < 2:
        search(0, count)
        return
    edges = [count * i // (4 * parts) for i in range(4 * parts + 1)]  # some rows cost more than others
    pool = ThreadPoolExecutor(parts, thread_name_prefix="qir")
    try:
        for future in [pool.submit(search, a, b) for a, b in pairwise(edges)]:
            future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)  # Ctrl-C waits for the ranges under way only
