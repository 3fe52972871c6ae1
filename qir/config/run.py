"""Runs a pipeline under a configuration: exact passes first, for they show which layers there are."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qir.backends.targets import Target
from qir.config.grants import grants, output_precision
from qir.config.layers import Model, exact_passes, model_of
from qir.config.lowering import preparing_passes, quantizing_passes
from qir.config.open import ConfigSource, open_config
from qir.config.outline import outline
from qir.config.settings import QuantConfig
from qir.config.table import Row, rows
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.manager import PassManager
from qir.passes.searching.scores import raised_layers
from qir.runtime.enough import AtLeast, check_enough
from qir.runtime.statistics_file import Statistics

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Configured:
    """A graph that was quantized as a configuration asks, and the resolved table."""

    graph: Graph
    rows: tuple[Row, ...]


def quantize_configured(
    original: Graph, source: ConfigSource, target: Target, base: Sequence[Pass], context: Context
) -> Configured:
    """Quantize a float model, which is left as it is.

    `base` is the pipeline that the configuration refines. ConfigError when they do not fit each other or the
    model, CalibrationError when there are fewer samples than the configuration's batch_num.
    """
    graph, config, model = prepare(original, source, target, base, context)
    check_statistics(config, target, context.statistics)
    if config.batch_num is not None and context.statistics is not None:
        check_enough(context.statistics.origin.units, config.batch_num)
    elif config.batch_num is not None and context.data is not None:
        context = replace(context, data=AtLeast(context.data, config.batch_num))
    passes = quantizing_passes(config, model, base)
    _note_reasons(config, model, context)
    PassManager(passes).run(graph, context)
    _warn([(n, r.refused) for n, r in raised_layers(graph).items() if r.refused is not None])
    return Configured(graph, rows(config, model, graph))


def check_statistics(config: QuantConfig, target: Target, statistics: Statistics | None) -> None:
    """ConfigError for statistics that were taken before, of a model whose outputs are to be rounded now."""
    if statistics is not None and output_precision(config, target.rules) != "float32":
        raise ConfigError(
            "model_config.model_output_type: statistics of `qir calibrate` are those of a model with float "
            "outputs; give calibration data in their place, or leave the outputs in float32"
        )


def resolved_rows(
    original: Graph, source: ConfigSource, target: Target, base: Sequence[Pass]
) -> tuple[Row, ...]:
    """The resolved table without calibration data, before anything is measured."""
    context = Context(rules=target.rules)
    graph, config, model = prepare(original, source, target, base, context)
    inserts = [item for item in quantizing_passes(config, model, base) if isinstance(item, InsertQuant)]
    PassManager(inserts).run(graph, context)
    return rows(config, model, graph)


def _note_reasons(config: QuantConfig, model: Model, context: Context) -> None:
    """Say which layers do not get what a wider level of the configuration asks, and why."""
    found = [(name, reason) for name, grant in grants(config, model).items() for reason in grant.reasons]
    for name, reason in found:
        context.rewrites.refused("config", name, reason)
    _warn(found)


def _warn(found: Sequence[tuple[str, str]]) -> None:
    if found:
        first = "; ".join(f"'{name}': {reason}" for name, reason in found[:3])
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        _log.warning("not every layer has what the configuration asks: %s%s", first, more)


def configured_pipeline(
    original: Graph, source: ConfigSource, target: Target, base: Sequence[Pass]
) -> tuple[Pass, ...]:
    """The passes that a configuration means for a float model, all of them."""
    _, config, model = prepare(original, source, target, base, Context(rules=target.rules))
    return (*preparing_passes(config, base), *quantizing_passes(config, model, base))


def prepare(
    original: Graph, source: ConfigSource, target: Target, base: Sequence[Pass], context: Context
) -> tuple[Graph, QuantConfig, Model]:
    """A copy of the graph after the exact passes, the configuration, and what it can speak of."""
    nodes, exact = outline(original), exact_passes(base)
    graph = original.clone()
    PassManager(exact).run(graph, context)
    model = model_of(nodes, graph, target)
    config = open_config(source, model)
    wanted = preparing_passes(config, base)
    if wanted != exact:  # it fuses less than the pipeline does
        graph = original.clone()
        PassManager(wanted).run(graph, context)
        model = model_of(nodes, graph, target)
    return graph, config, model
