"""As AMCT's module of this name."""

from qir.compat.amct_caffe.common.auto_calibration import MseSensitivity, SensitivityBase

__all__ = ["MseSensitivity", "SensitivityBase"]
