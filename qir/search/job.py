"""The search of `qir auto`, as AMCT's driver goes, without its repetitions.

The original model is evaluated and must satisfy; then the completely quantized one; the layers are ranked in
any case; and if the quantized model fails, a strategy proposes which layers to roll back, once for each rung
of the fallback ladder until one satisfies. The best model that satisfies is on the disk at any moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from qir.config.amct.file import AmctConfig
from qir.runtime.enough import AtLeast
from qir.search.amct_files import RANKING_FILE, print_ranking, write_text
from qir.search.configurations import Configuration
from qir.search.ending import Ending, finish
from qir.search.evaluations import LimitReached, Limits
from qir.search.fallback import climb
from qir.search.final_config import write_final_config
from qir.search.inputs import SearchInputs
from qir.search.known_ranking import known_ranking
from qir.search.opened import SearchOutputs, opened_search
from qir.search.prepared import Prepared, prepare
from qir.search.ranking import Rank, Ranking
from qir.search.report_file import write_search_report
from qir.search.rungs import Rung
from qir.search.search import Search
from qir.search.steps import SearchResult
from qir.search.strategies.base import Strategy


@dataclass(frozen=True)
class SearchJob:
    """What `auto_quantize` was asked to do, opened and checked.

    `sensitivity` says what the ranking by `rank` depends on; `config` is what the final configuration
    starts from.
    """

    inputs: SearchInputs
    outputs: SearchOutputs
    strategy: Strategy
    rank: Rank
    sensitivity: str
    fallback: tuple[Rung, ...]
    limits: Limits
    config: AmctConfig


def run_search(job: SearchJob) -> SearchResult:
    """Do it. Whatever is raised, the journal has every answer, and the best model so far is in place."""
    enough = AtLeast(job.inputs.data, job.config.batch_num)
    inputs = replace(job.inputs, context=replace(job.inputs.context, data=enough))
    with opened_search(inputs, job.outputs, job.limits, job.sensitivity) as search:
        result = _searched(replace(job, inputs=inputs), search)
        strategy = type(job.strategy).__name__
        write_search_report(search, inputs, strategy, result, job.outputs.compare_layers)
        return result


def _searched(job: SearchJob, search: Search) -> SearchResult:
    """All steps; the limits of evaluations and time end it early."""
    inputs = job.inputs
    original = search.check_original(inputs.file_for_evaluator(search.place.scratch))
    prepared = prepare(inputs.exact, inputs.quantizing, inputs.context)
    search.begin()
    found: Configuration | None = {}
    stopped = False
    ranking = Ranking(dict.fromkeys(prepared.layers, 0.0))
    try:
        whole = search.evaluate(prepared, {}, dict.fromkeys(prepared.layers, True))
        ranking = ranked(search, job.rank, inputs, prepared)
        if not whole[0]:
            found = climb(search, job.strategy, prepared, ranking, whole, job.fallback)
        if found is None:
            search.all_rolled_back(ranking.worst_first, original)
    except LimitReached:
        found, stopped = None, True
    write = partial(write_final_config, job.config)
    how = Ending(write, job.outputs.proof_samples, job.outputs.keep_best, inputs.context.progress)
    result = finish(search, prepared, ranking, found, stopped, how)
    asked = not stopped and found != {}  # a strategy, and up to its end
    return replace(result, note=job.strategy.note()) if asked else result


def ranked(search: Search, rank: Rank, inputs: SearchInputs, prepared: Prepared) -> Ranking:
    """The ranking, from the journal if it is there, and its file."""
    ranking = known_ranking(search, rank, inputs, prepared.closed, prepared.layers)
    write_text(search.place.folder / RANKING_FILE, print_ranking(ranking))
    return ranking
