"""What a `quant_config` says, level by level, and the same as entries of JSON.

Keys that are not given are None or empty. A key with a list is a search axis; one value is an axis of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from qir.config.settings import Precision

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
CalibrationType = Literal["max", "kl", "min-max", "percentile", "mse", "ifmr", "hfmg"]
Metric = Literal["cosine-similarity", "mse", "mae", "mre", "sqnr", "chebyshev"]

LEVELS = ("model_config", "op_config", "subgraph_config", "node_config")
"""The keys of a quant_config, the finer later."""


@dataclass(frozen=True)
class ActivationLevel:
    """How ranges of activations are chosen; an empty axis was not given."""

    calibration_type: tuple[CalibrationType, ...] = ()
    num_bin: tuple[int, ...] = ()
    max_num_bin: tuple[int, ...] = ()
    max_percentile: tuple[float, ...] = ()
    per_channel: tuple[bool, ...] = ()
    asymmetric: tuple[bool, ...] = ()

    def fields(self) -> dict[str, JsonValue]:
        """The keys that were given."""
        axes: Mapping[str, Sequence[JsonValue]] = vars(self)
        return {name: _axis(axis) for name, axis in axes.items() if axis}


@dataclass(frozen=True)
class BiasCorrection:
    """Correct biases by the mean error of so many samples, where the metric of a node improves."""

    num_sample: int = 1
    metric: Metric = "cosine-similarity"


@dataclass(frozen=True)
class ModelwiseSearch:
    """Choose one candidate for the model; stop early once the similarity is reached."""

    metric: Metric = "cosine-similarity"
    similarity: float = 1.0


@dataclass(frozen=True)
class LayerwiseSearch:
    """Choose a candidate for each node; `topk` nodes, None: all, are then in `qtype`."""

    metric: Metric = "cosine-similarity"
    topk: int | None = None
    qtype: Precision = "int8"


@dataclass(frozen=True)
class ModelLevel:
    """`model_config`: the widest level."""

    all_node_type: Precision | None = None
    model_output_type: Precision | None = None
    activation: ActivationLevel = ActivationLevel()
    bias_correction: BiasCorrection | None = None
    modelwise_search: ModelwiseSearch | None = None
    layerwise_search: LayerwiseSearch | None = None

    def fields(self) -> dict[str, JsonValue]:
        """The keys that were given."""
        bias = _given(self.bias_correction)
        found: dict[str, JsonValue] = {
            "all_node_type": self.all_node_type,
            "model_output_type": self.model_output_type,
            "activation": self.activation.fields() or None,
            "weight": None if bias is None else {"bias_correction": bias},
            "modelwise_search": _given(self.modelwise_search),
            "layerwise_search": _given(self.layerwise_search),
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class SubgraphLevel:
    """An entry of `subgraph_config`: every node on a path between the boundaries."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    qtype: Precision

    def fields(self) -> dict[str, JsonValue]:
        """All keys."""
        return {"inputs": list(self.inputs), "outputs": list(self.outputs), "qtype": self.qtype}


@dataclass(frozen=True)
class NodeLevel:
    """An entry of `node_config`: for the whole node, and for single inputs by index."""

    qtype: Precision | None = None
    inputs: Mapping[int, Precision] = field(default_factory=dict)

    def fields(self) -> dict[str, JsonValue]:
        """The keys that were given."""
        whole: dict[str, JsonValue] = {} if self.qtype is None else {"qtype": self.qtype}
        return {**whole, **{f"input{i}": precision for i, precision in self.inputs.items()}}


@dataclass(frozen=True)
class Levels:
    """A whole `quant_config`, each key of the right type and in its range; nothing is known of the model."""

    model: ModelLevel = ModelLevel()
    ops: Mapping[str, Precision] = field(default_factory=dict)
    subgraphs: Mapping[str, SubgraphLevel] = field(default_factory=dict)
    nodes: Mapping[str, NodeLevel] = field(default_factory=dict)

    def fields(self) -> dict[str, JsonValue]:
        """The entries of the file, which read back give the same."""
        found: dict[str, dict[str, JsonValue]] = {
            "model_config": self.model.fields(),
            "op_config": {op: {"qtype": qtype} for op, qtype in self.ops.items()},
            "subgraph_config": {name: level.fields() for name, level in self.subgraphs.items()},
            "node_config": {name: level.fields() for name, level in self.nodes.items()},
        }
        return {key: value for key, value in found.items() if value}


def _given(level: BiasCorrection | ModelwiseSearch | LayerwiseSearch | None) -> JsonValue:
    return None if level is None else {k: v for k, v in vars(level).items() if v is not None}


def _axis(values: Sequence[JsonValue]) -> JsonValue:
    return values[0] if len(values) == 1 else list(values)
