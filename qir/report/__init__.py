"""What a quantization did: in memory, as JSON beside the files of the model, and as a page for people."""

from qir.report.layers import WIDENED, LayerReport, Report, report_layers

__all__ = ["WIDENED", "LayerReport", "Report", "report_layers"]
