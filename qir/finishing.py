"""The end of the main job: files written, compared with the float model, proven; and the report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from qir.backends.fake_quant import lower
from qir.backends.files import Paths
from qir.backends.inspection import Inspected, write_inspected_files
from qir.frontends.onnx import infer_types, unknown_ops
from qir.ir.cost import macs
from qir.ir.graph import Graph
from qir.ir.quants import unquantized
from qir.ir.types import TensorType
from qir.passes.context import Context
from qir.report import Report, report_layers
from qir.runtime.compare import OutputComparison, Recording, compare_recorded, record_outputs
from qir.runtime.memory import return_freed_memory
from qir.runtime.session import Feeds, Session

COMPARED_UNITS = 8
"""Samples on which float and fake-quant outputs are compared for the report: enough to tell a good result
from a bad one, to a decibel or so, at a tenth of the time that calibration takes."""
FAR = 10.0
"""dB of signal to quantization noise below which an output is called far from the float one."""


@dataclass(frozen=True)
class Files:
    """What is to be written where (nothing without `output`), and on how many samples it is to be proven."""

    output: str | os.PathLike[str] | None
    form: str
    proof_samples: int


def finish(
    original: Graph, ours: bool, graph: Graph, context: Context, files: Files
) -> tuple[Paths | None, Report]:
    """Write and prove the files, and compare the fake-quant graph with the float one, released if `ours`."""
    size = _float_bytes(original)
    recording = _recorded(original, ours, context, max(files.proof_samples, COMPARED_UNITS))
    return_freed_memory()
    samples = () if recording is None else tuple(unit.feeds for unit in recording.units)
    written: Inspected | None = None
    outputs: tuple[OutputComparison, ...] = ()
    if files.output is not None:
        proven = samples[: files.proof_samples]
        written = write_inspected_files(graph, files.output, files.form, proven, recording, context.progress)
        outputs = written.outputs
    elif recording is not None:
        lowered = lower(graph, files.form, samples[0])
        candidate = Session(lowered, threads=1)
        lowered.release()
        outputs = compare_recorded(recording, candidate, context.progress)
    report = Report(
        report_layers(graph, _shapes(graph, samples[0]) if samples else {}),
        outputs,
        size,
        0 if written is None else written.paths.deploy_model.stat().st_size,
        tuple(_notes(graph, outputs, without_data=recording is None)),
        () if written is None else written.findings,
        None if written is None else written.proof,
    )
    return None if written is None else written.paths, report


def _recorded(original: Graph, ours: bool, context: Context, limit: int) -> Recording | None:
    """What the float model returns for the first samples, its session closed again; None without data."""
    if context.data is None:
        return None
    reference = Session(original, threads=1)
    if ours:  # its weights, unless passes left them as they were, are needed no longer
        original.release()
    return record_outputs(reference, context.data, limit)


def _shapes(graph: Graph, feeds: Feeds) -> dict[str, tuple[int, ...]]:
    """Shapes of all values for the inputs of one run: inferred, and where inference gives up, observed."""
    copy = graph.clone()
    for value in copy.values():
        if value.name in feeds and isinstance(value.type, TensorType):
            value.type = replace(value.type, shape=feeds[value.name].shape)
        elif value.constant is None and isinstance(value.type, TensorType):
            value.type = replace(value.type, shape=None)
    infer_types(copy)
    inferred = ((value.name, value.tensor.static_shape) for value in copy.values())
    shapes = {name: shape for name, shape in inferred if shape is not None}
    unknown = [node for node in graph.nodes if macs(node, shapes) is None]
    taps = [unquantized(v).name for n in unknown for v in (*n.inputs, *n.outputs) if v is not None]
    if taps:
        session = Session(graph, taps=taps, threads=1)
        shapes |= {name: array.shape for name, array in session.run(feeds, taps).items()}
    return shapes


def _float_bytes(graph: Graph) -> int:
    """Bytes of the float model's constants: what the weights take in its file."""
    return sum(v.constant.data.nbytes for v in graph.constants if v.constant is not None)


def _notes(graph: Graph, outputs: Sequence[OutputComparison], *, without_data: bool) -> Iterator[str]:
    """What a user should know that no table says."""
    if without_data:
        yield (
            "there were statistics but no data: nothing was compared with the float model, and the deploy "
            "graph was not proven to give the integers of the fake-quant graph; give data too for both"
        )
    foreign = sorted({f"{n.domain}.{n.op}" if n.domain else n.op for n in unknown_ops(graph)})
    if foreign:
        yield f"ops outside ONNX are carried unchanged: {', '.join(foreign)}"
    floats = {v.name for v in graph.outputs if v.tensor.dtype is not None and v.tensor.dtype.is_float}
    for output in outputs:
        if output.name in floats and not output.sqnr >= FAR:
            yield (
                f"output '{output.name}' of the fake-quant graph is far from the float model's "
                f"({output.sqnr:.1f} dB): leave the layers that hurt in float (skip), or try another method"
            )
