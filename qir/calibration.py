"""Calibration as a job of its own: a float model and data in, statistics out, to be used again and again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from qir.backends.targets import target_named
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.models import ModelSource, load
from qir.passes.base import Pass
from qir.passes.calibrate import Calibrate
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.manager import PassManager
from qir.passes.measurement import Weights, take_statistics
from qir.passes.pipeline import parse_pipeline
from qir.passes.search_method import SearchMethod
from qir.runtime.dask_shards import DaskShards
from qir.runtime.data import DataSource, open_data
from qir.runtime.process_shards import ProcessShards
from qir.runtime.progress import SILENT, Progress
from qir.runtime.sharding import ExecutorShards, collect_sharded
from qir.runtime.statistics_file import Statistics

if TYPE_CHECKING:
    from qir.passes.context import Collect


def calibrate(
    model: ModelSource | Graph,
    data: DataSource,
    *,
    target: str = "ascend",
    pipeline: str = "default",
    skip: str | Sequence[str] = (),
    workers: int | None = None,
    executor: Executor | None = None,
    dask: str | None = None,
    progress: Progress | None = None,
) -> Statistics:
    """The statistics from which `quantize(statistics=…)` chooses scales without running the data again.

    `model`, `data`, `target`, `pipeline` and `skip` are those of `quantize`. The statistics serve every
    pipeline with the same exact passes, whatever it quantizes, to how many bits and by which method. With
    `calibrate{weights=quantized}` in the pipeline they also depend on how weights are quantized. Layers of
    `skip` need no finite inputs.

    The data run in threads of this process, or in `workers` processes, or in any `executor` of
    concurrent.futures (`workers` then says how many it has), or on the dask.distributed cluster whose
    scheduler is at the address `dask`. No bit of the statistics depends on that.

    Raises a QirError that says what to do.
    """
    chosen = target_named(target)
    passes, weights = _before_calibrate(parse_pipeline(pipeline, named=chosen.pipelines), skip)
    original = model if isinstance(model, Graph) else load(model)
    calibration = open_data(data, original)
    graph = original.clone()
    with _collecting(workers, executor, dask) as collect:
        context = Context(data=calibration, collect=collect, rules=chosen.rules, progress=progress or SILENT)
        PassManager(passes).run(graph, context)
        return take_statistics(graph, context, weights)


def _before_calibrate(passes: Sequence[Pass], skip: str | Sequence[str]) -> tuple[list[Pass], Weights]:
    """The passes before the first `calibrate`, with the skip list, and the weights that it runs with."""
    names = (skip,) if isinstance(skip, str) else tuple(skip)
    closing = (Calibrate, SearchMethod)
    found = next((i for i, item in enumerate(passes) if isinstance(item, closing)), None)
    if found is None:
        raise ConfigError("the pipeline has no calibrate, so that there is nothing to take statistics for")
    modes: set[Weights] = {item.weights for item in passes if isinstance(item, Calibrate)}
    modes |= {"float" for item in passes if isinstance(item, SearchMethod)}
    if len(modes) > 1:
        raise ConfigError(
            "the pipeline calibrates both with float and with quantized weights; statistics are of one kind"
        )
    if any(isinstance(item, Calibrate) and item.exact for item in passes):
        raise ConfigError(
            "calibrate{exact=true} computes on all values, of which statistics keep a summary only; leave "
            "exact out, or quantize with data"
        )
    return [_skipping(item, names) for item in passes[:found]], modes.pop()


def _skipping(item: Pass, names: tuple[str, ...]) -> Pass:
    return item.skipping(names) if names and isinstance(item, InsertQuant) else item


@contextmanager
def _collecting(workers: int | None, executor: Executor | None, dask: str | None) -> Iterator[Collect | None]:
    """How data are run: None for threads of this process."""
    if dask is not None and (executor is not None or workers is not None):
        raise ConfigError("dask says where the data run; leave out workers and executor")
    if dask is not None:
        with DaskShards(dask) as cluster:
            yield partial(collect_sharded, cluster)
    elif executor is not None:
        yield partial(collect_sharded, ExecutorShards(executor, workers))
    elif workers is not None:
        with ProcessShards(workers) as processes:
            yield partial(collect_sharded, processes)
    else:
        yield None
