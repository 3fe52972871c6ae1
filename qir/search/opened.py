"""Opens a search: its journal, the place of its files, and the evaluator behind both."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qir.runtime.session import Session
from qir.search.amct_files import LOG_FOLDER
from qir.search.evaluations import Evaluations, Limits
from qir.search.fingerprints import first_and_digest
from qir.search.inputs import SearchInputs
from qir.search.journal import Journal, journal_path
from qir.search.published import Place
from qir.search.search import Search, silent
from qir.search.steps import Listener


@dataclass(frozen=True)
class SearchOutputs:
    """What a search leaves, and what it tells while it runs.

    `output` is the prefix of the files and `form` that of the fake-quant model; `restart` begins a new
    journal; `log_folder` gets AMCT's history (None: `amct_log` beside the files); `compare_layers` measures
    for the report how near the layers of the result are to the float model.
    """

    output: str
    form: str = "ascend"
    proof_samples: int = 1
    keep_best: bool = False
    restart: bool = False
    log_folder: Path | None = None
    listener: Listener = silent
    compare_layers: bool = False


@contextmanager
def opened_search(
    inputs: SearchInputs, outputs: SearchOutputs, limits: Limits, sensitivity: str
) -> Iterator[Search]:
    """A search that knows what its journal knows; `sensitivity` says what a ranking in it depends on.

    Whatever is raised within, the journal has every answer, and the best model so far is in place.
    """
    started = time.perf_counter()
    inputs.check_survive(outputs.output)
    session = functools.cache(lambda: Session(inputs.original, threads=1))  # most data need no run
    samples, data = first_and_digest(
        inputs.data, lambda feeds: session().run(feeds, session().outputs), max(outputs.proof_samples, 1)
    )
    fingerprints = inputs.fingerprints(data, sensitivity, outputs.form)
    session.cache_clear()
    target = inputs.model.target
    place = Place(outputs.output, outputs.form, samples, target.has_deploy_model)
    with Journal(journal_path(outputs.output)) as journal:
        changed = journal.begin(fingerprints, outputs.restart)
        place.clear()
        trusted = inputs.evaluator.modules()
        evaluations = Evaluations(inputs.evaluator, journal, fingerprints, limits, started, trusted)
        logs = outputs.log_folder or place.folder / LOG_FOLDER
        try:
            yield Search(evaluations, place, logs, outputs.listener, changed)
        finally:
            place.remove_scratch()
