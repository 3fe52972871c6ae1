"""The forms of the fake-quant graph by name."""

from __future__ import annotations

import logging

from qir.backends.fake_quant import ascend_form, qdq_form
from qir.backends.fake_quant.opset import raise_opset
from qir.backends.form_names import check_form
from qir.backends.layers import Integers, check_closed
from qir.ir.errors import BackendError
from qir.ir.graph import Graph
from qir.runtime.session import Feeds

_log = logging.getLogger(__name__)


def lower(
    graph: Graph,
    form: str = "ascend",
    feeds: Feeds | None = None,
    integers: Integers | None = None,
    *,
    in_place: bool = False,
) -> Graph:
    """The fake-quant graph of a completely quantized graph, in the form of that name.

    Form `qdq` raises an opset that is too low; results before and after are compared on `feeds` (made up when
    None). Where opset 21, the first with 16-bit integers, cannot be reached, these are written in plain ops.
    `integers` holds those of other graphs with the same constants. With `in_place` the graph itself may be
    used up for it. ConfigError for an unknown form, BackendError when a quant is open or opset 13 cannot be
    reached.
    """
    check_form(form)
    if form == "ascend":
        return ascend_form.lower(graph if in_place else graph.clone(), integers)
    check_closed(graph)  # before anything is raised
    return qdq_form.lower(_raised(graph, qdq_form.needed_opset(graph), feeds), integers)


def _raised(graph: Graph, version: int, feeds: Feeds | None) -> Graph:
    """A copy of the graph in opset `version`, or where only 16-bit integers need that, in opset 13."""
    try:
        return raise_opset(graph, version, feeds)
    except BackendError as error:
        if version == qdq_form.PER_CHANNEL_SINCE:
            raise
        _log.warning("16-bit integers are written in plain ops, without QuantizeLinear: %s", error)
        return raise_opset(graph, qdq_form.PER_CHANNEL_SINCE, feeds)
