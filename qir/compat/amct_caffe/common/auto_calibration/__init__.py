"""As AMCT's package of this name: what evaluators, strategies and sensitivities inherit from."""

from qir.compat.amct_caffe.evaluator import AutoCalibrationEvaluatorBase
from qir.compat.common.auto_calibration import (
    AutoCalibrationStrategyBase,
    BinarySearchStrategy,
    CosineSimilaritySensitivity,
    MseSensitivity,
    SensitivityBase,
)

__all__ = [
    "AutoCalibrationEvaluatorBase",
    "AutoCalibrationStrategyBase",
    "BinarySearchStrategy",
    "CosineSimilaritySensitivity",
    "MseSensitivity",
    "SensitivityBase",
]
