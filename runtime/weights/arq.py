"""ARQ: the scale of each channel by the range of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.weights.method import checked_rows, params_of_rows


@dataclass(frozen=True)
class Arq:
    """AMCT's arq_quantize: no weight is clipped but for half a step."""

    def close(self, weights: npt.NDArray[Any], spec: QuantSpec) -> QuantParams:
        """Close `spec` by minimum and maximum of each channel; an all-zero channel gets scale 1.0."""
        return params_of_rows(checked_rows(weights, spec), spec)
