"""A quantized model and its data, for whatever studies it: quantized first when it comes in float."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from qir.config.open import ConfigSource
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.ir.quants import is_quant
from qir.models import ModelSource, load
from qir.quantization import quantize
from qir.runtime.data import CalibrationData, DataSource, open_data
from qir.runtime.progress import Progress
from qir.runtime.statistics_file import Statistics


@dataclass(frozen=True)
class ClosedModel:
    """A closed graph and the data to run it on."""

    graph: Graph
    data: CalibrationData


def closed_model(
    model: ModelSource | Graph,
    data: DataSource,
    *,
    statistics: Statistics | str | os.PathLike[str] | None = None,
    target: str = "ascend",
    pipeline: str = "default",
    method: str = "ifmr",
    skip: str | Sequence[str] = (),
    config: ConfigSource | None = None,
    progress: Progress | None = None,
) -> ClosedModel:
    """A model with its data; a float model is quantized as `quantize` does, with the same arguments.

    A graph with quants (such as a `.qir` file) is taken as it is: ConfigError when it comes with arguments
    from `statistics` to `config`. Otherwise the errors of `quantize`.
    """
    source = model if isinstance(model, Graph) else load(model)
    opened = open_data(data, source)
    if any(map(is_quant, source.nodes)):
        given = (statistics, target, pipeline, method, tuple(skip), config)
        if given != (None, "ascend", "default", "ifmr", (), None):
            raise ConfigError(
                "the model is quantized already; leave out statistics, target, pipeline, method, skip and "
                "config, or give the float model"
            )
        return ClosedModel(source, opened)
    made = quantize(
        source, opened, statistics=statistics, target=target, pipeline=pipeline, method=method, skip=skip,
        config=config, progress=progress,
    )  # fmt: skip
    return ClosedModel(made.graph, opened)
