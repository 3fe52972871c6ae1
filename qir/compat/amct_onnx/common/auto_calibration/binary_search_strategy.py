"""As AMCT's module of this name."""

from qir.compat.amct_onnx.common.auto_calibration import BinarySearchStrategy

__all__ = ["BinarySearchStrategy"]
