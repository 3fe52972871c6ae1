"""One search, step by step, as AMCT's driver goes (specification A.7), without its repetitions.

The original model is evaluated and must satisfy; then the completely quantized one; the layers are ranked in
any case; and if the quantized model fails, a strategy proposes which layers to roll back, once for each rung
of the fallback ladder until one satisfies. The best model that satisfies is on the disk at any moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from qir.ir.graph import Graph
from qir.search.amct_files import HISTORY_FILE, HistoryEntry, print_history, write_text
from qir.search.configurations import (
    Configuration,
    Prepared,
    Rung,
    configured_graph,
    lowered,
    takes_int16,
)
from qir.search.evaluations import MODEL_KEY, Evaluations
from qir.search.evaluators.checked import check_original, judged
from qir.search.loop import fine_search
from qir.search.published import Place
from qir.search.ranking import Ranking
from qir.search.steps import Listener, Step
from qir.search.strategies.base import Flags, MetricEval, Strategy


@dataclass
class Search:
    """The state of a search: what was evaluated, and which of it is best."""

    evaluations: Evaluations
    place: Place
    strategy: Strategy
    log_folder: Path
    listener: Listener
    steps: list[Step] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)
    best: Step | None = None
    _original: object = None
    _published: dict[str, list[str]] | None = None
    """What the journal says of the files in place."""
    _written: dict[str, list[str]] | None = None
    """What this very search has put there."""

    def check_original(self, model: Path) -> MetricEval:
        """Evaluate the original model; AccuracyRuleError unless it satisfies itself."""
        found = self.evaluations.original(model)
        self._original = found.metric
        answer = check_original(self.evaluations.evaluator, found.metric)
        self._tell(Step(1, None, 0, found.metric, answer, found.seconds, found.from_journal))
        return answer

    def evaluate(self, prepared: Prepared, configuration: Configuration, order: Flags) -> MetricEval:
        """Evaluate a configuration, write down the answer, and keep the model if it is the best so far.

        `order` has its flags in the order in which the history lists them.
        """
        number = len(self.steps) + 1
        made: list[tuple[Graph, Path]] = []

        def write() -> Path:
            self.keep_best(prepared)
            graph = configured_graph(prepared, configuration)
            made.append((graph, self.place.write_candidate(graph, number)))
            return made[0][1]

        found = self.evaluations.configured(configuration, write)
        answer = judged(self.evaluations.evaluator, self._original, found.metric)
        left = self.strategy.evaluations_left() if configuration else None
        total = len(prepared.layers)
        step = Step(
            number, configuration, total, found.metric, answer, found.seconds, found.from_journal, left
        )
        self._note(order, answer)
        if answer[0] and (self.best is None or step.floats < self.best.floats):
            self.best = step
            for graph, candidate in made:
                self.place.publish_candidate(graph, candidate)
                self._note_published(configuration)
        self.place.remove_candidates()
        self._tell(step)
        return answer

    def fine(
        self, prepared: Prepared, ranking: Ranking, first: MetricEval, rung: Rung
    ) -> Configuration | None:
        """What the strategy comes to when layers are rolled back to `rung`; None when nothing satisfies."""
        wide = takes_int16(prepared) if rung == "int16" else frozenset()
        if rung == "int16" and not wide:
            return None

        def configuration(flags: Flags) -> Configuration:
            back = [name for name, quantized in flags.items() if not quantized]
            return {name: "float32" if rung == "int16" and name not in wide else rung for name in back}

        def evaluate(flags: Flags) -> MetricEval:
            return self.evaluate(prepared, configuration(flags), flags)

        found = fine_search(self.strategy, ranking.information, first, evaluate, floats_end=not wide)
        return None if found is None else configuration(found)

    def all_rolled_back(self, ranking: Ranking, original: MetricEval) -> None:
        """Note, as AMCT does, that the search ended with every layer in float."""
        self._note(dict.fromkeys(ranking.worst_first, False), original)

    def step_of(self, configuration: Configuration) -> Step | None:
        """The first step in which a configuration was evaluated."""
        return next((step for step in self.steps if step.configuration == configuration), None)

    def nearest(self) -> Step | None:
        """The step with quantized layers that lost least, satisfying or not."""
        tried = [step for step in self.steps if step.configuration is not None]
        return min(tried, key=lambda step: (not step.metric_eval[0], step.metric_eval[1]), default=None)

    def begin(self) -> None:
        """Learn from the journal which model is in place."""
        line = self.evaluations.journal.best(self._key)
        names = None if line is None else line.get("lowered")
        whole = all(path.exists() for path in self.place.paths)
        self._published = names if isinstance(names, dict) and whole else None

    def keep_best(self, prepared: Prepared) -> None:
        """See to it that the files of the best model are in place."""
        if self.best is None or self.best.configuration is None:
            return
        if lowered(self.best.configuration) != self._published:
            self.publish(self.best.configuration, configured_graph(prepared, self.best.configuration))

    def publish(self, configuration: Configuration, graph: Graph) -> None:
        """Put the files of a model in place, unless this search has done so last, and write that down."""
        if self._written != lowered(configuration):
            self.place.publish(graph)
            self._note_published(configuration)

    def _note_published(self, configuration: Configuration) -> None:
        names = lowered(configuration)
        if self._published != names:
            self.evaluations.journal.append({"kind": "best", "key": self._key, "lowered": names})
        self._published = self._written = names

    @property
    def _key(self) -> str:
        return self.evaluations.inputs.key(MODEL_KEY)

    def _note(self, flags: Flags, answer: MetricEval) -> None:
        self.history.append(HistoryEntry(dict(flags), answer))
        write_text(self.log_folder / HISTORY_FILE, print_history(self.history))

    def _tell(self, step: Step) -> None:
        self.steps.append(step)
        self.listener(step)


def silent(step: Step) -> None:
    """A listener that says nothing."""
