"""As AMCT's module of this name: raw calibration data, which evaluator scripts load too."""

from qir.compat.common.raw_batches import load_data

__all__ = ["load_data"]
