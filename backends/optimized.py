"""The fake-quant graph under ONNX Runtime's default optimizations, and the integers that its layers read."""

from __future__ import annotations

from collections.abc import Mapping

from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.types import TensorType
from qir.runtime.deploy.build import onnx_type
from qir.runtime.session import Feeds, Session
from qir.runtime.units import Array


class OptimizedReads:
    """Runs a fake-quant graph optimized and fetches values, by name, as integers of the `kinds` given."""

    def __init__(self, fake_quant: Graph, kinds: Mapping[str, DType]) -> None:
        graph = fake_quant.clone()
        self._casts: dict[str, str] = {}
        for name, kind in reversed(list(kinds.items())):  # the last node is the first end that is run to
            cast = graph.add(
                "Cast",
                [graph.value(name)],
                name=graph.unique_node_name(f"{name}.read"),
                outputs=[graph.unique_value_name(f"{name}.read")],
                types=[TensorType(kind)],
                attributes={"to": onnx_type(kind)},
            )
            self._casts[name] = cast.output.name
        self._session = Session(graph, taps=list(self._casts.values()), threads=1, shared=True)

    def run(self, feeds: Feeds) -> dict[str, Array]:
        """The integers for one set of inputs, by the names of the values."""
        found = self._session.run(feeds, list(self._casts.values()))
        return {name: found[cast] for name, cast in self._casts.items()}

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones."""
        self._session.stop()
