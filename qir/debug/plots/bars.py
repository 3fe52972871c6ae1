"""The bar plot of a sensitivity table."""

from __future__ import annotations

from qir.debug.plots.canvas import sample_count
from qir.debug.tables import SensitivityTable
from qir.sensitivity_plot import plot_sensitivity
from qir.sensitivity_report import LayerSensitivity, SensitivityReport

_WHAT = {"node": "one node", "weight": "the weights of one node", "activation": "one activation"}
_MOST = 200
"""Bars; the rows below are those that do not hurt."""


def sensitivity_plot(table: SensitivityTable) -> bytes:
    """A PNG with a bar per row, worst on top, by the first metric. ConfigError when matplotlib is missing."""
    metric = table.metrics[0]
    rows = tuple(
        LayerSensitivity(row.node, row.op, row.scores[metric.name], None, None) for row in table.rows[:_MOST]
    )
    what, samples = _WHAT[table.node_type], sample_count(table.samples)
    title = f"Quantizing {what} alone: effect on the output, mean of {samples}"
    if len(table.rows) > _MOST:
        title += f"; the {_MOST} worst of {len(table.rows)}"
    report = SensitivityReport(metric, "model", table.samples, rows)
    return plot_sensitivity(report, title, "tensor" if table.node_type == "activation" else "node")
