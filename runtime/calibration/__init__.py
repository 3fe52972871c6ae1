"""Calibration methods: pure functions from the statistics of a tensor to its scale and zero point.

One module a family. Importing this package registers the methods of qir in `METHODS`.
"""

from qir.runtime.calibration.hfmg import Hfmg, hfmg_exact
from qir.runtime.calibration.ifmr import Ifmr, ifmr_exact
from qir.runtime.calibration.kl import Kl
from qir.runtime.calibration.mse import Mse
from qir.runtime.calibration.ranges import MinMax, MovingAverage, Percentile
from qir.runtime.calibration.registry import METHODS, CalibrationMethod, Registry, calibrator, method_named

__all__ = [
    "METHODS",
    "CalibrationMethod",
    "Hfmg",
    "Ifmr",
    "Kl",
    "MinMax",
    "MovingAverage",
    "Mse",
    "Percentile",
    "Registry",
    "calibrator",
    "hfmg_exact",
    "ifmr_exact",
    "method_named",
]
