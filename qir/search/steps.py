"""What a search tells while it runs, and what it gives at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from qir.backends.ascend.check import Finding
from qir.backends.files import Paths
from qir.backends.proof_result import Proof
from qir.ir.graph import Graph
from qir.report import LayerReport
from qir.search.configurations import Configuration
from qir.search.ranking import Ranking
from qir.search.strategies.base import MetricEval

Outcome: TypeAlias = Literal["reached", "unreachable", "stopped"]
"""`stopped`: a limit came before any model satisfied."""


@dataclass(frozen=True)
class Step:
    """One model that was evaluated, or whose metric the journal knows.

    `configuration` is None for the original model and empty when all `total` layers are quantized. `seconds`
    are those that the evaluator took, when it did. `evaluations_left` is an estimate, None when unknown.
    """

    number: int
    configuration: Configuration | None
    total: int
    metric: object
    metric_eval: MetricEval
    seconds: float
    from_journal: bool
    evaluations_left: int | None = None

    @property
    def floats(self) -> int:
        """How many layers were rolled back."""
        return 0 if self.configuration is None else len(self.configuration)


Listener: TypeAlias = Callable[[Step], None]


@dataclass(frozen=True)
class SearchResult:
    """The end of a search.

    `best` is the step of the model in the files at `paths`; without model (`graph` and `paths` None), the
    step that came nearest, if there was any. `limited` says that the limit of evaluations or time ended the
    search before its strategy did. `evaluations` counts calls of the evaluator in this run, `journalled`
    the answers that came from the journal. `changed` names the inputs that were others when the journal was
    last used. `seconds` are those of the whole run, `evaluator_seconds` those of them within the evaluator.
    `note` is what the strategy has to say of its result, such as what its budget did not allow.
    """

    outcome: Outcome
    limited: bool
    best: Step | None
    graph: Graph | None
    paths: Paths | None
    layers: tuple[LayerReport, ...]
    ranking: Ranking
    steps: tuple[Step, ...]
    evaluations: int
    journalled: int
    changed: tuple[str, ...]
    seconds: float
    evaluator_seconds: float
    findings: tuple[Finding, ...] = ()
    proof: Proof | None = None
    note: str = ""

    @property
    def reached(self) -> bool:
        """True when a model with quantized layers satisfies."""
        return self.outcome == "reached"

    @property
    def rungs(self) -> Mapping[str, str]:
        """Layer -> what it is in the place of INT8 in the best model."""
        return {} if self.best is None or self.best.configuration is None else dict(self.best.configuration)
