"""Layers that compute element by element, with constants or with each other."""

from __future__ import annotations

import math

import numpy as np

from qir.frontends.caffe.blobs import Version
from qir.frontends.caffe.scope import LayerScope, Tensor
from qir.frontends.caffe.shapes import Shape, text_of


def abs_val(layer: LayerScope) -> None:
    """|x|."""
    x, top = layer.one()
    layer.add("Abs", [x], x.shape, top=top)


def power(layer: LayerScope) -> None:
    """(shift + scale * x) ^ power; steps that do nothing are left out."""
    x, top = layer.one()
    params = layer.params("power_param")
    _chain(
        layer, x, top,
        [("Mul", params.real("scale"), 1.0), ("Add", params.real("shift"), 0.0),
         ("Pow", params.real("power"), 1.0)],
    )  # fmt: skip


def exp(layer: LayerScope) -> None:
    """base ^ (shift + scale * x), computed as Caffe does: base ^ shift * exp(log(base) * scale * x)."""
    x, top = layer.one()
    params = layer.params("exp_param")
    base, shift = params.real("base"), params.real("shift")
    _check_base(layer, base)
    inner = (1.0 if base == -1 else math.log(base)) * params.real("scale")
    outer = 1.0 if shift == 0 else math.exp(shift) if base == -1 else base**shift
    _chain(layer, x, top, [("Mul", inner, 1.0), ("Exp", None, None), ("Mul", outer, 1.0)])


def log(layer: LayerScope) -> None:
    """log_base(shift + scale * x)."""
    x, top = layer.one()
    params = layer.params("log_param")
    base = params.real("base")
    _check_base(layer, base)
    outer = 1.0 if base == -1 else 1.0 / math.log(base)
    steps = [("Mul", params.real("scale"), 1.0), ("Add", params.real("shift"), 0.0)]
    _chain(layer, x, top, [*steps, ("Log", None, None), ("Mul", outer, 1.0)])


def _check_base(layer: LayerScope, base: float) -> None:
    if base != -1 and (base <= 0 or base == 1):
        raise layer.error(f"has base {base:g}; a base must be positive and not 1, or -1 for e")


def _chain(
    layer: LayerScope, x: Tensor, top: Version, steps: list[tuple[str, float | None, float | None]]
) -> None:
    """Ops in a row, each with a constant or none; those whose constant is neutral are left out."""
    kept = [(op, constant) for op, constant, neutral in steps if constant is None or constant != neutral]
    for i, (op, constant) in enumerate(kept or [("Identity", None)]):
        last = i + 1 >= len(kept)
        part = "" if last else f"{op.lower()}_{i}"
        operands = [] if constant is None else [layer.constant(np.float32(constant), f"{op.lower()}_{i}")]
        x = layer.add(op, [x, *operands], x.shape, part=part, top=top if last else None)


def eltwise(layer: LayerScope) -> None:
    """Sum with coefficients, product or maximum of two or more blobs of one shape."""
    layer.check_counts(2, -1)
    shape = layer.bottoms[0].shape
    for bottom in layer.bottoms[1:]:
        if bottom.shape != shape:
            raise layer.error(
                f"has bottoms of shapes {text_of(shape)} and {text_of(bottom.shape)}; they must be equal"
            )
    params = layer.params("eltwise_param")
    operation, coefficients = params.word("operation"), params.reals("coeff")
    if coefficients and len(coefficients) != len(layer.bottoms):
        raise layer.error(f"has {len(coefficients)} coefficients for {len(layer.bottoms)} bottoms")
    if coefficients and operation != "SUM":
        raise layer.error(f"has coefficients, which go with SUM, not {operation}")
    if operation == "MAX":
        layer.add("Max", layer.bottoms, shape, top=layer.tops[0])
    elif operation == "PROD":
        _fold(layer, "Mul", layer.bottoms, shape)
    else:
        _sum(layer, coefficients or (1.0,) * len(layer.bottoms), shape)


def _sum(layer: LayerScope, coefficients: tuple[float, ...], shape: Shape) -> None:
    if len(coefficients) == 2 and coefficients == (1.0, -1.0):
        layer.add("Sub", layer.bottoms, shape, top=layer.tops[0])
        return
    terms = []
    for i, (bottom, coefficient) in enumerate(zip(layer.bottoms, coefficients, strict=True)):
        if coefficient != 1:
            factor = layer.constant(np.float32(coefficient), f"coeff_{i}")
            bottom = layer.add("Mul", [bottom, factor], shape, part=f"coeff_{i}")
        terms.append(bottom)
    _fold(layer, "Add", tuple(terms), shape)


def _fold(layer: LayerScope, op: str, terms: tuple[Tensor, ...], shape: Shape) -> None:
    """((a op b) op c) op …, from the left as Caffe does; the last op has the layer's name."""
    total = terms[0]
    for i, term in enumerate(terms[1:], 1):
        last = i + 1 == len(terms)
        part, top = ("", layer.tops[0]) if last else (f"{op.lower()}_{i}", None)
        total = layer.add(op, [total, term], shape, part=part, top=top)


def axpy(layer: LayerScope) -> None:
    """a * x + y, where a [N, C] or [N, C, 1, 1] holds one factor per channel."""
    layer.check_counts(3)
    a, x, y = layer.bottoms
    factors: Shape = (*x.shape[:2], *[1] * (len(x.shape) - 2))
    if a.shape != factors:
        axes = layer.indices(range(2, len(x.shape)), "axes")
        a = layer.add("Unsqueeze", [a, axes], factors, part="factors")
    scaled = layer.add("Mul", [a, x], x.shape, part="scaled")
    layer.add("Add", [scaled, y], x.shape, top=layer.tops[0])
