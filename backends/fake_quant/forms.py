"""The forms of the fake-quant graph by name."""

from __future__ import annotations

from qir.backends.fake_quant import ascend_form, qdq_form
from qir.backends.fake_quant.opset import raise_opset
from qir.backends.layers import check_closed
from qir.ir.errors import ConfigError, did_you_mean
from qir.ir.graph import Graph
from qir.runtime.session import Feeds

FORMS = ("ascend", "qdq")
"""`ascend` predicts the deploy graph bit for bit; `qdq` is portable."""


def lower(graph: Graph, form: str = "ascend", feeds: Feeds | None = None) -> Graph:
    """The fake-quant graph of a completely quantized graph, in the form of that name.

    Form `qdq` raises an opset that is too low; results before and after are compared on `feeds` (made up when
    None). ConfigError for an unknown form, BackendError when a quant is open or the opset cannot be raised.
    """
    check_form(form)
    check_closed(graph)
    if form == "ascend":
        return ascend_form.lower(graph)
    return qdq_form.lower(raise_opset(graph, qdq_form.needed_opset(graph), feeds))


def check_form(form: str) -> None:
    """ConfigError with the nearest name when there is no such form."""
    if form not in FORMS:
        raise ConfigError(
            f"there is no form '{form}' of the fake-quant graph; known: {', '.join(FORMS)}"
            + did_you_mean(form, FORMS)
        )
