"""Runs a graph in ONNX Runtime: sessions built from the IR, with any values tapped as further outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnxruntime as ort

from qir.frontends.onnx import to_detached_model
from qir.ir.errors import CalibrationError, ModelError, QirError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.printer import print_type
from qir.ir.quants import unquantized
from qir.ir.types import TensorType
from qir.runtime.arena import share_arena
from qir.runtime.memory import return_freed_memory
from qir.runtime.ort_errors import explain_load, explain_run
from qir.runtime.units import Array

Feeds: TypeAlias = Mapping[str, Array]

EXACT_INT8 = ("session.disable_quant_qdq", "1")
"""Session entry that runs QuantizeLinear and DequantizeLinear as written. On x86 without VNNI, the int8
kernels that ONNX Runtime fuses them into sum pairs of products in 16 bits and saturate, which moves a
model by 14 % of its range and more. (session.x64quantprecision cures it too, but fails on shared weights.)"""
_ALIGNMENT = 64
_MANY_BYTES = 4 << 20
_SILENT = 4
"""ONNX Runtime's severity "fatal": its errors come back as exceptions and need not be logged too."""


class Session:
    """A graph loaded in ONNX Runtime; quant nodes are bypassed, so their readers see the float value.

    `taps` are names of values to fetch beside the outputs; the name of a quant's result fetches the float
    value behind it. `threads` is ONNX Runtime's number of threads within one run (None: all cores). Results
    depend on it in the last bit, so whatever must be reproducible runs with one. `optimize=False` runs the
    nodes as written; `arena=False` gives every tensor's memory back as soon as it was read, which is slower
    and smaller. With `shared`, sessions that run in turns have one arena together (`shrink_shared_arena`
    empties it). ModelError when ONNX Runtime cannot load the graph. `run` may be called from several threads
    at a time.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        taps: Sequence[str] = (),
        threads: int | None = None,
        optimize: bool = True,
        arena: bool = True,
        shared: bool = False,
    ) -> None:
        self.inputs = tuple(v.name for v in graph.inputs if v.constant is None)
        shapes = {v.name: v.tensor.shape for v in graph.inputs if v.constant is None}
        self._batched = [n for n, shape in shapes.items() if shape and not isinstance(shape[0], int)]
        self.outputs = tuple(dict.fromkeys(v.name for v in graph.outputs))
        self._sources = {name: graph.value(name) for name in self.outputs}
        self._sources |= {name: _tappable(graph, name) for name in taps if name not in self._sources}
        self._fetched = tuple(dict.fromkeys(v.name for v in self._sources.values() if v.producer is not None))
        self._options = ort.RunOptions()
        self._options.log_severity_level = _SILENT
        self._weights: list[Array] = []  # kept as long as the session may read them
        options = _options(threads, optimize)
        options.enable_cpu_mem_arena = arena
        options.enable_mem_pattern = arena
        if shared:
            share_arena(options)
        self._session = self._load(graph, options)

    def _load(self, graph: Graph, options: ort.SessionOptions) -> ort.InferenceSession:
        returned = set(self.outputs)
        taps = [name for name in self._fetched if name not in returned]
        try:
            model = self._model(graph, taps, options)
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except QirError:
            raise
        except Exception as error:  # the exceptions of ONNX Runtime have no base of their own
            raise ModelError(explain_load(str(error), graph)) from error
        if sum(array.nbytes for array in self._weights) > _MANY_BYTES:
            return_freed_memory()  # optimizing copies the weights, more than once
        return session

    def _model(self, graph: Graph, taps: Sequence[str], options: ort.SessionOptions) -> bytes:
        """The model; `options` get its weights as they lie in memory, for ONNX Runtime to copy."""
        model, constants = to_detached_model(graph, quants="bypass", taps=taps)
        self._weights = [np.require(constant.array, None, "C") for constant in constants.values()]
        values = [ort.OrtValue.ortvalue_from_numpy(array) for array in self._weights]
        options.add_external_initializers(list(constants), values)
        data: bytes = model.SerializeToString()
        return data

    def run(self, feeds: Feeds, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Outputs and taps by name (or only those called `names`) for one set of inputs.

        Arrays of strings are object arrays. QirError for inputs that do not fit and for what fails while it
        runs.
        """
        wanted = tuple(self._sources) if names is None else tuple(names)
        check_feeds(self.inputs, feeds)
        needed = {self._sources[name].name for name in wanted}
        fetched = [name for name in self._fetched if name in needed]
        found: dict[str, Array] = {}
        if fetched:
            given = {name: feeds[name] for name in self.inputs}
            try:
                found = dict(zip(fetched, self._session.run(fetched, given, self._options), strict=True))
            except Exception as error:  # as above
                raise QirError(explain_run(str(error), self._single(given))) from error
        return {name: _result(self._sources[name], found, feeds) for name in wanted}

    def _single(self, feeds: Feeds) -> bool:
        """True when the feeds hold a single sample although the inputs allow for more."""
        return any(feeds[name].shape[:1] == (1,) for name in self._batched)

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones: for leaving early."""
        self._options.terminate = True


def check_feeds(inputs: Sequence[str], feeds: Feeds) -> None:
    """CalibrationError unless `feeds` are for these inputs."""
    for name in feeds:
        if name not in inputs:
            raise CalibrationError(
                f"the model has no input '{name}'{did_you_mean(name, inputs)}; "
                f"its inputs are {', '.join(inputs)}"
            )
    missing = [name for name in inputs if name not in feeds]
    if missing:
        raise CalibrationError(f"no data for the model's input '{missing[0]}'")


def _options(threads: int | None, optimize: bool) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = _SILENT
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry(*EXACT_INT8)
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    # Graphs that are run as written are large and run a few times: to plan which tensors may share a buffer
    # would take longer (ten times as long as all else where sizes are symbols), and the arena does as well.
    options.enable_mem_reuse = optimize
    return options


def _tappable(graph: Graph, name: str) -> Value:
    """The float value behind `name`; QirError when it is no tensor of this graph."""
    value = unquantized(graph.value(name))
    if not isinstance(value.type, TensorType):
        raise QirError(f"value '{name}' is {print_type(value.type)}, not a tensor: it cannot be tapped")
    return value


def _result(source: Value, found: Mapping[str, Array], feeds: Feeds) -> Array:
    if source.constant is not None:
        held: Array = source.constant.array
        return held
    return feeds[source.name] if source.producer is None else found[source.name]


def aligned_copy(array: Array) -> Array:
    """A C-contiguous copy that starts at a multiple of 64 bytes; of strings, the array itself.

    Vectorized sums in ONNX Runtime peel unaligned heads, so the last bit of a result can depend on where
    its input lies in memory; inputs that always start alike take that away.
    """
    if array.dtype == object:
        return array
    buffer = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
    start = -buffer.ctypes.data % _ALIGNMENT
    copy: Array = buffer[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
