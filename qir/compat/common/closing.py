"""The range of one activation in AMCT's way: what it cannot use is an error, tiny scales become 1."""

from __future__ import annotations

from collections.abc import Sequence

from qir.ir.errors import CalibrationError
from qir.ir.types import QuantParams, QuantSpec
from qir.passes.calibrate import Calibrate
from qir.runtime.calibration import METHODS
from qir.runtime.scales import in_float16, unusable_range
from qir.runtime.statistics import TensorStatistics


def closed_range(
    statistics: TensorStatistics, spec: QuantSpec, item: Calibrate, layers: Sequence[str]
) -> QuantParams:
    """Scale and zero point as `calibrate` gives them in AMCT's mode; CalibrationError for unusable ranges."""
    failure = (
        f"[{METHODS.name_of(item.method).upper()}]: Do layer {', '.join(layers)} data calibration failed!"
    )
    if statistics.count == 0:
        raise CalibrationError(f"{failure} Its input was empty in every batch; skip the layer")
    unusable = unusable_range(statistics.minimum, statistics.maximum)
    if unusable is not None:
        raise CalibrationError(f"{failure} Its input {unusable}; skip the layer, or normalize the data")
    try:
        params = item.method.close(statistics, spec)
    except CalibrationError as error:
        raise CalibrationError(f"{failure} {error}") from error
    if item.scales != "float16":
        return params
    return QuantParams.of(spec, in_float16(params.scale_array()), params.zero_point)
