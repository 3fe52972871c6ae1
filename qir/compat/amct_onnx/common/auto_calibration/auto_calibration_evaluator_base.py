"""As AMCT's module of this name."""

from qir.compat.amct_onnx.common.auto_calibration import AutoCalibrationEvaluatorBase

__all__ = ["AutoCalibrationEvaluatorBase"]
