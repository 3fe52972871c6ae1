"""Runs a pipeline under a configuration: exact passes first, for they show which layers there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from qir.backends.targets import Target
from qir.config.layers import Model, exact_passes, model_of, node_names
from qir.config.lowering import preparing_passes, quantizing_passes
from qir.config.open import ConfigSource, open_config
from qir.config.settings import QuantConfig
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.manager import PassManager
from qir.runtime.enough import AtLeast


def run_configured(
    original: Graph, source: ConfigSource, target: Target, base: Sequence[Pass], context: Context
) -> Graph:
    """The quantized graph of a float model, which is left as it is.

    `base` is the pipeline that the configuration refines. ConfigError when they do not fit each other or the
    model, CalibrationError when there are fewer samples than the configuration's batch_num.
    """
    graph, config, model = _prepared(original, source, target, base, context)
    if config.batch_num is not None and context.data is not None:
        context = replace(context, data=AtLeast(context.data, config.batch_num))
    PassManager(quantizing_passes(config, model, base)).run(graph, context)
    return graph


def configured_pipeline(
    original: Graph, source: ConfigSource, target: Target, base: Sequence[Pass]
) -> tuple[Pass, ...]:
    """The passes that a configuration means for a float model, all of them."""
    _, config, model = _prepared(original, source, target, base, Context(rules=target.rules))
    return (*preparing_passes(config, base), *quantizing_passes(config, model, base))


def _prepared(
    original: Graph, source: ConfigSource, target: Target, base: Sequence[Pass], context: Context
) -> tuple[Graph, QuantConfig, Model]:
    """The graph after the exact passes, the configuration, and what it can speak of."""
    names, exact = node_names(original), exact_passes(base)
    graph = original.clone()
    PassManager(exact).run(graph, context)
    model = model_of(names, graph, target)
    config = open_config(source, model)
    wanted = preparing_passes(config, base)
    if wanted != exact:  # it fuses less than the pipeline does
        graph = original.clone()
        PassManager(wanted).run(graph, context)
        model = model_of(names, graph, target)
    return graph, config, model
