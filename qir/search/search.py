"""What a search has found so far: it evaluates models, and keeps the files of the best one in place.

Nothing here decides which configuration comes next, or what its rungs are; who drives the search does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qir.ir.garbage import collector_paused
from qir.ir.graph import Graph
from qir.search.amct_files import HISTORY_FILE, HistoryEntry, print_history, write_text
from qir.search.configurations import Candidates, Configuration, lowered
from qir.search.evaluations import MODEL_KEY, Evaluations
from qir.search.evaluators.checked import check_original, judged, prepare
from qir.search.published import Place
from qir.search.steps import Listener, Step
from qir.search.strategies.base import Flags, MetricEval


@dataclass
class Search:
    """The state of a search: what was evaluated, and which of it is best.

    `log_folder` gets AMCT's history (None: there is none). `changed` names the inputs that were others when
    the journal was last used. Of the models that satisfy, the one whose configuration has the least `cost`
    is best: the number of layers rolled back, unless other rungs are worth another price.
    """

    evaluations: Evaluations
    place: Place
    log_folder: Path | None
    listener: Listener
    changed: tuple[str, ...] = ()
    cost: Callable[[Configuration], float] = len
    steps: list[Step] = field(default_factory=list)
    history: list[HistoryEntry] = field(default_factory=list)
    best: Step | None = None
    _printed: str = ""
    """The history as text."""
    _original: object = None
    _published: dict[str, list[str]] | None = None
    """What the journal says of the files in place."""
    _written: dict[str, list[str]] | None = None
    """What this very search has put there."""

    def check_original(self, model: Path) -> MetricEval:
        """Evaluate the original model; AccuracyRuleError unless it satisfies itself."""
        prepare(self.evaluations.evaluator, str(model))
        found = self.evaluations.original(model)
        self._original = found.metric
        answer = check_original(self.evaluations.evaluator, found.metric)
        self._tell(Step(1, None, 0, found.metric, answer, found.seconds, found.from_journal))
        return answer

    def evaluate(
        self,
        candidates: Candidates,
        configuration: Configuration,
        order: Flags,
        left: Callable[[], int | None] = lambda: None,
    ) -> MetricEval:
        """Evaluate a configuration, write down the answer, and keep the model if it is the best so far.

        `order` has its flags in the order in which the history lists them; `left` estimates how many
        evaluations will follow, once the answer is there.
        """
        number = len(self.steps) + 1
        written: list[Path] = []

        def write() -> Path:
            self.keep_best(candidates)
            with collector_paused():
                written.append(self.place.write_candidate(candidates.graph(configuration), number))
            return written[0]

        found = self.evaluations.configured(configuration, write)
        answer = judged(self.evaluations.evaluator, self._original, found.metric)
        total = len(candidates.layers)
        step = Step(
            number, configuration, total, found.metric, answer, found.seconds, found.from_journal, left()
        )
        self._note(order, answer)
        if answer[0] and self._is_best(configuration):
            self.best = step
            for candidate in written:
                self.place.publish_candidate(candidates.graph(configuration), candidate)
                self._note_published(configuration)
        self.place.remove_candidates()
        self._tell(step)
        return answer

    def all_rolled_back(self, layers: Sequence[str], original: MetricEval) -> None:
        """Note, as AMCT does, that the search ended with every layer in float."""
        self._note(dict.fromkeys(layers, False), original)

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
        whole = all(path.exists() for path in self.place.files)
        self._published = names if isinstance(names, dict) and whole else None

    def keep_best(self, candidates: Candidates) -> None:
        """See to it that the files of the best model are in place."""
        if self.best is None or self.best.configuration is None:
            return
        if lowered(self.best.configuration) != self._published:
            self.publish(self.best.configuration, candidates.graph(self.best.configuration))

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

    def _is_best(self, configuration: Configuration) -> bool:
        best = None if self.best is None else self.best.configuration
        return best is None or self.cost(configuration) < self.cost(best)

    @property
    def _key(self) -> str:
        return self.evaluations.inputs.key(MODEL_KEY)

    def _note(self, flags: Flags, answer: MetricEval) -> None:
        entry = HistoryEntry(dict(flags), answer)
        self.history.append(entry)
        self._printed += print_history([entry])
        if self.log_folder is not None:
            write_text(self.log_folder / HISTORY_FILE, self._printed)

    def _tell(self, step: Step) -> None:
        self.steps.append(step)
        self.listener(step)


def silent(step: Step) -> None:
    """A listener that says nothing."""
