"""As AMCT's module of this name."""

from qir.compat.amct_caffe.common.auto_calibration import AutoCalibrationStrategyBase

__all__ = ["AutoCalibrationStrategyBase"]
