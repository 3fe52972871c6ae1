"""Rules on the model as a whole: opset, op domains, inputs of unknown size, channel layout."""

from __future__ import annotations

from collections.abc import Iterator

from qir.backends.ascend.check.finding import Finding
from qir.backends.ascend.check.structure import ASCEND_OPS, QUANT, STANDARD_DOMAINS, DeployGraph, shape_of
from qir.backends.ascend.deploy import LOWEST_OPSET
from qir.ir.node import Node, Value

_HIGHEST, _OLDER_HIGHEST = 22, 13


def opset_range(deploy: DeployGraph) -> Iterator[Finding]:
    """ATC registers the Ascend ops for opset 8 to 22, older releases for 8 to 13."""
    opset = next((deploy.graph.opsets[d] for d in STANDARD_DOMAINS if d in deploy.graph.opsets), None)
    if opset is None:
        yield Finding(
            "error", "opset", "", "the model imports no ai.onnx opset", "write it with opset 8 to 22"
        )
    elif not LOWEST_OPSET <= opset <= _HIGHEST:
        yield Finding(
            "error",
            "opset",
            "",
            f"the model has opset {opset}; ATC knows the Ascend ops from opset {LOWEST_OPSET} to {_HIGHEST}",
            "export the float model in an opset between 11 and 13, and quantize it again",
        )
    elif opset > _OLDER_HIGHEST:
        yield Finding(
            "info",
            "opset",
            "",
            f"the model has opset {opset}; older releases of ATC stop at {_OLDER_HIGHEST}",
            "export the float model in opset 13 if ATC does not find AscendQuant",
        )


def op_domains(deploy: DeployGraph) -> Iterator[Finding]:
    """The Ascend ops stand in the default domain; other domains need a plugin of ATC."""
    for node in deploy.nodes:
        if node.domain in STANDARD_DOMAINS:
            continue
        if node.op in ASCEND_OPS:
            yield Finding(
                "error",
                "domain",
                node.name,
                f"{node.op} stands in domain '{node.domain}', as in a fake-quant model of AMCT",
                "give ATC the deploy model, whose Ascend ops stand in the default domain",
            )
        else:
            yield Finding(
                "warning",
                "domain",
                node.name,
                f"op '{node.domain}.{node.op}' is no op of ONNX",
                "ATC compiles it only with a plugin for it; replace it by standard ops otherwise",
            )


def dynamic_inputs(deploy: DeployGraph) -> Iterator[Finding]:
    """ATC compiles quantized models for fixed sizes only: a finding for each input of open size."""
    open_ones = [v for v in deploy.graph.inputs if v.constant is None and not v.tensor.is_static]
    fixed = ";".join(f"{value.name}:{_fixed(value)}" for value in open_ones)
    chosen = " with sizes of your choice where no number stands" if any(map(_has_choice, open_ones)) else ""
    for value in open_ones:
        reached = _first_quant(deploy, value)
        if reached is None:
            continue
        shape = value.tensor.shape
        shown = "unknown" if shape is None else f"[{','.join('?' if d is None else str(d) for d in shape)}]"
        yield Finding(
            "warning",
            "dynamic-shape",
            reached.name,
            f"it quantizes what comes from input '{value.name}', whose shape is {shown}; ATC refuses dynamic "
            "batch or image sizes in quantized models",
            f'fix it: atc --input_shape="{fixed}"{chosen}, without --dynamic_batch_size, '
            "--dynamic_image_size or --dynamic_dims",
        )


def _fixed(value: Value) -> str:
    """The shape with a batch of 1; where the user must choose stands no number."""
    dims = value.tensor.shape
    if dims is None:
        return "SHAPE"
    return ",".join(str(d) if isinstance(d, int) else (d or "?") if i else "1" for i, d in enumerate(dims))


def _has_choice(value: Value) -> bool:
    dims = value.tensor.shape
    return dims is None or any(not isinstance(d, int) for d in dims[1:])


def _first_quant(deploy: DeployGraph, source: Value) -> Node | None:
    """The first AscendQuant that depends on a value, in running order."""
    reached = {source}
    for node in deploy.graph.nodes:
        if not any(value in reached for value in node.inputs if value is not None):
            continue
        if node.op == QUANT:
            return node
        reached.update(value for value in node.outputs if value is not None)
    return None


def channel_layout(deploy: DeployGraph) -> Iterator[Finding]:
    """Data are NCHW: ATC forces this format on the Ascend ops, whatever the file says."""
    for node in deploy.nodes:
        for name in ("data_format", "layout"):
            if node.attributes.get(name) in ("NHWC", "NDHWC", "NWC") and node.op not in ("LSTM", "GRU"):
                yield _layout(node, f"attribute '{name}' says {node.attributes[name]!s}")
    for layer in deploy.layers:
        source, weight = layer.quant.input(0), layer.weight
        shape = None if source is None else source.tensor.shape
        kernel = shape_of(weight)
        if layer.node.op != "Conv" or shape is None or kernel is None or len(shape) != len(kernel):
            continue
        groups = layer.node.attributes.get("group", 1)
        wanted = kernel[1] * (groups if isinstance(groups, int) else 1)
        # INT4 weights are packed in pairs along the input channels.
        if isinstance(shape[1], int) and shape[1] not in (wanted, 2 * wanted) and shape[-1] == wanted:
            yield _layout(layer.node, f"its data have {wanted} channels last, in shape {list(shape)}")


def _layout(node: Node, sentence: str) -> Finding:
    return Finding(
        "error",
        "layout",
        node.name,
        f"{sentence}; Ascend quantizes NCHW only",
        "transpose to NCHW before exporting the float model",
    )
