"""Mixtures of precisions: every configuration is a `quant_config`, from which `qir quantize` makes the same.

Calibration runs once, for the model with every layer in INT8; a mixture goes through the pipeline from its
first insert-quant on, with the statistics of that run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qir.config.levels.convert import levels_config
from qir.config.levels.file import Levels
from qir.config.lowering import quantizing_passes
from qir.config.settings import QuantConfig
from qir.config.table import Row, rows
from qir.ir.errors import PassError
from qir.ir.graph import Graph
from qir.ir.quants import quantized_layers
from qir.passes.manager import PassManager
from qir.search.configurations import Configuration
from qir.search.inputs import SearchInputs
from qir.search.rungs import Rung
from qir.search.tuning.ladder import Ladder, ladder_of, with_nodes


@dataclass(frozen=True)
class Mixtures:
    """A model whose layers are raised from `closed`, where all are in INT8 but for what `start` pins.

    `quantized` are the layers of that, `ladder` has those that may be raised. PassError when there is none.
    """

    inputs: SearchInputs
    start: Levels
    rungs: tuple[Rung, ...]
    closed: Graph = field(init=False)
    quantized: tuple[str, ...] = field(init=False)
    ladder: Ladder = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "closed", self._made(self.levels({})))
        quantized = tuple(node.name for node in quantized_layers(self.closed))
        object.__setattr__(self, "quantized", quantized)
        layers = [name for name in quantized if name not in _pinned(self.start, self.inputs)]
        if not layers:
            raise PassError(
                "no layer is quantized that could be raised, so there is nothing to tune: see "
                "`qir config --quant-config` for the reasons"
            )
        ladder = ladder_of(layers, self.rungs, self.start, self.inputs.model)
        object.__setattr__(self, "ladder", ladder)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that may be raised."""
        return self.ladder.layers

    def levels(self, configuration: Configuration) -> Levels:
        """The quant_config of a configuration."""
        return with_nodes(configuration, self.start, self.inputs.model)

    def graph(self, configuration: Configuration) -> Graph:
        """The closed graph of a configuration, as `qir quantize` makes it of the quant_config."""
        return self._made(self.levels(configuration)) if configuration else self.closed.clone()

    def rows(self, configuration: Configuration, graph: Graph) -> tuple[Row, ...]:
        """What each operand of a configuration's graph was to have, has, and why where they differ."""
        return rows(self._config(self.levels(configuration)), self.inputs.model, graph)

    def _config(self, levels: Levels) -> QuantConfig:
        return levels_config(levels, self.inputs.model)

    def _made(self, levels: Levels) -> Graph:
        inputs = self.inputs
        graph = inputs.exact.clone()
        passes = quantizing_passes(self._config(levels), inputs.model, inputs.passes)
        PassManager(passes).run(graph, inputs.context)
        return graph


def _pinned(start: Levels, inputs: SearchInputs) -> Sequence[str]:
    """The layers of which the user's own levels say something: they stay as they are."""
    config = levels_config(start, inputs.model)
    types = {name for name, layer in inputs.model.layers.items() if set(layer.types) & set(config.types)}
    return [*config.layers, *types]
