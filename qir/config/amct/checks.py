"""Checks of AMCT's configuration against a model, with AMCT's messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qir.config.amct.errors import AmctRuntimeError, AmctValueError
from qir.config.amct.file import Activation, AmctConfig, AmctLayer, AmctTensor
from qir.config.layers import Layer, Model
from qir.ir.errors import did_you_mean

FUSIBLE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Ops that may absorb a BatchNormalization, in one pipeline or another."""


def check_config(config: AmctConfig, model: Model) -> None:
    """Everything that depends on the model; an AmctValueError or AmctRuntimeError says what is wrong."""
    check_layer_names(config.layers, model)
    for name, layer in config.layers.items():
        check_layer(model.layers[name], layer)
    check_skip_fusion(config.skip_fusion_layers, model)
    for tensor in config.tensors:
        check_tensor(tensor, model)
    if not any(layer.quant_enable for layer in config.layers.values()) and not config.tensors:
        raise AmctRuntimeError(
            "No quant enable layer in quant config file, please check the quant config file."
        )


def check_layer_names(names: Iterable[str], model: Model) -> None:
    """AmctValueError for a key that is no layer, or none that can be quantized."""
    for name in names:
        if name not in model.names:
            raise AmctValueError(f"{name} is an invalid layer name or parameter.{_hint(name, model.layers)}")
        if name not in model.layers:
            raise AmctValueError(f"layer {name} does not support quant. It is a {model.names[name]}.")


def check_layer(layer: Layer, wanted: AmctLayer) -> None:
    """Whether the layer has such a form; AMCT checks layers that are not enabled as well.

    AmctValueError for what it cannot have.
    """
    check_activation(layer, wanted.activation)
    if wanted.weight.channel_wise and not layer.per_channel:
        raise AmctValueError(f"The channel_wise must be False for layer type {layer.op}: layer {layer.name}")
    if wanted.dmq_balancer_param is not None and not layer.has_weight:
        raise AmctValueError(
            f"layer {layer.name} does not support dmq_balancer: {layer.op} has no weight to balance it with"
        )


def check_activation(layer: Layer, wanted: Activation) -> None:
    """Bits and zero point of the input. AmctValueError for what the layer cannot have."""
    if wanted.num_bits == 16 and not layer.takes_int16:
        why = layer.rule.refuse_precision(layer.node, "activation", "int16")
        raise AmctValueError(f"current layer {layer.name} does not support int16 quant. The reason: {why}")
    if wanted.asymmetric and layer.symmetric_only:
        raise AmctValueError(f"current layer {layer.name} only support act symmetric quant.")


def check_skip_fusion(names: Sequence[str], model: Model) -> None:
    """AmctValueError for names that stand twice, are unknown, or belong to ops that absorb nothing."""
    for i, name in enumerate(names):
        if name in names[:i]:
            raise AmctValueError(f"Please delete repeated items in skip_fusion_layers: '{name}'")
        if name not in model.names:
            raise AmctValueError(
                f'Layer "{name}" in skip_fusion_layers does not exist in the graph.{_hint(name, model.names)}'
            )
        if model.names[name] not in FUSIBLE:
            raise AmctValueError(
                f'Skip fusion layer "{name}"\'s type not in supported list {list(FUSIBLE)}; '
                f"it is a {model.names[name]}"
            )


def check_skipped(names: Iterable[str], model: Model) -> None:
    """The skip list of a new configuration.

    AmctValueError for a layer that is not there, or is none that is quantized.
    """
    for name in names:
        if name not in model.names:
            raise AmctValueError(f"Layer {name} does not exist in the graph.{_hint(name, model.layers)}")
        if name not in model.layers:
            raise AmctValueError(f"Layer {name} does not support quantization. It is a {model.names[name]}.")


def check_tensor(tensor: AmctTensor, model: Model) -> None:
    """An entry of `tensor_quantize`. AmctValueError for a layer that is not there, or has no such input."""
    name = tensor.layer_name
    if name not in model.names:
        raise AmctValueError(
            f"tensor_quantize: Layer {name} does not exist in the graph.{_hint(name, model.tensors)}"
        )
    ops = " or ".join(model.target.rules.tensors)
    if name not in model.tensors:
        raise AmctValueError(
            f"tensor_quantize: layer {name} does not support quant. It is a {model.names[name]}; "
            f"inputs of {ops} can be quantized"
        )
    if tensor.activation.num_bits != 8:
        raise AmctValueError(f"tensor_quantize: input of layer {name}: num_bits must be 8")
    node = model.tensors[name]
    reason = model.target.rules.tensors[node.op](node, tensor.input_index)
    if reason is not None:
        raise AmctValueError(f"tensor_quantize: input {tensor.input_index} of layer {name}: {reason}")


def _hint(name: str, choices: Iterable[str] | Mapping[str, object]) -> str:
    return did_you_mean(name, choices).replace("; did", " Did", 1)
