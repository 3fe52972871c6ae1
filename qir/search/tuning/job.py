"""Tuning from opened inputs to files: the phases, then the model, its `quant_config` and its table."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qir.backends.files import output_paths
from qir.config.levels.file import Levels
from qir.config.open import ConfigSource
from qir.config.resolved_file import path_beside, write_resolved
from qir.config.table import Row
from qir.ir.atomic import written_aside
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.search.configurations import Configuration
from qir.search.ending import Ending, finish
from qir.search.evaluations import LimitReached, Limits
from qir.search.inputs import SearchInputs
from qir.search.opened import SearchOutputs, opened_search
from qir.search.ranking import Rank, Ranking
from qir.search.report_file import write_search_report
from qir.search.rungs import Rung
from qir.search.search import Search
from qir.search.strategies.base import Strategy
from qir.search.tuning.calibration import with_one_method
from qir.search.tuning.ladder import BASE, cost
from qir.search.tuning.mixtures import Mixtures
from qir.search.tuning.phases import Phases
from qir.search.tuning.rankings import Rankings
from qir.search.tuning.result import Phase, TuneResult, phase_of


@dataclass(frozen=True)
class TuneJob:
    """What `tune` was asked to do, opened and checked; `sensitivity` says what the ranking depends on."""

    inputs: SearchInputs
    outputs: SearchOutputs
    start: Levels
    rungs: tuple[Rung, ...]
    strategy: Strategy
    rank: Rank
    sensitivity: str
    limits: Limits


@dataclass(frozen=True)
class ConfigFiles:
    """Where the quant_config of the result and its resolved table go."""

    config: Path
    resolved: Path

    def remove(self) -> None:
        """Remove those of an earlier run: they belong to the files of another model."""
        self.config.unlink(missing_ok=True)
        self.resolved.unlink(missing_ok=True)

    def write(self, levels: Levels, rows: Sequence[Row]) -> None:
        """Write both, each whole or not at all."""
        write_resolved(levels, rows, self.resolved)
        with written_aside(self.config) as file:
            file.write((json.dumps(levels.fields(), indent=2, ensure_ascii=False) + "\n").encode())


def config_files(output: str, source: ConfigSource | None) -> ConfigFiles:
    """`<prefix>_quant_config.json` and `…_resolved_config.json`; ConfigError where the user's own lies."""
    resolved = path_beside(output, source)
    record = output_paths(output).record
    path = record.with_name(f"{record.name.removesuffix('record.txt')}quant_config.json")
    if path.is_dir():
        raise ConfigError(f"'{path}' is to be written but is a folder; choose another output prefix")
    if isinstance(source, (str, os.PathLike)) and path.exists() and path.samefile(source):
        raise ConfigError(
            f"'{path}' is the configuration that tuning starts from, which is never overwritten; choose "
            "another output prefix"
        )
    return ConfigFiles(path, resolved)


@dataclass
class _Written:
    """What was written of the result, if anything was."""

    levels: Levels | None = None
    rows: tuple[Row, ...] = field(default=())


def run_tuning(job: TuneJob, files: ConfigFiles) -> TuneResult:
    """Do it. Whatever is raised, the journal has every answer, and the best model so far is in place."""
    with opened_search(job.inputs, job.outputs, job.limits, job.sensitivity) as search:
        search.log_folder, search.cost = None, cost
        files.remove()
        result = _tuned(job, files, search)
        strategy = type(job.strategy).__name__
        compared, phases = job.outputs.compare_layers, result.phases
        write_search_report(search, job.inputs, strategy, result.search, compared, phases)
        return result


def _tuned(job: TuneJob, files: ConfigFiles, search: Search) -> TuneResult:
    inputs, written = job.inputs, _Written()
    search.check_original(inputs.file_for_evaluator(search.place.scratch))
    start, choice = with_one_method(job.start, inputs)
    mixtures = Mixtures(inputs, start, job.rungs)
    search.begin()
    rankings = Rankings(search, job.rank, mixtures)

    def write_config(_folder: Path, graph: Graph, configuration: Configuration) -> None:
        written.levels = mixtures.levels(configuration)
        written.rows = mixtures.rows(configuration, graph)
        files.write(written.levels, written.rows)

    phases = Phases(search, mixtures, job.strategy, rankings.information)
    stopped = False
    try:
        phases.run()
    except LimitReached:
        stopped = True
    ranking = rankings.known.get(BASE, Ranking(dict.fromkeys(mixtures.layers, 0.0)))
    how = Ending(write_config, job.outputs.proof_samples, job.outputs.keep_best, inputs.context.progress)
    first = [phase_of("float model", search.steps[:1])]
    if choice:
        first.append(Phase("calibration", None, 0, choice))
    result = finish(search, mixtures, ranking, None, stopped, how)
    done: tuple[Phase, ...] = (*first, *phases.done)
    if written.levels is None:
        return TuneResult(result, done, None, None, None, ())
    return TuneResult(result, done, written.levels, files.config, files.resolved, written.rows)
