"""Jobs that need no data, because the numbers are there already.

A record of scales and its float model become both graphs.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qir.backends.ascend.check import Finding
from qir.backends.ascend.record import LayerRecord
from qir.backends.ascend.record_in import apply, check_keys, unfused_layers
from qir.backends.ascend.record_reader import parse_record, passes_before
from qir.backends.fake_quant import check_form
from qir.backends.files import Paths, check_prefix, output_paths
from qir.backends.inspection import PROOF_SAMPLES, Inspected, write_inspected_files
from qir.backends.proof_result import Proof
from qir.backends.targets import target_named
from qir.ir.errors import BackendError, ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.ir.walk import walk_nodes
from qir.models import CaffeFiles, FilePath, load
from qir.passes.base import Pass
from qir.passes.calibrate import Calibrate
from qir.passes.context import Context, RewriteLog
from qir.passes.equalize_layers import EqualizeLayers
from qir.passes.fuse_bn import FuseBn
from qir.passes.import_qdq import BetweenFloats, ImportQdq
from qir.passes.insert_quant import InsertQuant
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline
from qir.passes.qdq.pairs import PAIR
from qir.passes.quantize_bias import QuantizeBias
from qir.passes.quantize_weights import QuantizeWeights
from qir.report import LayerReport, report_layers
from qir.runtime.data import DataSource, open_data
from qir.runtime.session import Feeds, Session

Model = FilePath | bytes | CaffeFiles | Graph
Record = str | os.PathLike[str] | bytes | Mapping[str, LayerRecord]
_QUANTIZING = (InsertQuant, QuantizeWeights, Calibrate, QuantizeBias)
_TARGET = "ascend"


@dataclass(frozen=True)
class Converted:
    """The closed graph, the files written, and what became of each layer.

    `kept` counts the pairs of QuantizeLinear and DequantizeLinear that round between float ops as they did;
    `removed` has a sentence for each that went instead. `findings` are those of ATC's rules on the deploy
    graph; `proof` is None without data.
    """

    graph: Graph
    paths: Paths
    layers: tuple[LayerReport, ...]
    removed: tuple[str, ...] = ()
    kept: int = 0
    findings: tuple[Finding, ...] = ()
    proof: Proof | None = None


def convert_record(
    model: Model,
    record: Record,
    output: str | os.PathLike[str],
    *,
    pipeline: str = "amct",
    form: str = "ascend",
    data: DataSource | None = None,
) -> Converted:
    """Write fake-quant and deploy graph of a float model with the numbers of a record, without data.

    Arguments are those of `apply_record`; `output` is the prefix of the files, `form` that of the fake-quant
    graph. With `data` the deploy graph is proven on a few samples, as by `quantize`. A QirError says what
    does not fit; no file is left half-written then.
    """
    check_form(form)
    check_prefix(output)
    _check_kept(output, model, record)
    graph = apply_record(model, record, pipeline=pipeline)
    done = _write(graph, output, form, data)
    return Converted(graph, done.paths, report_layers(graph, {}), findings=done.findings, proof=done.proof)


def apply_record(model: Model, record: Record, *, pipeline: str = "amct") -> Graph:
    """The closed graph of a float model with the scales and zero points of a record.

    `model` is a path, serialized ONNX or a graph (left as it is). `record` is the path of an AMCT record
    file, its text (bytes, or a string with a brace in it), or what `parse_record` made of it. `pipeline`, a
    name or a text, says which fusions come first; its passes that would choose scales are replaced by the
    record. Passes that the text of the record names (equalize-layers) follow the fusions. Layers whose record
    says `skip_fusion` keep the BatchNormalization behind them.

    Raises a QirError that names the layer and the field of the record that does not fit.
    """
    records, filename, named = _read(record)
    if not records:
        raise BackendError(f"the record '{filename}' is empty, no layers to be quantized")
    target = target_named(_TARGET)
    passes = parse_pipeline(pipeline, named=target.pipelines)
    graph = model.clone() if isinstance(model, Graph) else load(model)
    check_keys(graph, records)
    unfused = unfused_layers(graph, records)
    first = next((i for i, item in enumerate(passes) if isinstance(item, _QUANTIZING)), len(passes))
    context = Context(rules=target.rules)
    before = [*(_configured(item, unfused) for item in passes[:first])]
    before += [item for item in named if all(item.name != other.name for other in before)]
    PassManager(before).run(graph, context)
    apply(graph, records, context.rewrites)
    PassManager([item for item in passes[first:] if not isinstance(item, _QUANTIZING)]).run(graph, context)
    return graph


def convert_qdq(
    model: Model,
    output: str | os.PathLike[str],
    *,
    target: str = "ascend",
    form: str = "qdq",
    between_floats: BetweenFloats = "keep",
    data: DataSource | None = None,
) -> Converted:
    """Write fake-quant and deploy graph of a model that holds QuantizeLinear and DequantizeLinear.

    `model` is a path, serialized ONNX or a graph (left as it is), from quantization-aware training or another
    quantizer; `output` is the prefix of the files. `form` "qdq" writes the fake-quant graph in the form in
    which it came, "ascend" as the deploy graph computes. Pairs between float ops are kept, so that the
    numbers stay the model's, or dropped, see pass `import-qdq`. With `data` the deploy graph is proven on a
    few samples. A QirError says what does not fit; no file is left half-written then.
    """
    check_form(form)
    check_prefix(output)
    _check_kept(output, model)
    rewrites = RewriteLog()
    graph = import_qdq(model, target=target, between_floats=between_floats, rewrites=rewrites)
    done = _write(graph, output, form, data)
    removed = tuple(f"the pair of '{r.node}' went: {r.reason}" for r in rewrites.refusals() if r.kind == PAIR)
    kept = rewrites.counts().get(PAIR, 0)
    return Converted(graph, done.paths, report_layers(graph, {}), removed, kept, done.findings, done.proof)


def import_qdq(
    model: Model,
    *,
    target: str = "ascend",
    between_floats: BetweenFloats = "keep",
    rewrites: RewriteLog | None = None,
) -> Graph:
    """The closed graph of a model that holds QuantizeLinear and DequantizeLinear, by the pipeline `qdq`.

    PassError when the model has no such pairs, or the target can run none of its layers in integers.
    """
    chosen = target_named(target)
    graph = model.clone() if isinstance(model, Graph) else load(model)
    if not any(node.op == "DequantizeLinear" for node in walk_nodes(graph)):
        raise PassError(
            "the model has no QuantizeLinear and DequantizeLinear to convert; "
            "quantize it with data (`qir quantize`), or give the record of its scales"
        )
    context = Context(rules=chosen.rules, rewrites=RewriteLog() if rewrites is None else rewrites)
    passes = [
        replace(item, between_floats=between_floats) if isinstance(item, ImportQdq) else item
        for item in parse_pipeline("qdq", named=chosen.pipelines)
    ]
    PassManager(passes).run(graph, context)
    if not quantized_layers(graph):
        layers = report_layers(graph, {})
        reasons = [f"'{layer.name}' ({layer.op}): {layer.reason}" for layer in layers[:3]]
        raise PassError(f"'{chosen.name}' runs no layer in integers: {'; '.join(reasons) or 'there is none'}")
    return graph


def _write(graph: Graph, output: str | os.PathLike[str], form: str, data: DataSource | None) -> Inspected:
    """Write the files, checked, and where there are data, proven."""
    samples: list[Feeds] = []
    if data is not None:
        units = open_data(data, graph).units(Session(graph, threads=1).run)
        samples = [unit.feeds for unit in itertools.islice(units, PROOF_SAMPLES)]
    return write_inspected_files(graph, output, form, samples)


def _configured(item: Pass, unfused: tuple[str, ...]) -> Pass:
    if isinstance(item, FuseBn) and unfused:
        return replace(item, skip=(*item.skip, *(name for name in unfused if name not in item.skip)))
    return item


def _read(record: Record) -> tuple[Mapping[str, LayerRecord], str, tuple[Pass, ...]]:
    """The records, the name by which messages call them, and the passes that they want to run before."""
    if isinstance(record, Mapping):
        return record, "<records>", ()
    try:
        path = _path(record)
        text = record.decode() if isinstance(record, bytes) else str(record)
        name = "<text>" if path is None else path.name
        if path is not None:
            text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"the record file '{record!s}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BackendError(f"the record is not text in UTF-8: {error}") from error
    return parse_record(text, name), name, _named_passes(text, name)


def _named_passes(text: str, filename: str) -> tuple[Pass, ...]:
    """The passes that the comments of a record name; BackendError for one that needs data."""
    found = parse_pipeline(",".join(passes_before(text)))
    for item in found:
        if not isinstance(item, EqualizeLayers):
            raise BackendError(
                f"the scales in '{filename}' are those of weights after '{item.name}', which needs the "
                f"calibration data; quantize the model again with that pipeline instead"
            )
    return found


def _path(source: Model | Record) -> Path | None:
    """The file that a model or a record is read from; None when it is given as such."""
    if isinstance(source, os.PathLike) or (isinstance(source, str) and "{" not in source):
        return Path(source)
    return None


def _check_kept(output: str | os.PathLike[str], *inputs: Model | Record) -> None:
    """ConfigError when a file to be written is one that was read."""
    for path in output_paths(output):
        for source in map(_path, inputs):
            if source is not None and source.exists() and path.exists() and path.samefile(source):
                raise ConfigError(f"'{path}' is read, so it is not overwritten; choose another output prefix")
