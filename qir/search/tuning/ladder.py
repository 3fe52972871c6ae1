"""The ladder of precisions that layers are raised along, and what each rung is for a layer on a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from qir.config.grants import Grant, grants
from qir.config.layers import Model
from qir.config.levels.convert import levels_config
from qir.config.levels.file import Levels, NodeLevel
from qir.config.levels.reader import TWOFOLD_OPS
from qir.config.settings import Precision
from qir.search.configurations import Configuration
from qir.search.rungs import RUNGS, Rung

BASE = "int8"
"""What layers are raised from."""
FLOAT: Rung = "float32"
"""The last rung: layers that are not quantized."""


@dataclass(frozen=True)
class Ladder:
    """Which of the `rungs` are a step up for a layer: what the target grants there differs from below."""

    rungs: tuple[Rung, ...]
    steps: Mapping[str, tuple[Rung, ...]]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers, in running order."""
        return tuple(self.steps)

    @property
    def available(self) -> tuple[Rung, ...]:
        """The rungs that are a step up for some layer."""
        return tuple(rung for rung in self.rungs if any(rung in found for found in self.steps.values()))

    def highest(self, layer: str, rung: str) -> str:
        """What a layer becomes that is raised to a rung: its highest step up to there, else INT8."""
        return next((s for s in reversed(self.steps[layer]) if height(s) <= height(rung)), BASE)

    def raised(self, layers: Iterable[str], rung: str) -> dict[str, str]:
        """The configuration of layers that are raised to a rung, without those that stay in INT8."""
        found = {name: self.highest(name, rung) for name in layers}
        return {name: step for name, step in found.items() if step != BASE}


def cost(configuration: Configuration) -> int:
    """How many rungs the layers of a configuration were raised, in sum."""
    return sum(height(rung) for rung in configuration.values())


def height(rung: str) -> int:
    """How many rungs above INT8 one is; 0 for INT8 itself."""
    return (BASE, *RUNGS).index(rung)


def is_within(low: Configuration, high: Configuration) -> bool:
    """Whether no layer of the one is on a higher rung than in the other."""
    return all(height(rung) <= height(high.get(name, BASE)) for name, rung in low.items())


def ladder_of(layers: Sequence[str], rungs: Sequence[Rung], start: Levels, model: Model) -> Ladder:
    """The ladder of some layers of a model, by the table of what its target grants.

    What leaves a layer as it is, such as float16 in a model that is in float16, is the last rung.
    """
    below = _table({}, start, model)
    steps: dict[str, list[Rung]] = {name: [] for name in layers}
    for rung in rungs:
        table = _table(dict.fromkeys(layers, rung), start, model)
        for name in layers:
            if _is_other(table[name], below[name]) and (table[name].enabled or rung == FLOAT):
                steps[name].append(rung)
                below[name] = table[name]
    return Ladder(tuple(rungs), {name: tuple(found) for name, found in steps.items()})


def with_nodes(configuration: Configuration, start: Levels, model: Model) -> Levels:
    """`start` with the layers of a configuration in `node_config`; what `start` says of nodes stays."""
    raised = {name: NodeLevel(_qtype(model.names[name], rung)) for name, rung in configuration.items()}
    return Levels(start.model, start.ops, start.subgraphs, {**raised, **start.nodes})


def _qtype(op: str, rung: str) -> Precision:
    """The qtype of a node: error compensation is for some ops, int16 the same rung for others."""
    return cast(Precision, "int16" if rung == "int16-ec" and op not in TWOFOLD_OPS else rung)


def _table(configuration: Configuration, start: Levels, model: Model) -> dict[str, Grant]:
    return grants(levels_config(with_nodes(configuration, start, model), model), model)


def _is_other(above: Grant, below: Grant) -> bool:
    return (above.enabled, above.form) != (below.enabled, below.form)
