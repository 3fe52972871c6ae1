"""What the user's script feeds a calibration graph, kept as data for the ranking of the layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.graph import Graph
from qir.runtime.units import Array, CalibrationData, Run, Unit


@dataclass(frozen=True)
class FedBatches(CalibrationData):
    """The first batches that a session was fed, as they were cut."""

    feeds: tuple[dict[str, Array], ...]

    @staticmethod
    def of(graph: Graph, inputs: Mapping[str, Sequence[Array]]) -> FedBatches:
        """The batches for the inputs of a graph; CalibrationError when none was seen."""
        names = {v.name: v.tensor.dtype for v in graph.inputs if v.constant is None}
        count = min((len(inputs.get(name, ())) for name in names), default=0)
        if not count:
            raise CalibrationError(
                "calibration() has not run the model in this process, so there is nothing to rank layers with"
            )
        return FedBatches(
            tuple({n: _as(inputs[n][i], dtype) for n, dtype in names.items()} for i in range(count))
        )

    def units(self, run: Run) -> Iterator[Unit]:  # noqa: ARG002  (batches are never cut)
        """One unit a batch, as AMCT scores them."""
        for index, feeds in enumerate(self.feeds):
            yield Unit(index, f"batch {index + 1}", dict(feeds))

    @property
    def total(self) -> int:
        """Number of batches."""
        return len(self.feeds)


def _as(array: Array, dtype: DType | None) -> Array:
    return array if dtype is None or dtype.numpy is None else array.astype(dtype.numpy, copy=False)
