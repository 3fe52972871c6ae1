"""How near the outputs of a quantized model come to those of the float one, on samples that are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from qir.ir.graph import Graph
from qir.runtime.metrics import Metric
from qir.runtime.sensitivity import checked_score
from qir.runtime.session import Session
from qir.runtime.twins import Twin
from qir.runtime.units import Array, Unit, float_outputs
from qir.runtime.workers import cores, ordered_map


class OutputScores:
    """Float outputs of a model on some samples, and the metrics that other outputs are judged by.

    The score of a sample is the worst of the model's float outputs, that of a model the mean over samples.
    """

    def __init__(self, floats: Graph, units: Sequence[Unit], metrics: Sequence[Metric]) -> None:
        """`floats` is the float graph; it runs once for each sample."""
        self.units, self._metrics = units, metrics
        session = Session(floats, threads=1)
        names = [v.name for v in dict.fromkeys(floats.outputs) if v.producer is not None]
        found = ordered_map(lambda unit: session.run(unit.feeds, names), units, cores(), session.stop)
        self._expected = [float_outputs(outputs) for outputs in found]

    def means(self, outputs: Iterable[Mapping[str, Array]]) -> Sequence[float]:
        """Each metric for outputs in the order of the samples; CalibrationError where they are not finite."""
        rows = [
            [self._worst(metric, expected, found, unit) for metric in self._metrics]
            for unit, expected, found in zip(self.units, self._expected, outputs, strict=True)
        ]
        means: list[float] = np.mean(rows, axis=0).tolist() if rows else [m.worst(()) for m in self._metrics]
        return means

    def _worst(
        self, metric: Metric, expected: Mapping[str, Array], found: Mapping[str, Array], unit: Unit
    ) -> float:
        twins = {name: Twin(name, "output", name, name) for name in expected}
        got = float_outputs({name: found[name] for name in expected})
        return metric.worst(
            [
                checked_score(twins[name], metric, array, got[name], unit.where)
                for name, array in expected.items()
            ]
        )
