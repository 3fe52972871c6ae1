"""Measures how much each quantized layer suffers, and writes it down at the layer.

`mode=layer` compares each layer's own output with that of its quantized twin on the float input, all layers
in one run (`runtime/sensitivity.py`). `mode=model` compares the outputs of the model with this layer alone
quantized: what counts in the end, at the cost of a run per layer (`runtime/isolated.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar, Literal

from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.runtime.isolated import measure_isolated
from qir.runtime.metrics import metric_named
from qir.runtime.sensitivity import measure_sensitivity

SENSITIVITY = "qir.sensitivity"
"""Metadata key of a quantized layer: JSON of metric, mode, number of samples and score."""


@dataclass(frozen=True)
class Sensitivity(Pass):
    """Write at each quantized layer how far quantizing it moves its output, or the model's."""

    name: ClassVar[str] = "sensitivity"
    metric: str = "cosine-similarity"
    samples: int = 16
    mode: Literal["layer", "model"] = "layer"

    def __post_init__(self) -> None:
        metric_named(self.metric)
        if self.samples < 1:
            raise ConfigError(f"samples must be at least 1, not {self.samples}")

    def run(self, graph: Graph, context: Context) -> bool:
        """Measure on the first `samples` units of the data; PassError without data or with open quants."""
        if context.data is None:
            raise PassError("sensitivity needs data: pass --data DATA (or Context.data)")
        measure = measure_isolated if self.mode == "model" else measure_sensitivity
        found = measure(
            graph, context.data, metric_named(self.metric), samples=self.samples, progress=context.progress
        )
        changed = False
        for layer, score in found.scores.items():
            note = {"metric": self.metric, "mode": self.mode, "samples": found.samples, "score": score}
            text = json.dumps(note)
            node = graph.node(layer)
            changed |= node.metadata.get(SENSITIVITY) != text
            node.metadata[SENSITIVITY] = text
        return changed
