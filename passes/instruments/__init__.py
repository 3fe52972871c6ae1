"""Instruments: what can be told about a pipeline run without changing it."""

from qir.passes.instruments.base import Instrument
from qir.passes.instruments.print_ir import PrintIr
from qir.passes.instruments.reproducer import Reproducer
from qir.passes.instruments.rewrite_statistics import RewriteStatistics
from qir.passes.instruments.timing import Timing
from qir.passes.instruments.verify_each import VerifyEach

__all__ = ["Instrument", "PrintIr", "Reproducer", "RewriteStatistics", "Timing", "VerifyEach"]
