"""As AMCT's module of this name."""

from qir.compat.amct_pytorch.common.auto_calibration import CosineSimilaritySensitivity

__all__ = ["CosineSimilaritySensitivity"]
