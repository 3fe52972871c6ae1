"""What a strategy is: it proposes which layers to roll back, by AMCT's contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TypeAlias, TypedDict

Flags: TypeAlias = dict[str, bool]
"""Layer -> True when it stays quantized, False when it is rolled back; AMCT's `roll_back_config`."""
MetricEval: TypeAlias = tuple[bool, float]
"""What `metric_eval` of an evaluator says of a model: whether it satisfies, and what it loses."""


class Proposal(TypedDict):
    """What to evaluate next; with `stop_flag` it is the last one, and the strategy's result."""

    stop_flag: bool
    roll_back_config: Flags


class Strategy(ABC):
    """Proposes configurations from the ranking of the layers and the answers to its proposals.

    The search calls `initialize` once, and then `update_quant_config` with the answer to the model in which
    all layers are quantized, to the first proposal, to the second, and so on, until a proposal says stop.
    Proposals must depend on the ranking and on the answers alone: then a search that was interrupted repeats
    them, and takes the answers from its journal.
    """

    @abstractmethod
    def initialize(self, ranking_info: Mapping[str, float]) -> None:
        """Start anew. `ranking_info` is layer -> score; layers of low scores are the most sensitive ones."""

    @abstractmethod
    def update_quant_config(self, metric_eval: MetricEval) -> Proposal:
        """The next proposal, after the answer to the last one."""

    def evaluations_left(self) -> int | None:
        """How many proposals will follow the last one, about; None when that is not known."""
        return None

    def note(self) -> str:
        """What users should know of the result once there is one, such as what was not tried; or nothing."""
        return ""


def worst_first(ranking_info: Mapping[str, float]) -> list[str]:
    """The layers by ascending score; those of equal scores stay in their order."""
    return sorted(ranking_info, key=lambda layer: ranking_info[layer])


def rolled_back(layers: Iterable[str], floats: Iterable[str]) -> Flags:
    """The flags of all `layers` when `floats` are rolled back."""
    chosen = set(floats)
    return {layer: layer not in chosen for layer in layers}
