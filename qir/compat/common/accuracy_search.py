"""accuracy_based_auto_calibration: qir's search, calibrated by the user's evaluator.

The evaluator's `calibration` runs a calibration graph once, whose ops see the activations and, for the
ranking of the layers, what the model is fed; no later step calibrates again, nor writes activations to disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from qir.backends.ascend.record import LayerRecord, print_record
from qir.backends.ascend.record_in import apply
from qir.backends.ascend.rules import RULES
from qir.backends.files import check_prefix
from qir.backends.inspection import PROOF_SAMPLES
from qir.backends.targets import ASCEND
from qir.compat.common.auto_calibration import SensitivityBase, sensitivity_of
from qir.compat.common.calibration_graph import PIPELINE, calibration_graph
from qir.compat.common.evaluators import run_calibration
from qir.compat.common.fed_batches import FedBatches
from qir.compat.common.float_models import checked_float
from qir.compat.common.outputs import absolute, make_folder, restrict, write_text
from qir.compat.common.saving import MODEL_FILES, calibrated_records
from qir.compat.common.sessions import explaining_failures, runs
from qir.compat.common.watching import watch_inputs
from qir.config.amct.file import AmctConfig
from qir.config.amct.reader import parse_config
from qir.config.run import prepare
from qir.config.text_file import read_text
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.models import load, save
from qir.passes.context import Context, RewriteLog
from qir.passes.pipeline import parse_pipeline
from qir.runtime.metrics import Metric
from qir.runtime.progress import SILENT
from qir.runtime.sensitivity import measure_sensitivity
from qir.search.amct_files import FINAL_CONFIG_FILE, LOG_FOLDER, RANKING_FILE, print_ranking
from qir.search.configurations import Configuration
from qir.search.ending import Ending, finish
from qir.search.evaluations import Evaluations, Limits
from qir.search.evaluators import Evaluator
from qir.search.fallback import climb
from qir.search.final_config import final_config, write_final_config
from qir.search.fingerprints import Fingerprints
from qir.search.journal import Journal
from qir.search.prepared import Prepared
from qir.search.published import Place
from qir.search.ranking import Ranking
from qir.search.search import Search, silent
from qir.search.strategies import Strategy, strategy_named

ALL_ROLLED_BACK = (
    "No quantized model are generated due to all quant layers are roll backed, the accuracy target may be "
    "too difficult to achieve."
)
FILES = ("config_file", "record_file", "save_dir")
"""AMCT's names of three arguments that all toolkits have."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AccuracyJob:
    """The arguments of accuracy_based_auto_calibration, checked. `evaluator` gets paths of ONNX files.

    `pipeline` is one of the target's, which the configuration refines.
    """

    model_file: str
    evaluator: Evaluator
    config_file: str
    record_file: str
    save_dir: str
    strategy: Strategy
    sensitivity: Metric
    pipeline: str
    kinds: Collection[str]

    @staticmethod
    def of(
        model_file: str,
        evaluator: Evaluator,
        files: tuple[str, str, str],
        strategy: str | Strategy,
        sensitivity: str | SensitivityBase,
        pipeline: str = PIPELINE,
        kinds: Collection[str] = MODEL_FILES,
    ) -> AccuracyJob:
        """The job of AMCT's arguments; `files` are config_file, record_file and save_dir.

        `kinds` of files are left, as in `write_models`.

        Paths become absolute, because callbacks may change the working directory. CompatRuntimeErrors and
        CompatValueErrors for objects of wrong classes and unknown names.
        """
        model, config, record, prefix = map(absolute, (model_file, *files))
        return AccuracyJob(
            model, evaluator, config, record, prefix, strategy_named(strategy), sensitivity_of(sensitivity),
            pipeline, kinds,
        )  # fmt: skip


@dataclass(frozen=True)
class _Calibrated:
    """The model with every layer quantized, its records, and the batches that the evaluator fed."""

    prepared: Prepared
    records: Mapping[str, LayerRecord]
    data: FedBatches
    config: AmctConfig


def search_accuracy(job: AccuracyJob) -> None:
    """Find and write the quantized model with the fewest layers in float that satisfies the evaluator.

    Files are AMCT's: both models, ranking and final configuration beside them, the record file, the history
    in `amct_log` of the working directory; flags of the configuration file become those of the last step.
    When only the float model satisfies, no model is left and a warning says so. Raises QirErrors: an
    AccuracyRuleError, which is a ValueError, when the original model does not satisfy itself.
    """
    make_folder(Path(job.save_dir))
    check_prefix(job.save_dir)
    place = Place(job.save_dir, "ascend", ())
    place.clear()
    try:
        with Journal(place.scratch / "journal.jsonl") as journal:
            _search(job, place, journal)
    finally:
        place.remove_scratch()


def _search(job: AccuracyJob, place: Place, journal: Journal) -> None:
    """All steps. The journal serves this one search: AMCT's scripts begin anew whenever they are run."""
    inputs = Fingerprints(*("amct",) * 6)
    # Metrics of any class stay in memory.
    evaluations = Evaluations(job.evaluator, journal, inputs, Limits(), time.perf_counter(), frozenset())
    search = Search(evaluations, place, Path(LOG_FOLDER).absolute(), silent)
    original = search.check_original(Path(job.model_file))
    found = _calibrate(job, place)
    search.place = replace(place, samples=found.data.feeds)
    search.begin()
    prepared = found.prepared
    whole = search.evaluate(prepared, {}, dict.fromkeys(prepared.layers, True))
    ranking = _ranked(job, prepared.closed, found.data)
    write_text(place.folder / RANKING_FILE, print_ranking(ranking))
    best: Configuration | None = {}
    if not whole[0]:
        best = climb(search, job.strategy, prepared, ranking, whole)
    if best is None:
        search.all_rolled_back(ranking.worst_first, original)
    how = Ending(partial(write_final_config, found.config), PROOF_SAMPLES, False, SILENT)
    result = finish(search, prepared, ranking, best, False, how)
    last = search.steps[-1].configuration or {}
    if result.reached and result.best is not None:
        last = result.best.configuration or {}
        for kind in {"record", *MODEL_FILES} - {*job.kinds}:  # the record has a file of its own
            getattr(place.paths, kind).unlink()
    else:
        _log.warning(ALL_ROLLED_BACK)
    _write_last(job, found, last)
    models = [path for path in place.paths if path.exists()]
    restrict(*models, *(Path(f"{path}.data") for path in models), place.folder / FINAL_CONFIG_FILE)
    for finding in result.findings:
        _log.warning("%s", finding)


def _calibrate(job: AccuracyJob, place: Place) -> _Calibrated:
    """Let the evaluator run a calibration graph, and quantize every layer by what its ops have seen."""
    original = checked_float(load(job.model_file))
    made = calibration_graph(original, job.config_file, job.record_file, job.pipeline)
    watch_inputs(made.graph, job.record_file, made.batch_num)
    modified = place.scratch / "modified_model.onnx"
    save(made.graph, modified)
    write_text(Path(job.record_file), print_record(made.drafts))
    with explaining_failures(job.record_file):
        run_calibration(job.evaluator, str(modified))
    records = calibrated_records(job.record_file, runs().failure(job.record_file))
    context = Context(rules=RULES)
    passes = parse_pipeline(job.pipeline, named=ASCEND.pipelines)
    exact, _, model = prepare(original, job.config_file, ASCEND, passes, context)
    closed = exact.clone()
    apply(closed, records, RewriteLog())
    config = parse_config(read_text(Path(job.config_file)), model, job.config_file)
    data = FedBatches.of(original, runs().feeds(job.record_file))
    return _Calibrated(Prepared(exact, closed, (), context), records, data, config)


def _ranked(job: AccuracyJob, closed: Graph, data: FedBatches) -> Ranking:
    found = measure_sensitivity(closed, data, job.sensitivity)
    return Ranking(dict(found.scores), job.sensitivity.low_is_worse)


def _write_last(job: AccuracyJob, found: _Calibrated, last: Configuration) -> None:
    """Write the record of a step's model, and its flags into the configuration file."""
    graph = found.prepared.graph(last)
    quantized = {node.name for node in quantized_layers(graph)}
    kept = {k: r for k, r in found.records.items() if r.is_tensor_quantize or k in quantized}
    write_text(Path(job.record_file), print_record(kept))
    write_text(Path(job.config_file), final_config(found.config, quantized, last))
