"""Rules on what may stand between AscendQuant and AscendDequant, and in which form of each layer."""

from __future__ import annotations

from collections.abc import Iterator

from qir.backends.ascend.check.finding import Finding
from qir.backends.ascend.check.structure import (
    ANTI_QUANT,
    DEQUANT,
    INTEGER_OPS,
    QUANT,
    DeployGraph,
    DeployLayer,
    integer_uses,
    shape_of,
)
from qir.ir.node import Node, Use

_RECURRENT = ("BasicLSTMInplaceFillWindowCache", "BasicGRUInplaceFillWindowCache")


def layer_forms(deploy: DeployGraph) -> Iterator[Finding]:
    """The forms that Ascend does not run on integers."""
    for layer in deploy.layers:
        reason = _REASONS[layer.node.op](layer)
        if reason is not None:
            yield _finding(layer.node, f"{layer.node.op} {reason}", "leave this layer in float (--skip)")


def _conv(layer: DeployLayer) -> str | None:
    rank, dilations = _rank(layer), _ints(layer.node, "dilations")
    if rank is not None and not 3 <= rank <= 5:
        return f"has a weight of {rank} dimensions; Ascend convolves over 1 to 3 spatial dimensions"
    if rank == 5 and dilations and dilations[0] != 1:
        return f"has depth dilation {dilations[0]}; a quantized 3-D convolution needs 1"
    return None


def _conv_transpose(layer: DeployLayer) -> str | None:
    rank, dilations = _rank(layer), _ints(layer.node, "dilations")
    if any(d != 1 for d in dilations):
        return f"has dilations {list(dilations)}; Ascend quantizes it without dilation only"
    if rank is not None and rank not in (3, 4):
        return f"has a weight of {rank} dimensions; Ascend quantizes it over 1 or 2 spatial dimensions"
    return None


def _gemm(layer: DeployLayer) -> str | None:
    attributes = layer.node.attributes
    if attributes.get("transA", 0) != 0:
        return "has transA=1; Ascend quantizes a plain data input only"
    if attributes.get("transB", 0) != 0:
        return "has transB=1; the int8 weight of a deploy graph is [K, N] with transB=0"
    for name in ("alpha", "beta"):
        if attributes.get(name, 1.0) != 1.0:
            return f"has {name}={attributes[name]!s}; integers are summed with 1"
    return None


def _matmul(layer: DeployLayer) -> str | None:
    rank = _rank(layer)
    return None if rank in (2, None) else f"has a weight of {rank} dimensions; Ascend needs 2"


def _average_pool(layer: DeployLayer) -> str | None:
    size = len(_ints(layer.node, "kernel_shape"))
    if size != 2:
        return f"pools over {size} spatial dimensions; Ascend quantizes pooling over 2 only"
    if any(d != 1 for d in _ints(layer.node, "dilations")):
        return "is dilated; Ascend quantizes plain pooling only"
    return None


_REASONS = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "AveragePool": _average_pool,
}


def _rank(layer: DeployLayer) -> int | None:
    shape = shape_of(layer.weight)
    return None if shape is None else len(shape)


def _ints(node: Node, name: str) -> tuple[int, ...]:
    found = node.attributes.get(name, ())
    return tuple(x for x in found if isinstance(x, int)) if isinstance(found, tuple) else ()


def quant_readers(deploy: DeployGraph) -> Iterator[Finding]:
    """What AscendQuant gives is read as data by layers that compute on integers, or is a graph output."""
    for node in deploy.of_op(QUANT):
        if not node.output.is_read:
            yield Finding("warning", "structure", node.name, "nothing reads its integers", "remove it")
        for use in integer_uses(node.output):
            if not _reads_integers(use):
                yield _finding(
                    use.node,
                    f"{use.node.op} reads the integers of '{node.name}' as input {use.index}, "
                    f"which Ascend has no integer form of",
                    f"let it read floats: integers are for {', '.join(INTEGER_OPS)} and {ANTI_QUANT}",
                )


def _reads_integers(use: Use) -> bool:
    known = (*INTEGER_OPS, ANTI_QUANT, *_RECURRENT)
    return use.node.op in known and (use.index == 0 or use.node.op in _RECURRENT)


def dequants(deploy: DeployGraph) -> Iterator[Finding]:
    """Every integer sum goes to one AscendDequant, and every AscendDequant reads an integer sum."""
    sums = {layer.last: layer for layer in deploy.layers}
    for layer in deploy.layers:
        if layer.dequant is None:
            yield _finding(
                layer.node,
                f"no AscendDequant reads the sums of {layer.node.op}",
                "add one behind it: what follows would read int32 sums",
            )
            continue
        others = [use.node for use in layer.last.output.uses if use.node is not layer.dequant]
        for other in others:
            if other.op != DEQUANT:
                yield _finding(
                    other,
                    f"{other.op} reads the int32 sums of '{layer.node.name}'",
                    f"let it read the output of '{layer.dequant.name}'",
                )
    for node in deploy.of_op(DEQUANT):
        source = node.input(0)
        producer = None if source is None else source.producer
        if producer is None or (producer not in sums and producer.op not in _RECURRENT):
            what = "nothing" if source is None else f"'{source.name}'"
            yield _finding(
                node,
                f"it reads {what}, which is no int32 sum of a quantized layer",
                "an AscendDequant follows a layer that reads an AscendQuant",
            )


def _finding(node: Node, sentence: str, cure: str) -> Finding:
    return Finding("error", "structure", node.name, sentence, cure)
