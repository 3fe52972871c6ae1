"""The main job: a float model and data in, a quantized graph, its files and a report out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from qir.backends.fake_quant import check_form, lower
from qir.backends.files import Paths, check_prefix, output_paths
from qir.backends.inspection import PROOF_SAMPLES, write_inspected_files
from qir.backends.targets import Target, target_named
from qir.config.open import ConfigSource, as_levels
from qir.config.outline import node_names
from qir.config.resolved_file import path_beside, write_resolved
from qir.config.run import Configured, quantize_configured
from qir.config.table import Row
from qir.frontends.onnx import infer_types, unknown_ops
from qir.ir.cost import macs
from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers, unquantized
from qir.ir.types import TensorType
from qir.ir.walk import walk_nodes
from qir.models import ModelSource, load
from qir.passes.base import Pass
from qir.passes.calibrate import Calibrate
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.left_float import FLOAT
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline
from qir.passes.rules import TargetRules
from qir.report import Report, report_layers
from qir.runtime.calibration import METHODS, method_named
from qir.runtime.compare import OutputComparison, compare_recorded, record_outputs
from qir.runtime.data import CalibrationData, DataSource, open_data
from qir.runtime.memory import return_freed_memory
from qir.runtime.progress import SILENT, Progress
from qir.runtime.session import Feeds, Session
from qir.runtime.statistics_file import Statistics

if TYPE_CHECKING:
    pass

COMPARED_UNITS = 8
"""Samples on which float and fake-quant outputs are compared for the report: enough to tell a good result
from a bad one, to a decibel or so, at a tenth of the time that calibration takes."""
_DEFAULT_METHOD = METHODS.name_of(Calibrate().method)
FAR = 10.0
"""dB of signal to quantization noise below which an output is called far from the float one."""


@dataclass(frozen=True)
class Quantized:
    """The closed graph, the files written (None without `output`), and the report.

    With a configuration, `resolved` is the table of what each operand was to have and has; that of a
    quant_config is written to `resolved_path` too.
    """

    graph: Graph
    paths: Paths | None
    report: Report
    resolved: tuple[Row, ...] = ()
    resolved_path: Path | None = None


def quantize(
    model: ModelSource | Graph,
    data: DataSource | None = None,
    *,
    statistics: Statistics | str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
    target: str = "ascend",
    pipeline: str = "default",
    method: str = "ifmr",
    skip: str | Sequence[str] = (),
    config: ConfigSource | None = None,
    form: str = "ascend",
    batch_size: int | None = None,
    proof_samples: int = PROOF_SAMPLES,
    progress: Progress | None = None,
) -> Quantized:
    """Quantize a float model with calibration data; write its files when `output` is a prefix.

    `model` is whatever `load` takes, or a graph; both are left as they are. `data` is whatever
    `open_data` takes. `pipeline` is the name of one of the target's pipelines or a pipeline text; `method`
    and `skip` (layers to leave in float) go into its `calibrate` and `insert-quant`. `config` refines the
    pipeline layer by layer: the path of a quant_config (JSON) or of AMCT's `config.json` or `.cfg`, the
    entries of one of these JSON files, or a QuantConfig. `form` is that of the fake-quant graph, "ascend" or
    "qdq". `batch_size` is accepted for scripts that pass one: samples are run one by one, so it changes no
    bit of the result. On the first `proof_samples` the written deploy graph must give the integers of the
    fake-quant graph in every layer, as the report says (0: no proof).

    `statistics` are what `calibrate` returned, or a file of them: scales come from these, and data are only
    compared and proven on. Without data neither is done, and the report has a note that says so.

    Raises a QirError that says what to do; no file is left half-written then.
    """
    check_form(form)
    method_named(method)
    _check_counts(batch_size, proof_samples)
    if config is not None and method != _DEFAULT_METHOD:
        raise ConfigError(
            f"the configuration says by which methods to calibrate; leave out method '{method}'"
        )
    chosen = target_named(target)
    passes = configure(chosen, pipeline, method, (skip,) if isinstance(skip, str) else skip)
    if output is not None:
        check_prefix(output)
        _check_not_input(model, output)
    original = model if isinstance(model, Graph) else load(model)
    context = Context(
        data=None if data is None else open_data(data, original),
        statistics=_opened(statistics),
        rules=chosen.rules,
        progress=progress or SILENT,
    )
    if context.data is None and context.statistics is None:
        raise ConfigError(
            "no data to calibrate with; give data, or statistics that `qir calibrate` has taken"
        )
    levels = None if config is None else as_levels(config, node_names(original))
    resolved_path = None if levels is None or output is None else path_beside(output, config)
    if config is None:
        made = Configured(original.clone(), ())
        PassManager(passes).run(made.graph, context)
    else:
        made = quantize_configured(original, config, chosen, passes, context)
    _check_any_quantized(made.graph, chosen.rules)
    files = _Files(output, form, proof_samples, _float_bytes(original))
    done = _finish(original, original is not model, made.graph, context, files)
    if resolved_path is not None:
        write_resolved(levels, made.rows, resolved_path)
    return replace(done, resolved=made.rows, resolved_path=resolved_path)


def _opened(statistics: Statistics | str | os.PathLike[str] | None) -> Statistics | None:
    return Statistics.load(statistics) if isinstance(statistics, (str, os.PathLike)) else statistics


def _check_counts(batch_size: int | None, proof_samples: int) -> None:
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    if proof_samples < 0:
        raise ConfigError(f"proof_samples must be 0 (no proof) or more, not {proof_samples}")


def configure(target: Target, pipeline: str, method: str, skip: Sequence[str]) -> tuple[Pass, ...]:
    """The passes of a pipeline (name or text), with method and skip list put where they belong."""
    passes = parse_pipeline(pipeline, named=target.pipelines)
    return tuple(_configured(item, method, skip) for item in passes)


def _configured(item: Pass, method: str, skip: Sequence[str]) -> Pass:
    if isinstance(item, Calibrate) and method not in (METHODS.name_of(item.method), _DEFAULT_METHOD):
        if METHODS.name_of(item.method) != _DEFAULT_METHOD:
            raise ConfigError(
                f"the pipeline says calibrate{{method={METHODS.name_of(item.method)}}}, "
                f"but method is '{method}'"
            )
        return replace(item, method=method_named(method))
    if isinstance(item, InsertQuant) and skip:
        return replace(item, skip=(*item.skip, *skip))
    return item


def _check_not_input(model: object, output: str | os.PathLike[str]) -> None:
    if not isinstance(model, (str, os.PathLike)):
        return
    source = Path(model)
    for path in output_paths(output):
        if source.exists() and path.exists() and path.samefile(source):
            raise ConfigError(
                f"'{path}' is the input model; choose another output prefix, it is never overwritten"
            )


@dataclass(frozen=True)
class _Files:
    """What is to be written where; `float_bytes` is the size of the float model."""

    output: str | os.PathLike[str] | None
    form: str
    proof_samples: int
    float_bytes: int


def _finish(original: Graph, ours: bool, graph: Graph, context: Context, files: _Files) -> Quantized:
    """Write and prove the files, and compare the fake-quant graph with the float one, released if `ours`."""
    data, progress = context.data, context.progress
    samples: Sequence[Feeds] = ()
    outputs: tuple[OutputComparison, ...] = ()
    if data is not None:
        samples, outputs = _compare_outputs(original, ours, graph, data, files, progress)
    first = samples[0] if samples else None
    return_freed_memory()
    written = None
    if files.output is not None:
        proven = samples[: files.proof_samples]
        with progress.task("prove", None):
            written = write_inspected_files(graph, files.output, files.form, first, proven)
    report = Report(
        report_layers(graph, {} if first is None else _shapes(graph, first)),
        outputs,
        files.float_bytes,
        0 if written is None else written.paths.deploy_model.stat().st_size,
        tuple(_notes(graph, outputs, without_data=data is None)),
        () if written is None else written.findings,
        None if written is None else written.proof,
    )
    return Quantized(graph, None if written is None else written.paths, report)


def _compare_outputs(
    original: Graph, ours: bool, graph: Graph, data: CalibrationData, files: _Files, progress: Progress
) -> tuple[Sequence[Feeds], tuple[OutputComparison, ...]]:
    """Samples to prove the files on (one at least), and how near fake-quant outputs are to float ones."""
    reference = Session(original, threads=1)
    if ours:  # its weights, unless passes left them as they were, are needed no longer
        original.release()
    recording = record_outputs(reference, data, max(files.proof_samples, COMPARED_UNITS))
    del reference  # before the next session opens
    samples = [unit.feeds for unit in recording.units]
    lowered = lower(graph, files.form, samples[0])
    candidate = Session(lowered, threads=1)
    lowered.release()
    return samples, compare_recorded(recording, candidate, progress)


def _check_any_quantized(graph: Graph, rules: TargetRules) -> None:
    if quantized_layers(graph):
        return
    nodes = list(walk_nodes(graph))
    if not any(node.op in rules.ops for node in nodes):
        why = f"the model has none of the ops that target '{rules.name}' quantizes: {', '.join(rules.ops)}"
    elif any(FLOAT in node.metadata for node in nodes):
        why = "; ".join(_reasons(graph))
    else:
        why = "the pipeline has no insert-quant"
    raise PassError(f"no layer was quantized: {why}")


def _reasons(graph: Graph) -> Iterator[str]:
    """Why layers stay in float, the first few."""
    refused = [layer for layer in report_layers(graph, {}) if not layer.is_quantized]
    for layer in refused[:3]:
        yield f"'{layer.name}' ({layer.op}): {layer.reason}"
    if len(refused) > 3:
        yield f"and {len(refused) - 3} more"


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
