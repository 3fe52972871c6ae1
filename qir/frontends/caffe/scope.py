"""What a layer reads and makes while it is turned into nodes: its bottoms, weights, names and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qir.frontends.caffe.blobs import Blobs, Version
from qir.frontends.caffe.caffemodel import Blob
from qir.frontends.caffe.params import Params
from qir.frontends.caffe.prototxt import Net
from qir.frontends.caffe.shapes import Shape, squeezed
from qir.ir.dtypes import DType
from qir.ir.errors import ModelError
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Value
from qir.ir.types import TensorType


@dataclass(frozen=True)
class Tensor:
    """A value with the shape that Caffe gives it; the first dimension may be the symbol of the batch."""

    value: Value
    shape: Shape

    @property
    def rank(self) -> int:
        """Number of dimensions."""
        return len(self.shape)


class Builder:
    """The graph under construction, with everything that layers share."""

    def __init__(
        self,
        net: Net,
        blobs: Blobs,
        weights: Mapping[str, tuple[Blob, ...]] | None,
        graph: Graph,
        batch: str | None,
    ) -> None:
        self.net, self.blobs, self.weights, self.graph, self.batch = net, blobs, weights, graph, batch
        self.made: dict[Version, Tensor] = {}
        self.absorbed: set[int] = set()
        self._values = {v.name for tops in blobs.tops for v in tops}
        self._nodes = {layer.name for layer in net.layers}

    def value_name(self, hint: str) -> str:
        """A name for a value that is no blob of the net."""
        name = self.graph.unique_value_name(hint)
        while name in self._values:
            name = self.graph.unique_value_name(name + "_")
        return name

    def node_name(self, hint: str, of_layer: bool) -> str:
        """A name for a node: the layer's own, or a derived one that no layer has."""
        name = self.graph.unique_node_name(hint)
        while name in self._nodes and not of_layer:
            name = self.graph.unique_node_name(name + "_")
        return name


class LayerScope:
    """One layer, as the function that turns it into nodes sees it."""

    def __init__(self, builder: Builder, index: int) -> None:
        self._builder, self._index = builder, index
        self.layer = builder.net.layers[index]
        self.name, self.type = self.layer.name, self.layer.type

    @property
    def bottoms(self) -> tuple[Tensor, ...]:
        """What the layer reads."""
        return tuple(self._builder.made[v] for v in self._builder.blobs.bottoms[self._index])

    @property
    def tops(self) -> tuple[Version, ...]:
        """What the layer makes."""
        return self._builder.blobs.tops[self._index]

    def params(self, name: str) -> Params:
        """The parameters of that name; all defaults where they do not stand in the text."""
        return self.layer.params.part(name)

    def error(self, text: str) -> ModelError:
        """An error about this layer."""
        return self.layer.error(text)

    def one(self) -> tuple[Tensor, Version]:
        """The only bottom and the only top; ModelError when there are others."""
        self.check_counts(1)
        return self.bottoms[0], self.tops[0]

    def check_counts(self, bottoms: int, most: int | None = None, tops: int = 1) -> None:
        """ModelError unless there are `bottoms` bottoms (to `most`; -1: or more) and `tops` tops."""
        count, limit = len(self.bottoms), bottoms if most is None else most
        if count < bottoms or (limit >= 0 and count > limit):
            more = "" if limit == bottoms else " or more" if limit < 0 else f" to {limit}"
            raise self.error(f"has {count} bottoms; it takes {bottoms}{more}")
        if len(self.tops) != tops:
            raise self.error(f"has {len(self.tops)} tops; it makes {tops}")

    def axis(self, stated: int, rank: int, limit: int | None = None) -> int:
        """An axis counted from the front; ModelError when the bottom has none such (below `limit`)."""
        last = rank if limit is None else limit
        found = stated + rank if stated < 0 else stated
        if not 0 <= found < last:
            raise self.error(f"says axis {stated}, but its bottom has {rank} dimensions")
        return found

    @property
    def batch(self) -> str | None:
        """The symbol of the batch, where it has one."""
        return self._builder.batch

    def blobs(self) -> tuple[Blob, ...]:
        """The weight blobs that the caffemodel has for this layer, in their own shapes."""
        return (self._builder.weights or {}).get(self.name, ())

    def blob(self, i: int, shape: Sequence[int], role: str) -> Blob:
        """Weight blob `i` in the shape that the prototxt gives it; dimensions of 1 may be written or not."""
        if self._builder.weights is None:
            raise self.error("needs weights; give the caffemodel that belongs to the prototxt")
        held = self.blobs()
        if not held:
            raise self.error("has no weights in the caffemodel; is it the one that belongs to the prototxt?")
        if i >= len(held):
            raise self.error(f"has {len(held)} blobs in the caffemodel; blob {i} ({role}) is missing")
        wanted = tuple(shape)
        if squeezed(held[i].shape) != squeezed(wanted):
            raise self.error(
                f"needs a {role} of shape {list(wanted)} by the prototxt, but blob {i} of the caffemodel has "
                f"shape {list(held[i].shape)}"
            )
        return held[i].reshape(wanted)

    def constant(self, data: npt.ArrayLike, part: str) -> Value:
        """A constant named `LAYER.part`; floats become float32."""
        array = np.asarray(data)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        return self._builder.graph.constant(array, self._builder.value_name(f"{self.name}.{part}"))

    def indices(self, numbers: Sequence[int], part: str) -> Value:
        """A constant vector of int64 named `LAYER.part`."""
        return self.constant(np.array(numbers, np.int64), part)

    def add(
        self,
        op: str,
        inputs: Sequence[Tensor | Value | None],
        shape: Shape,
        attributes: Mapping[str, Attribute] | None = None,
        *,
        part: str = "",
        top: Version | None = None,
        dtype: DType = DType.F32,
    ) -> Tensor:
        """A node named like the layer, or `LAYER/part`; with `top` it makes that top."""
        return self.add_many(op, inputs, [(shape, dtype, top)], attributes, part=part)[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[Tensor | Value | None],
        results: Sequence[tuple[Shape, DType, Version | None]],
        attributes: Mapping[str, Attribute] | None = None,
        *,
        part: str = "",
    ) -> tuple[Tensor, ...]:
        """As `add`, for a node of several results: shape, element type and top (None: no top) of each."""
        builder = self._builder
        name = builder.node_name(f"{self.name}/{part}" if part else self.name, not part)
        hints = [name if i == 0 else f"{name}.{i}" for i in range(len(results))]
        node = builder.graph.add(
            op,
            [item.value if isinstance(item, Tensor) else item for item in inputs],
            outputs=[
                builder.value_name(hint) if version is None else version.name
                for hint, (_, _, version) in zip(hints, results, strict=True)
            ],
            types=[TensorType(dtype, shape) for shape, dtype, _ in results],
            attributes=attributes,
            name=name,
        )
        made = []
        for value, (shape, _, version) in zip(node.outputs, results, strict=True):
            assert value is not None
            made.append(Tensor(value, shape))
            if version is not None:
                builder.made[version] = made[-1]
        return tuple(made)

    def make_constant(self, data: Blob) -> None:
        """Let the top of the layer be a constant."""
        value = self._builder.graph.constant(data, self.tops[0].name)
        self._builder.made[self.tops[0]] = Tensor(value, data.shape)

    def make_input(self, top: Version, shape: Shape) -> None:
        """Let a top of the layer be an input of the graph."""
        value = self._builder.graph.add_input(top.name, TensorType(DType.F32, shape))
        self._builder.made[top] = Tensor(value, shape)

    def readers(self, top: Version) -> list[LayerScope]:
        """The layers that read a top."""
        return [LayerScope(self._builder, i) for i in top.readers]

    def absorb(self, reader: LayerScope) -> None:
        """Take over the work of a layer that reads this one: it will not be read itself."""
        self._builder.absorbed.add(reader._index)
