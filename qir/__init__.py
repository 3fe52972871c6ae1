"""qir: a quantization compiler for ONNX models.

The front door. Names load on first use, so that `import qir` does not wait for onnx, onnxruntime and numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qir.benchmarking import Benchmark as Benchmark
    from qir.benchmarking import benchmark as benchmark
    from qir.calibration import calibrate as calibrate
    from qir.comparison import Comparison as Comparison
    from qir.comparison import compare as compare
    from qir.conversion import Converted as Converted
    from qir.conversion import apply_record as apply_record
    from qir.conversion import convert_qdq as convert_qdq
    from qir.conversion import convert_record as convert_record
    from qir.conversion import import_qdq as import_qdq
    from qir.ir.errors import QirError as QirError
    from qir.ir.graph import Graph as Graph
    from qir.models import load as load
    from qir.models import parse as parse
    from qir.models import save as save
    from qir.passes.context import Context as Context
    from qir.passes.manager import PassManager as PassManager
    from qir.quantization import Quantized as Quantized
    from qir.quantization import quantize as quantize
    from qir.report.page import write_page as write_page
    from qir.runtime.calibration import calibrator as calibrator
    from qir.runtime.deploy import DeploySession as DeploySession
    from qir.runtime.statistics_file import Statistics as Statistics
    from qir.search.driver import auto_quantize as auto_quantize
    from qir.search.steps import SearchResult as SearchResult
    from qir.search.tuning.driver import tune as tune
    from qir.search.tuning.result import TuneResult as TuneResult
    from qir.sensitivity_report import SensitivityReport as SensitivityReport
    from qir.sensitivity_report import sensitivity as sensitivity

_HOME = {
    "Benchmark": "qir.benchmarking",
    "Comparison": "qir.comparison",
    "Context": "qir.passes.context",
    "DeploySession": "qir.runtime.deploy",
    "Converted": "qir.conversion",
    "Graph": "qir.ir.graph",
    "PassManager": "qir.passes.manager",
    "QirError": "qir.ir.errors",
    "Quantized": "qir.quantization",
    "Statistics": "qir.runtime.statistics_file",
    "SearchResult": "qir.search.steps",
    "SensitivityReport": "qir.sensitivity_report",
    "TuneResult": "qir.search.tuning.result",
    "apply_record": "qir.conversion",
    "auto_quantize": "qir.search.driver",
    "benchmark": "qir.benchmarking",
    "calibrate": "qir.calibration",
    "calibrator": "qir.runtime.calibration",
    "compare": "qir.comparison",
    "convert_qdq": "qir.conversion",
    "convert_record": "qir.conversion",
    "import_qdq": "qir.conversion",
    "load": "qir.models",
    "parse": "qir.models",
    "quantize": "qir.quantization",
    "save": "qir.models",
    "sensitivity": "qir.sensitivity_report",
    "tune": "qir.search.tuning.driver",
    "write_page": "qir.report.page",
}

__all__ = [
    "Benchmark",
    "Comparison",
    "Context",
    "Converted",
    "DeploySession",
    "Graph",
    "PassManager",
    "QirError",
    "Quantized",
    "SearchResult",
    "SensitivityReport",
    "Statistics",
    "TuneResult",
    "apply_record",
    "auto_quantize",
    "benchmark",
    "calibrate",
    "calibrator",
    "compare",
    "convert_qdq",
    "convert_record",
    "import_qdq",
    "load",
    "parse",
    "quantize",
    "save",
    "sensitivity",
    "tune",
    "write_page",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'qir' has no attribute '{name}'")
    found = getattr(import_module(_HOME[name]), name)
    globals()[name] = found
    return found
