"""Cumulative and isolated similarity of each layer: with everything quantized, and with it alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qir.backends.fake_quant import lower
from qir.comparison import pair_layers
from qir.ir.graph import Graph
from qir.runtime.compare import OutputComparison
from qir.runtime.layer_similarity import Paired, cumulative_similarity, isolated_similarity
from qir.runtime.progress import Progress
from qir.runtime.session import Feeds
from qir.runtime.units import Unit


@dataclass(frozen=True)
class LayerSimilarity:
    """Layer -> its result against the float one, on `samples` samples.

    `cumulative` compares the fake-quant graph with the float model; `isolated` the layer quantized alone
    with itself in float, both on the float input (only for quantized layers).
    """

    samples: int
    cumulative: Mapping[str, OutputComparison]
    isolated: Mapping[str, OutputComparison]


def measure_layers(
    floats: Graph, graph: Graph, form: str, units: Sequence[Unit], progress: Progress | None = None
) -> LayerSimilarity:
    """Compare each layer of the quantized `graph` with `floats`, its float graph; neither is changed.

    That is the model behind the exact passes, for equalization changes what layers hand on. `form` is that of
    the fake-quant graph. QirError when a graph does not run.
    """
    first: Feeds | None = units[0].feeds if units else None
    lowered = lower(graph, form, first)
    pairs = [Paired(layer.name, layer.result) for layer in pair_layers(floats, lowered)]
    return LayerSimilarity(
        len(units),
        cumulative_similarity(floats, lowered, pairs, units, progress),
        isolated_similarity(graph, units, progress),
    )
