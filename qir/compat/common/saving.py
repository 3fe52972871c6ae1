"""save_model: from a calibration graph and its record to fake-quant model, deploy model, their map."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from qir.backends.ascend.record import LayerRecord
from qir.backends.ascend.record_reader import parse_drafts
from qir.backends.files import check_prefix, output_paths
from qir.backends.inspection import write_inspected_files
from qir.compat.common.arguments import check_strings
from qir.compat.common.errors import CompatRuntimeError, amct_errors
from qir.compat.common.outputs import check_distinct, make_folder, restrict, write_text
from qir.compat.common.sessions import runs
from qir.compat.common.watching import unwatched
from qir.conversion import apply_record, convert_qdq
from qir.ir.graph import Graph
from qir.ir.walk import walk_nodes
from qir.models import load
from qir.passes.balancing.scaling import BALANCE_FACTOR, FIELD
from qir.runtime.calibration_ops import DOMAIN

MODEL_FILES = ("fake_quant_model", "deploy_model", "quant_info")
"""What save_model of AMCT writes; the record it was given."""
_log = logging.getLogger(__name__)


def save_calibrated(
    modified: str,
    record_file: str | None,
    save_path: str | None,
    kinds: Collection[str],
    *,
    watched: bool = False,
) -> None:
    """save_model of a calibration graph in a file, with checks of all arguments but the first.

    `watched` says that the file must hold calibration ops: that of amct_pytorch has none.
    CompatTypeErrors, CompatValueErrors and CompatRuntimeErrors are AMCT's.
    """
    check_strings({"record_file": record_file, "save_path": save_path})
    assert record_file is not None
    assert save_path is not None
    with amct_errors():
        check_distinct(modified, record_file, *map(str, output_paths(save_path)))
        records = calibrated_records(record_file, runs().failure(record_file))
        graph = load(modified)
        if watched and DOMAIN not in graph.opsets:
            raise CompatRuntimeError(f"'{modified}' is no calibration model; give the file of quantize_model")
        write_models(quantized_graph(graph, records, Path(modified).name), save_path, kinds)


def calibrated_records(record_file: str, failure: str | None) -> Mapping[str, LayerRecord]:
    """The records of a file that calibration has filled; `failure` says why it did not, where that is known.

    CompatRuntimeError in AMCT's words when it is empty, or a layer has no scale_d.
    """
    try:
        text = Path(record_file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CompatRuntimeError(f"the record_file '{record_file}' cannot be read: {error}") from error
    drafts = parse_drafts(text, record_file)
    if not drafts:
        raise CompatRuntimeError(
            f"record_file is empty, no layers to be quantized. ('{record_file}'; quantize_model fills it)"
        )
    found: dict[str, LayerRecord] = {}
    for key, record in drafts.items():
        if isinstance(record, LayerRecord):
            found[key] = record
            continue
        why = failure or "has the model run batch_num times, in a session with AMCT_SO if it is a file?"
        raise CompatRuntimeError(
            f"cannot find scale_d of layer {key} in record_file, please check data calibration process! "
            f"({why})"
        )
    return found


def quantized_graph(calibration: Graph, records: Mapping[str, LayerRecord], title: str) -> Graph:
    """The closed graph of a calibration graph; its fusions are done, and its weights hold their integers."""
    floats = unwatched(calibration)
    names = {node.name for node in walk_nodes(floats)}
    for key, record in records.items():
        layer = key.rpartition(":")[0] if record.is_tensor_quantize else key
        if layer not in names:
            raise CompatRuntimeError(f"find {layer} failure in {title}. Please match {title} and RECORD.")
    _restore_factors(floats)
    # What the factors of the DMQ balancer do is in the graph already.
    plain = {key: replace(record, tensor_balance_factor=()) for key, record in records.items()}
    return apply_record(floats, plain, pipeline="infer-types")


def _restore_factors(graph: Graph) -> None:
    """Make the factors of balanced layers nodes again, as AMCT's graphs have them; files hold constants."""
    for layer in list(graph.nodes):
        divided = layer.input(0) if BALANCE_FACTOR in layer.metadata else None
        divide = None if divided is None else divided.producer
        factor = None if divide is None else divide.input(1)
        if divide is None or factor is None or factor.constant is None:
            continue
        node = graph.add(
            "Constant", [], name=graph.unique_node_name(f"{layer.name}.{FIELD}"), types=[factor.type],
            attributes={"value": factor.constant}, before=divide,
        )  # fmt: skip
        divide.set_input(1, node.output)
        if not factor.is_read:
            graph.erase(factor)


def write_models(graph: Graph, save_path: str, kinds: Collection[str] = MODEL_FILES) -> None:
    """Write `<save_path>_fake_quant_model.onnx`, `…_deploy_model.onnx` and `…_quant.json`, all or none.

    Folders are made. `kinds` says which of them, as fields of `Paths`. A QirError says what cannot be
    written.
    """

    def make(prefix: str) -> Sequence[Path]:
        made = write_inspected_files(graph, prefix, "ascend", [])
        for finding in made.findings:
            _log.warning("%s", finding)
        return [getattr(made.paths, kind) for kind in kinds]

    _place(save_path, make)


def write_converted(model_file: str, save_path: str, record_file: str | None) -> None:
    """Write fake-quant and deploy model of a model with QuantizeLinear and DequantizeLinear, and its record.

    The fake-quant model computes as the deploy model does.
    """

    def make(prefix: str) -> Sequence[Path]:
        paths = convert_qdq(model_file, prefix, form="ascend").paths
        if record_file is not None:
            write_text(Path(record_file), paths.record.read_text(encoding="utf-8"))
        return paths.fake_quant_model, paths.deploy_model

    _place(save_path, make)


def _place(save_path: str, make: Callable[[str], Sequence[Path]]) -> None:
    """Let `make` write files of a prefix aside, and move those that it names (with their data) into place."""
    folder, name = Path(os.path.dirname(save_path)), os.path.basename(save_path)
    make_folder(folder / "model")
    check_prefix(save_path)
    try:
        with tempfile.TemporaryDirectory(prefix=".qir-", dir=folder) as aside:
            wanted = [path.name for path in make(os.path.join(aside, name))]
            for file in sorted(Path(aside).iterdir()):
                if file.name.removesuffix(".data") in wanted:
                    os.replace(file, folder / file.name)
                    restrict(folder / file.name)
    except OSError as error:
        raise CompatRuntimeError(
            f"the files '{save_path}_…' cannot be written: {error.strerror or error}"
        ) from error
