"""Statistics of arrays, for tests of calibration methods."""

from __future__ import annotations

from unittest import mock

import numpy as np
import numpy.typing as npt

from qir.runtime import statistics as statistics_module
from qir.runtime.statistics import TensorStatistics


def taken(*parts: npt.ArrayLike) -> TensorStatistics:
    statistics = TensorStatistics()
    for index, part in enumerate(parts):
        statistics.update(np.asarray(part, np.float32), sample=index)
    return statistics


def binned(*parts: npt.ArrayLike) -> TensorStatistics:
    with mock.patch.object(statistics_module, "EXACT_LIMIT", 0):
        return taken(*parts)
