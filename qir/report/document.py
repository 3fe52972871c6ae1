"""The report as JSON, `<prefix>_report.json`: the page is made from it, and shows no number that it lacks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qir import __version__
from qir.backends.files import Paths
from qir.backends.proof_result import Proof
from qir.ir.atomic import written_aside
from qir.ir.graph import Graph
from qir.passes.searching.scores import method_scores
from qir.report.entries import layer_entry, similarity_entry
from qir.report.histograms import histogram_entries
from qir.report.layers import LayerReport, Report
from qir.report.listing import graph_entry
from qir.report.plain import Entries, Json, beside, cleaned, json_text, plain
from qir.report.similarity import LayerSimilarity
from qir.runtime.compare import OutputComparison
from qir.runtime.statistics_file import Statistics

FORMAT = 1
_ENDING = "report.json"


@dataclass(frozen=True)
class About:
    """What a job was asked for: `pipeline` is the text of its passes, `form` that of the fake-quant graph."""

    target: str
    pipeline: str
    form: str


@dataclass(frozen=True)
class Accuracy:
    """A metric of the float and of the quantized model; `of` says on what it was measured."""

    metric: str
    of: str
    original: float
    quantized: float | None

    def entry(self) -> Entries:
        """As in JSON."""
        quantized = None if self.quantized is None else plain(self.quantized)
        return {"metric": self.metric, "of": self.of, "float": plain(self.original), "quantized": quantized}


def report_path(prefix: str | os.PathLike[str]) -> Path:
    """`<prefix>_report.json`."""
    return beside(prefix, _ENDING)


def report_document(
    report: Report,
    graph: Graph,
    about: About,
    *,
    collected: Sequence[Statistics] = (),
    similarity: LayerSimilarity | None = None,
    paths: Paths | None = None,
    accuracy: Accuracy | None = None,
    search: Entries | None = None,
) -> Entries:
    """All that is known of a quantized model; what was not measured is None, or an empty list.

    `graph` is the closed graph, `collected` the statistics that closed it, `paths` its files.
    """
    return {
        "format": FORMAT,
        "qir": __version__,
        "model": graph.name,
        "target": about.target,
        "form": about.form,
        "pipeline": about.pipeline,
        "record": record_digest(paths.record) if paths is not None and paths.record.exists() else None,
        "summary": _summary(report, accuracy, similarity),
        "outputs": [_output(item) for item in report.outputs],
        "layers": _layers(report.layers, graph, similarity),
        "histograms": [*histogram_entries(graph, collected)],
        "notes": [*report.notes],
        "findings": [
            {"severity": f.severity, "rule": f.rule, "node": f.node, "sentence": f.sentence, "cure": f.cure}
            for f in report.findings
        ],
        "proof": None if report.proof is None else _proof(report.proof),
        "method_search": cleaned(method_scores(graph)),
        "search": search,
        "graph": graph_entry(graph),
    }


def write_document(document: Entries, path: Path) -> None:
    """Write it, whole or not at all."""
    with written_aside(path) as file:
        file.write(json_text(document).encode())


def add_accuracy(path: Path, accuracy: Accuracy) -> None:
    """Note in a written report what a metric of both models was."""
    document = json.loads(path.read_text(encoding="utf-8"))
    document["summary"]["accuracy"] = accuracy.entry()
    write_document(document, path)


def record_digest(record: Path) -> str:
    """By which the report knows the files that it is about: scales are others in another model."""
    return hashlib.blake2b(record.read_bytes(), digest_size=8).hexdigest()


def _summary(report: Report, accuracy: Accuracy | None, similarity: LayerSimilarity | None) -> Entries:
    known = [layer.macs for layer in report.layers if layer.macs is not None]
    ratio = report.float_bytes / report.deploy_bytes if report.deploy_bytes else None
    return {
        "accuracy": None if accuracy is None else accuracy.entry(),
        "layers": len(report.layers),
        "quantized_layers": sum(layer.is_quantized for layer in report.layers),
        "macs": sum(known) if len(known) == len(report.layers) else None,
        "integer_share": report.integer_share,
        "float_bytes": report.float_bytes,
        "deploy_bytes": report.deploy_bytes or None,
        "size_ratio": ratio,
        "compared_samples": report.compared_samples,
        "layer_samples": None if similarity is None else similarity.samples,
    }


def _output(item: OutputComparison) -> Entries:
    return {
        "name": item.name,
        "cosine": plain(item.cosine),
        "sqnr": plain(item.sqnr),
        "l1": plain(item.l1),
        "l2": plain(item.l2),
        "chebyshev": plain(item.max_abs),
        "count": item.count,
    }


def _layers(layers: Sequence[LayerReport], graph: Graph, similarity: LayerSimilarity | None) -> list[Json]:
    counts = [layer.macs for layer in layers]
    known = [count for count in counts if count is not None]
    total = sum(known) if len(known) == len(counts) else 0
    rows: list[Json] = []
    for layer in layers:
        row = layer_entry(layer, graph, total)
        if similarity is not None:
            row["cumulative"] = similarity_entry(similarity.cumulative.get(layer.name))
            row["isolated"] = similarity_entry(similarity.isolated.get(layer.name))
        rows.append(row)
    return rows


def _proof(proof: Proof) -> Entries:
    return {
        "samples": proof.samples,
        "layers": len(proof.layers),
        "compared": proof.compared,
        "different": proof.different,
        "unprovable": [layer.name for layer in proof.unprovable],
        "moved": [layer.name for layer in proof.moved],
        "output_difference": proof.max_abs,
    }
