"""As AMCT's module of this name."""

from qir.compat.amct_pytorch.common.auto_calibration import MseSensitivity, SensitivityBase

__all__ = ["MseSensitivity", "SensitivityBase"]
