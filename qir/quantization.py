"""The main job: a float model and data in, a quantized graph, its files and a report out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qir.backends.files import Paths, check_prefix, output_paths
from qir.backends.inspection import PROOF_SAMPLES
from qir.backends.targets import Target, target_named
from qir.config.layers import exact_passes
from qir.config.open import ConfigSource, as_levels
from qir.config.outline import node_names
from qir.config.resolved_file import path_beside, write_resolved
from qir.config.run import Configured, quantize_configured
from qir.config.table import Row
from qir.finishing import Files, finish
from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.ir.walk import walk_nodes
from qir.method_scores import scores_path, write_scores
from qir.models import ModelSource, load
from qir.passes.base import Pass
from qir.passes.calibrate import Calibrate
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.left_float import FLOAT
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline, print_pipeline
from qir.passes.rules import TargetRules
from qir.passes.searching.scores import method_scores
from qir.reference import recorded_reference
from qir.report import Report, report_layers
from qir.report.document import About
from qir.report.similarity import LayerSimilarity
from qir.runtime.calibration import METHODS, method_named
from qir.runtime.data import DataSource, open_data
from qir.runtime.memory import return_freed_memory
from qir.runtime.progress import SILENT, Progress
from qir.runtime.statistics_file import Statistics

_DEFAULT_METHOD = METHODS.name_of(Calibrate().method)


@dataclass(frozen=True)
class Quantized:
    """The closed graph, the files written (None without `output`), and the report.

    With a configuration, `resolved` is the table of what each operand was to have and has; that of a
    quant_config is written to `resolved_path` too. `similarity` is there if layers were to be compared;
    `report_path` holds the report as JSON, `scores_path` the scores of a search of methods, if there was one.
    """

    graph: Graph
    paths: Paths | None
    report: Report
    resolved: tuple[Row, ...] = ()
    resolved_path: Path | None = None
    similarity: LayerSimilarity | None = None
    report_path: Path | None = None
    scores_path: Path | None = None


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
    form: str | None = None,
    batch_size: int | None = None,
    proof_samples: int = PROOF_SAMPLES,
    compare_layers: bool = False,
    progress: Progress | None = None,
) -> Quantized:
    """Quantize a float model with calibration data; write its files when `output` is a prefix.

    `model` is whatever `load` takes, or a graph; both are left as they are. `data` is whatever `open_data`
    takes. `pipeline` is the name of one of the target's pipelines or a pipeline text; `method` and `skip`
    (layers to leave in float: names, `type:OP`, `regex:EXPRESSION`) go into its `calibrate` and
    `insert-quant`. `config` refines the pipeline layer by layer: the path of a quant_config (JSON) or of
    AMCT's `config.json` or `.cfg`, the entries of one of these JSON files, or a QuantConfig. `form` is that
    of the fake-quant graph, "ascend" or "qdq" (None: the target's). `batch_size` is accepted for scripts
    that pass one: samples are run one by one, so it changes no bit of the result. On the first
    `proof_samples` the written deploy graph, if the target has one, must give the integers of the fake-quant
    graph in every layer, as the report says (0: no proof). `compare_layers` measures how near each layer is
    to the float one, with everything quantized and with it alone; that takes a few runs more.

    `statistics` are what `calibrate` returned, or a file of them: scales come from these, and data are only
    compared and proven on. Without data neither is done, and the report has a note that says so.

    Raises a QirError that says what to do; no file is left half-written then.
    """
    _check_choices(method, config, batch_size, proof_samples)
    chosen = target_named(target)
    form = chosen.form(form)
    passes = configure(chosen, pipeline, method, (skip,) if isinstance(skip, str) else skip)
    if output is not None:
        check_prefix(output)
        _check_not_input(model, output)
    original = model if isinstance(model, Graph) else load(model)
    context = _context(original, data, statistics, chosen, progress)
    if context.data is None and compare_layers:
        raise ConfigError("layers are compared on data: give data beside the statistics")
    levels = None if config is None else as_levels(config, node_names(original))
    resolved_path = None if levels is None or output is None else path_beside(output, config)
    return_freed_memory()  # the bytes of the file
    graph = original.clone()
    ours = original is not model and not compare_layers
    with recorded_reference(original, ours, context.data, proof_samples) as reference:
        made = _run(graph, config, chosen, passes, context)
        floats = _exact(original, passes, context) if compare_layers else None
        files = Files(
            output,
            About(chosen.name, print_pipeline(passes), form),
            proof_samples,
            floats,
            chosen.has_deploy_model,
        )
        done = finish(reference, made.graph, context, files)
    if resolved_path is not None:
        write_resolved(levels, made.rows, resolved_path)
    scores = method_scores(made.graph)
    searched = None if scores is None or output is None else scores_path(output)
    if scores is not None and searched is not None:
        write_scores(scores, searched)
    return Quantized(
        made.graph, done.paths, done.report, made.rows, resolved_path, done.similarity, done.report_path,
        searched,
    )  # fmt: skip


def _check_choices(
    method: str, config: ConfigSource | None, batch_size: int | None, proof_samples: int
) -> None:
    method_named(method)
    if batch_size is not None and batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
    if proof_samples < 0:
        raise ConfigError(f"proof_samples must be 0 (no proof) or more, not {proof_samples}")
    if config is not None and method != _DEFAULT_METHOD:
        raise ConfigError(
            f"the configuration says by which methods to calibrate; leave out method '{method}'"
        )


def _context(
    original: Graph,
    data: DataSource | None,
    statistics: Statistics | str | os.PathLike[str] | None,
    target: Target,
    progress: Progress | None,
) -> Context:
    """What the passes need; ConfigError with neither data nor statistics."""
    context = Context(
        data=None if data is None else open_data(data, original),
        statistics=Statistics.load(statistics) if isinstance(statistics, (str, os.PathLike)) else statistics,
        rules=target.rules,
        progress=progress or SILENT,
    )
    if context.data is None and context.statistics is None:
        raise ConfigError(
            "no data to calibrate with; give data, or statistics that `qir calibrate` has taken"
        )
    return context


def _run(
    graph: Graph, config: ConfigSource | None, target: Target, passes: tuple[Pass, ...], context: Context
) -> Configured:
    """The graph quantized, which is used up; PassError when not a single layer could be quantized."""
    if config is None:
        made = Configured(graph, ())
        PassManager(passes).run(graph, context)
    else:
        made = quantize_configured(graph, config, target, passes, context)
    _check_any_quantized(made.graph, target.rules)
    return made


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
        return item.skipping(skip)
    return item


def _exact(original: Graph, passes: Sequence[Pass], context: Context) -> Graph:
    """The float model behind the passes in front of insert-quant, which may equalize ranges of layers."""
    graph = original.clone()
    PassManager(exact_passes(passes)).run(graph, context)
    return graph


def _check_not_input(model: object, output: str | os.PathLike[str]) -> None:
    if not isinstance(model, (str, os.PathLike)):
        return
    source = Path(model)
    for path in output_paths(output):
        if source.exists() and path.exists() and path.samefile(source):
            raise ConfigError(
                f"'{path}' is the input model; choose another output prefix, it is never overwritten"
            )


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
