"""InnerProduct: a Gemm, or a MatMul where axes in front of the lumped ones stay."""

from __future__ import annotations

from qir.frontends.caffe.blobs import Version
from qir.frontends.caffe.scope import LayerScope, Tensor
from qir.frontends.caffe.shapes import Shape, size
from qir.ir.node import Value


def inner_product(layer: LayerScope) -> None:
    """x [.., K] times weights [num_output, K] ([K, num_output] with `transpose`), plus bias.

    The axes from `axis` on are lumped into K, those before it stay.
    """
    x, top = layer.one()
    params = layer.params("inner_product_param")
    axis = layer.axis(params.integer("axis"), len(x.shape))
    outputs, lumped = params.integer("num_output"), size(x.shape[axis:])
    if outputs < 1:
        raise layer.error("has no num_output")
    transposed = params.flag("transpose")
    weights = layer.blob(0, (lumped, outputs) if transposed else (outputs, lumped), "weight")
    bias = None
    if params.flag("bias_term"):
        bias = layer.constant(layer.blob(1, (outputs,), "bias"), "bias")
    if axis == 1:
        if len(x.shape) > 2:
            x = layer.add("Flatten", [x], (x.shape[0], lumped), {"axis": 1}, part="flatten")
        weight = layer.constant(weights, "weight")
        operands: list[Tensor | Value] = [x, weight] if bias is None else [x, weight, bias]
        attributes = {"transB": 0 if transposed else 1}
        layer.add("Gemm", operands, (x.shape[0], outputs), attributes, top=top)
    else:
        weight = layer.constant(weights if transposed else weights.T, "weight")
        _matmul(layer, x, axis, weight, bias, top, lumped, outputs)


def _matmul(
    layer: LayerScope,
    x: Tensor,
    axis: int,
    weight: Value,
    bias: Value | None,
    top: Version,
    lumped: int,
    outputs: int,
) -> None:
    kept = x.shape[:axis]
    if len(x.shape) != axis + 1:
        target = layer.indices((*(0 for _ in kept), lumped), "shape")
        x = layer.add("Reshape", [x, target], (*kept, lumped), part="flatten")
    shape: Shape = (*kept, outputs)
    product = layer.add("MatMul", [x, weight], shape, top=top if bias is None else None)
    if bias is not None:
        layer.add("Add", [product, bias], shape, part="bias", top=top)
