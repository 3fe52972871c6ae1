"""Calibration graphs: the float model with weights as they will be, and ops that watch the activations.

What AMCT's quantize_model writes: BatchNormalization is fused, weights are replaced by what their integers
stand for, and each activation that is to be quantized goes to an IFMR or HFMG node.
`float_part` takes the ops off again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qir.backends.ascend.record import DraftRecord
from qir.backends.ascend.record_reader import parse_drafts
from qir.backends.ascend.rules import RULES
from qir.backends.targets import ASCEND
from qir.compat.common.drafts import draft_records, record_key
from qir.compat.common.errors import CompatRuntimeError
from qir.compat.common.watching import watch
from qir.config.lowering import quantizing_passes
from qir.config.open import ConfigSource
from qir.config.run import prepare
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.types import QuantSpec
from qir.passes.balance_channels import BalanceChannels
from qir.passes.balancing.scaling import channel_axis, input_channels, scale_channels, weight_maxima
from qir.passes.base import Pass
from qir.passes.calibrate import Calibrate
from qir.passes.context import Context
from qir.passes.float_graph import float_graph, with_quantized_weights
from qir.passes.insertion.selection import Selection
from qir.passes.manager import PassManager
from qir.passes.measurement import open_activation_quants
from qir.passes.pipeline import parse_pipeline
from qir.passes.selected_quants import selected_quant
from qir.runtime.calibration import Hfmg
from qir.runtime.calibration_ops import (
    BALANCER,
    BATCH_NUM,
    CHANNEL_AXIS,
    METHOD,
    MIGRATION_STRENGTH,
    NUM_BITS,
    WITH_OFFSET,
)

PIPELINE = "amct"


@dataclass(frozen=True)
class CalibrationGraph:
    """A float graph with calibration ops, and the records of its layers without what the ops will find."""

    graph: Graph
    drafts: Mapping[str, DraftRecord]
    batch_num: int


@dataclass(frozen=True)
class _Point:
    """An activation to watch: who reads it (keys of the record), its form, and the method for its range."""

    source: str
    keys: tuple[str, ...]
    spec: QuantSpec
    method: Calibrate


def calibration_graph(
    original: Graph, config: ConfigSource, record_file: str, pipeline: str = PIPELINE
) -> CalibrationGraph:
    """The calibration graph of a float model, which is left as it is, by a pipeline of the target.

    Where the configuration balances channels, the record file has the factors that a run of the balancing
    graph found; CompatRuntimeError when it has none. Other QirErrors say what does not fit.
    """
    graph, passes, batch_num, unfused = _prepare(original, config, pipeline)
    _balance(graph, [layer for _, layer in _balanced_layers(graph, passes)], record_file)
    until = next((i for i, item in enumerate(passes) if isinstance(item, Calibrate)), len(passes))
    steps = [item for item in passes[:until] if not isinstance(item, BalanceChannels)]
    PassManager(steps).run(graph, Context(rules=RULES))
    points = list(_points(graph, [item for item in passes if isinstance(item, Calibrate)]))
    drafts = draft_records(graph, unfused)
    floats = float_graph(with_quantized_weights(graph))
    _restore_names(floats)
    place = {value.name: i for i, node in enumerate(floats.nodes) for value in node.outputs if value}
    for point in sorted(points, key=lambda point: -place.get(point.source, -1)):
        _watch_range(floats, point, record_file, batch_num)
    return CalibrationGraph(floats, drafts, batch_num)


def balancing_graph(original: Graph, config: ConfigSource, record_file: str) -> CalibrationGraph:
    """The float model with an op for each layer whose channels the configuration balances.

    CompatRuntimeError when it balances none.
    """
    graph, passes, batch_num, _ = _prepare(original, config, PIPELINE)
    layers = list(_balanced_layers(graph, passes))
    if not layers:
        raise CompatRuntimeError(
            "no layer of the config_file has a dmq_balancer_param, so there is nothing to preprocess; "
            "go on with quantize_model"
        )
    for item, layer in layers:
        source, weight = layer.inputs[0], layer.inputs[1]
        assert source is not None
        assert weight is not None
        assert weight.constant is not None
        maxima = graph.constant(weight_maxima(layer, weight.constant.array), f"{layer.name}.weight_maxima")
        attributes: dict[str, int | str] = {
            MIGRATION_STRENGTH: repr(item.strength),
            CHANNEL_AXIS: channel_axis(layer),
        }
        watch(graph, BALANCER, source, (maxima,), (layer.name,), record_file, attributes)
    return CalibrationGraph(graph, {layer.name: DraftRecord() for _, layer in layers}, batch_num)


def _prepare(
    original: Graph, config: ConfigSource, pipeline: str
) -> tuple[Graph, tuple[Pass, ...], int, tuple[str, ...]]:
    """The graph after the exact passes, the passes that follow, batch_num, and layers not to be fused."""
    base = parse_pipeline(pipeline, named=ASCEND.pipelines)
    graph, found, model = prepare(original, config, ASCEND, base, Context(rules=RULES))
    return graph, quantizing_passes(found, model, base), found.batch_num or 1, found.skip_fusion_layers


def _balanced_layers(graph: Graph, passes: Sequence[Pass]) -> Iterator[tuple[BalanceChannels, Node]]:
    for item in passes:
        if isinstance(item, BalanceChannels):
            yield from ((item, node) for node in list(graph.nodes) if node.name in item.layers)


def _balance(graph: Graph, layers: Sequence[Node], record_file: str) -> None:
    """Balance layers by the factors of a record file."""
    if not layers:
        return
    path = Path(record_file)
    records = parse_drafts(path.read_text(encoding="utf-8"), path.name) if path.is_file() else {}
    for layer in layers:
        record = records.get(layer.name)
        if record is None or not record.tensor_balance_factor:
            raise CompatRuntimeError(
                "config_file indicates dmq_balancer, but record_file is empty. It has no "
                f"tensor_balance_factor for layer {layer.name}: call quantize_preprocess, and run its model"
            )
        _scale(graph, layer, record.tensor_balance_factor)


def _scale(graph: Graph, layer: Node, factors: Sequence[float]) -> None:
    weight = layer.inputs[1]
    assert weight is not None
    assert weight.constant is not None
    channels = input_channels(layer, weight.constant.shape)
    if len(factors) != channels:
        raise CompatRuntimeError(
            f"the length of tensor_balance_factor should be equal to the {channels} input channels of layer "
            f"{layer.name}, not {len(factors)}"
        )
    scale_channels(graph, layer, np.asarray(factors, np.float32))


def _points(graph: Graph, calibrations: Sequence[Calibrate]) -> Iterator[_Point]:
    """What each calibrate of a pipeline would close, in its order; quants of several of them are split."""
    left = {node.name: node for node in open_activation_quants(graph)}
    for item in calibrations:
        for name, quant in list(left.items()):
            found = selected_quant(graph, quant, Selection(item.ops, item.layers, item.regex))
            if found is None:
                continue
            if found is quant:
                del left[name]
            yield _point(found, item)


def _point(quant: Node, item: Calibrate) -> _Point:
    source, spec = quant.inputs[0], quant.output.tensor.quant
    assert source is not None
    assert isinstance(spec, QuantSpec)
    half = source.tensor.dtype is DType.F16
    method = Calibrate(item.method, scales="float16" if half else item.scales)
    return _Point(source.name, tuple(record_key(use) for use in quant.output.uses), spec, method)


def _restore_names(graph: Graph) -> None:
    """Give quantized weights that have taken the place of float ones their names: files keep them."""
    for value in list(graph.constants):
        name = value.name.removesuffix(".fake")
        if name != value.name and not graph.has_value(name):
            graph.rename(value, name)


def _watch_range(graph: Graph, point: _Point, record_file: str, batch_num: int) -> None:
    attributes: dict[str, int | str] = {
        BATCH_NUM: batch_num,
        NUM_BITS: point.spec.qtype.bits,
        WITH_OFFSET: int(not point.spec.symmetric),
        METHOD: str(point.method),
    }
    op = "HFMG" if isinstance(point.method.method, Hfmg) else "IFMR"
    watch(graph, op, graph.value(point.source), (), point.keys, record_file, attributes)
