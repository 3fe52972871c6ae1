"""Runs Ascend deploy graphs on the CPU, with the integers that the hardware computes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.frontends.onnx import read_model
from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, ModelError, QirError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.types import Dim
from qir.runtime.bounds import EXACT_FLOAT32, INT32_RANGE
from qir.runtime.deploy.layers import read_layers
from qir.runtime.deploy.lowering import LoweredLayer, lower
from qir.runtime.deploy.packed import unpack_weights
from qir.runtime.deploy.self_test import check_arithmetic
from qir.runtime.session import Feeds, Session

Array = npt.NDArray[Any]
_TYPES = {DType.F32: "float", DType.F64: "double", DType.F16: "float16", DType.STR: "string"}


@dataclass(frozen=True)
class TensorInfo:
    """An input or output: name, dimensions (numbers, symbols or None) and type, as `tensor(float)`.

    `shape` is None when not even the number of dimensions is known.
    """

    name: str
    shape: list[Dim] | None
    type: str


@dataclass(frozen=True)
class DeployLayer:
    """A layer that runs in integers.

    `name` is the user's name of the layer; `last` the node whose result is dequantized, the Add of the bias
    behind a MatMul and otherwise the layer. `bound` is the largest magnitude that a partial sum can reach,
    from weights, bias and the range of the input; `method` how the sums are computed: "float32", "float64" or
    "digits" (see `qir.runtime.deploy.plan`).
    """

    name: str
    op: str
    last: str
    bound: int
    method: str

    @property
    def provable(self) -> bool:
        """True when float32 computes this layer exactly whatever its order of additions."""
        return self.bound < EXACT_FLOAT32


@dataclass(frozen=True)
class LayerIntegers:
    """Integers of one layer in one run.

    `input` int32: the quantized input less its zero point; `accumulator` int32: what is dequantized, the sums
    with the bias and the correction for the zero point. (AveragePool: the averages of integers, float32.)
    """

    input: Array
    accumulator: Array


class DeploySession:
    """A deploy graph that runs, used as `onnxruntime.InferenceSession`.

    `model` is a path, serialized ONNX or a graph (left as it is). Integer layers are computed exactly, see
    `qir.runtime.deploy.plan`; all other ops by ONNX Runtime. `threads` is its number of threads in one run
    (None: all cores). `optimize=False` runs the float ops as written, without fusing them: what is compared
    to the bit with another graph must be run so. Integer layers are exact either way.

    ModelError, naming layer and field, when the graph is no deploy graph that qir or AMCT would write.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes | Graph,
        *,
        threads: int | None = None,
        optimize: bool = True,
    ) -> None:
        check_arithmetic()
        graph = model.clone() if isinstance(model, Graph) else _read(model)
        self._threads, self._optimize = threads, optimize
        self._inputs = [_info(v) for v in graph.inputs if v.constant is None]
        self._outputs = [_info(v) for v in graph.outputs]
        found = read_layers(graph)
        unpacked = unpack_weights(graph, found.layers)
        self._unknown = unpacked.unknown
        self._lowered = lower(graph, replace(found, layers=unpacked.layers))
        self._session = self._open(())
        self._integers: Session | None = None

    def get_inputs(self) -> list[TensorInfo]:
        """What `run` must be fed."""
        return list(self._inputs)

    def get_outputs(self) -> list[TensorInfo]:
        """What `run` returns."""
        return list(self._outputs)

    @property
    def layers(self) -> tuple[DeployLayer, ...]:
        """The layers that run in integers, in running order."""
        return tuple(public_layer(each) for each in self._lowered.layers)

    def run(self, output_names: Sequence[str] | None, feeds: Feeds) -> list[Array]:
        """The outputs of those names (None: all) for one set of inputs, by name.

        ConfigError for names that do not exist and feeds that do not fit; QirError, naming the layer, when an
        accumulator overflows int32.
        """
        names = self._names(output_names)
        return self._select(self._run(self._session, feeds), names)

    def run_integers(
        self, feeds: Feeds, layers: Sequence[str] | None = None
    ) -> tuple[list[Array], dict[str, LayerIntegers]]:
        """All outputs, and the integers of the layers of those names (None: all) by name."""
        chosen = self._chosen(layers)
        if self._integers is None:
            taps = [name for each in self._lowered.layers for name in (each.input, each.accumulator)]
            self._integers = self._open(taps)
        results = self._run(self._integers, feeds)
        integers = {each.layer.name: _integers_of(each, results) for each in chosen}
        return self._select(results, self._names(None)), integers

    def _open(self, taps: Sequence[str]) -> Session:
        checked = [name for each in self._lowered.layers for name in each.extremes or ()]
        with self._explained():
            return Session(
                self._lowered.graph, taps=[*taps, *checked], threads=self._threads, optimize=self._optimize
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Names the layers whose weights may be the cause of an error."""
        try:
            yield
        except QirError as error:
            if not self._unknown:
                raise
            raise ModelError(
                f"{error} (the graph does not say how many channels layer '{self._unknown[0]}' reads, so its "
                "weight was taken as it is stored; if it is INT4, two numbers in a byte, give the inputs of "
                "the model fixed sizes)"
            ) from error

    def _run(self, session: Session, feeds: Feeds) -> Mapping[str, Array]:
        self._check(feeds)
        with self._explained():
            results = session.run({**feeds, **self._lowered.scales})
        for each in self._lowered.layers:
            check_overflow(each, results)
        return results

    def _names(self, names: Sequence[str] | None) -> list[str]:
        known = [info.name for info in self._outputs]
        for name in names or ():
            if name not in known:
                raise ConfigError(
                    f"the model has no output '{name}'{did_you_mean(name, known)}; it has {', '.join(known)}"
                )
        return known if names is None else list(names)

    def _select(self, results: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
        return [results[name] for name in names]

    def _chosen(self, names: Sequence[str] | None) -> list[LoweredLayer]:
        known = {each.layer.name: each for each in self._lowered.layers}
        for name in names or ():
            if name not in known:
                raise ConfigError(f"the model has no integer layer '{name}'{did_you_mean(name, known)}")
        return list(known.values()) if names is None else [known[name] for name in names]

    def _check(self, feeds: Feeds) -> None:
        known = {info.name: info for info in self._inputs}
        for name in feeds:
            if name not in known:
                raise ConfigError(
                    f"the model has no input '{name}'{did_you_mean(name, known)}; its inputs are "
                    f"{', '.join(known)}"
                )
        for name, info in known.items():
            if name not in feeds:
                raise ConfigError(f"no data for the model's input '{name}'; feed all of {', '.join(known)}")
            _check_feed(info, np.asarray(feeds[name]))


def _read(model: str | os.PathLike[str] | bytes) -> Graph:
    return read_model(model if isinstance(model, bytes) else Path(model))


def _info(value: Value) -> TensorInfo:
    dtype = value.tensor.dtype
    kind = "" if dtype is None else _TYPES.get(dtype) or (dtype.numpy.name if dtype.numpy else dtype.value)
    shape = value.tensor.shape
    return TensorInfo(value.name, None if shape is None else list(shape), f"tensor({kind})")


def _check_feed(info: TensorInfo, array: Array) -> None:
    """ConfigError when an array is not what the model's input is declared to be."""
    shape = info.shape
    fits = shape is None or (
        len(shape) == array.ndim
        and all(
            not isinstance(want, int) or want == got for want, got in zip(shape, array.shape, strict=True)
        )
    )
    if shape is not None and not fits:
        wanted = ", ".join("?" if d is None else str(d) for d in shape)
        raise ConfigError(
            f"the data for input '{info.name}' have shape {list(array.shape)}; the model wants [{wanted}]"
        )
    given = "string" if array.dtype.kind in "OUS" else _TYPES.get(DType.of(array.dtype), array.dtype.name)
    if info.type not in ("tensor()", f"tensor({given})"):
        raise ConfigError(f"the data for input '{info.name}' are {given}; the model wants {info.type}")


def public_layer(each: LoweredLayer) -> DeployLayer:
    """What users are told of a layer."""
    layer, plan = each.layer, each.plan
    return DeployLayer(layer.name, layer.node.op, layer.last.name, plan.bound, plan.method.value)


def _integers_of(each: LoweredLayer, results: Mapping[str, Array]) -> LayerIntegers:
    accumulator = each.sums(results)
    if each.layer.weight is not None:
        accumulator = accumulator.astype(np.int32)
    return LayerIntegers(results[each.input].astype(np.int32), accumulator)


def check_overflow(each: LoweredLayer, results: Mapping[str, Array]) -> None:
    """QirError when the accumulators of a layer left int32 in one run; `results` hold its extremes."""
    if each.extremes is None:
        return
    least, greatest = (float(results[name]) for name in each.extremes)
    low, high = INT32_RANGE
    if least < low or greatest > high:
        worst = greatest if greatest > high else least
        raise QirError(
            f"layer '{each.layer.name}' ({each.layer.node.op}) overflows int32: an accumulator reaches "
            f"{worst:.0f}; leave the layer in float, or quantize its input with fewer bits"
        )
