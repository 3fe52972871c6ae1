"""Rules on the attributes of AscendQuant, AscendDequant and AscendAntiQuant: types, values, unknown names.

ATC's ONNX parser reads each attribute by a fixed type; one of another type counts as absent and its default
is taken without a word, which is how a graph compiles and computes nonsense.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from qir.backends.ascend.check.finding import Finding, Severity
from qir.backends.ascend.check.structure import (
    ANTI_QUANT,
    ASCEND_OPS,
    DEQUANT,
    QUANT,
    DeployGraph,
    number_of,
)
from qir.ir.errors import did_you_mean
from qir.ir.node import Attribute, Node

_RANGES = {"INT4": (-8, 7), "INT8": (-128, 127), "INT16": (-32768, 32767)}
_ROUND_MODES = ("Round", "Floor", "Ceil", "Trunc")
_SMALLEST_HALF, _LARGEST_HALF = 2.0**-14, 65504.0
_EPSILON = float(np.finfo(np.float32).eps)


class _Expected(NamedTuple):
    kind: str
    required: bool = False


_FLAG = _Expected("INT")
_ATTRIBUTES: Mapping[str, Mapping[str, _Expected]] = {
    QUANT: {
        "scale": _Expected("FLOAT", True),
        "offset": _Expected("FLOAT", True),
        "dst_type": _Expected("STRING"),
        "round_mode": _Expected("STRING"),
        "sqrt_mode": _FLAG,
    },
    DEQUANT: {"dtype": _FLAG, "sqrt_mode": _FLAG, "relu_flag": _FLAG},
    ANTI_QUANT: {
        "scale": _Expected("FLOAT", True),
        "offset": _Expected("FLOAT", True),
        "dst_type": _Expected("STRING"),
        "dtype": _FLAG,
        "sqrt_mode": _FLAG,
    },
}


def attribute_types(deploy: DeployGraph) -> Iterator[Finding]:
    """scale and offset are FLOAT, dtype and flags INT, dst_type and round_mode STRING; none is missing."""
    for op in ASCEND_OPS:
        for node in deploy.of_op(op):
            yield from _types_of(node, _ATTRIBUTES[op])


def _types_of(node: Node, expected: Mapping[str, _Expected]) -> Iterator[Finding]:
    for name, (kind, required) in expected.items():
        found = node.attributes.get(name)
        if found is None and required:
            yield _finding(
                "error", node, f"{node.op} has no attribute '{name}'", f"add it as a {kind}: ATC needs it"
            )
        elif found is not None and _kind(found) != kind:
            yield _finding(
                "error",
                node,
                f"attribute '{name}' of {node.op} is {_kind(found)}, ATC reads it as {kind}",
                f"store it as {kind}; otherwise ATC takes the attribute for absent",
            )
    for name in node.attributes:
        if name not in expected:
            yield _finding(
                "warning",
                node,
                f"{node.op} has no attribute called '{name}'{did_you_mean(name, expected)}",
                "remove it: ATC does not read it",
            )


def _kind(value: Attribute) -> str:
    if isinstance(value, float):
        return "FLOAT"
    if isinstance(value, int):
        return "INT"
    return "STRING" if isinstance(value, (str, bytes)) else "of another kind"


def attribute_values(deploy: DeployGraph) -> Iterator[Finding]:
    """dst_type, round_mode, dtype and flags have values that ATC knows; offsets are integers in range."""
    for node in (*deploy.of_op(QUANT), *deploy.of_op(ANTI_QUANT)):
        target = _text(node, "dst_type", "INT8")
        yield from _choice(node, "dst_type", target, tuple(_RANGES))
        yield from _choice(node, "round_mode", _text(node, "round_mode", "Round"), _ROUND_MODES)
        yield from _offset(node, *_RANGES.get(target, _RANGES["INT8"]))
    for op in ASCEND_OPS:
        for node in deploy.of_op(op):
            for name in ("dtype", "sqrt_mode", "relu_flag"):
                number = node.attributes.get(name)
                if isinstance(number, int) and number not in (0, 1):
                    what = "0 (float32) or 1 (float16)" if name == "dtype" else "0 or 1"
                    yield _finding(
                        "error", node, f"attribute '{name}' of {node.op} is {number}", f"set it to {what}"
                    )


def _text(node: Node, name: str, default: str) -> str:
    found = node.attributes.get(name, default)
    if isinstance(found, bytes):
        return found.decode(errors="replace")
    return found if isinstance(found, str) else default


def _choice(node: Node, name: str, value: str, known: tuple[str, ...]) -> Iterator[Finding]:
    if value not in known:
        yield _finding(
            "error",
            node,
            f"attribute '{name}' of {node.op} is '{value}'{did_you_mean(value, known)}",
            f"use one of {', '.join(known)}; ATC takes its default for others, without a word",
        )


def _offset(node: Node, low: int, high: int) -> Iterator[Finding]:
    offset = number_of(node, "offset")
    if offset is None:
        return
    if not np.isfinite(offset) or offset != np.rint(offset) or not low <= offset <= high:
        yield _finding(
            "error",
            node,
            f"the offset of {node.op} is {offset}",
            f"use an integer between {low} and {high}; the device rounds and clips it otherwise",
        )


def scale_range(deploy: DeployGraph) -> Iterator[Finding]:
    """The scale is positive and finite, and fits float16, in which some devices multiply by it."""
    for node in (*deploy.of_op(QUANT), *deploy.of_op(ANTI_QUANT)):
        scale = number_of(node, "scale")
        if scale is None:
            continue
        if not np.isfinite(scale) or scale <= 0:
            yield Finding(
                "error",
                "scale-range",
                node.name,
                f"the scale of {node.op} is {scale}",
                "a scale is a positive finite number: calibrate the layer again, or leave it in float",
            )
        elif not _EPSILON <= scale <= 1 / _EPSILON:
            yield Finding(
                "error",
                "scale-range",
                node.name,
                f"the scale of {node.op} is {scale:.3g}, outside [{_EPSILON:.3g}, {1 / _EPSILON:.3g}]",
                "the range of its input is unusable: leave the layer in float (--skip)",
            )
        elif not _SMALLEST_HALF <= scale <= _LARGEST_HALF:
            yield Finding(
                "warning",
                "scale-range",
                node.name,
                f"the scale of {node.op}, {scale:.3g}, is outside the normal range of float16 "
                f"[{_SMALLEST_HALF:.3g}, {_LARGEST_HALF:.5g}]",
                "devices that multiply in float16 lose it: leave the layer in float, or scale its input",
            )


def _finding(severity: Severity, node: Node, sentence: str, cure: str) -> Finding:
    return Finding(severity, "attribute", node.name, sentence, cure)
