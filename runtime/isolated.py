"""What quantizing one layer alone does to the outputs of the model: exact, and one run per layer.

A run does not begin at the inputs, see `group_effects.py`: each layer is a group of its own there. Cost per
layer: the part of the model behind it, about half on average.
"""

from __future__ import annotations

import functools
import itertools

from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.runtime.float_ends import with_float_outputs
from qir.runtime.group_effects import Group, group_effects
from qir.runtime.metrics import Metric
from qir.runtime.progress import Progress
from qir.runtime.sensitivity import Sensitivity
from qir.runtime.session import Session
from qir.runtime.switches import switchables
from qir.runtime.units import CalibrationData, Unit


def measure_isolated(
    graph: Graph,
    data: CalibrationData,
    metric: Metric,
    *,
    samples: int = 8,
    progress: Progress | None = None,
) -> Sensitivity:
    """Score each quantized layer of a closed graph by the outputs of the model with it alone quantized.

    The score of a sample is the worst that `metric` gives for a float output of the model (where it has none,
    for a float value that its outputs are made of, such as the scores before ArgMax); that of the layer is
    the mean over the first `samples` units, of which the values at one cut are held. Errors as in
    `measure_sensitivity`; ConfigError for a model without such floats.
    """
    found = switchables(graph)
    layers = [Group(node.name, node.op, found[node.name].readings()) for node in quantized_layers(graph)]
    units = first_units(graph, data, samples)
    effects = group_effects(with_float_outputs(graph), layers, units, [metric], progress)
    scores = {layer.name: effect[0] for layer, effect in zip(layers, effects, strict=True)}
    return Sensitivity(metric, len(units), scores)


def first_units(graph: Graph, data: CalibrationData, samples: int) -> list[Unit]:
    """The first `samples` units of the data."""
    session = functools.cache(lambda: Session(graph, threads=1))  # most data need no run
    return list(itertools.islice(data.units(lambda feeds: session().run(feeds, session().outputs)), samples))
