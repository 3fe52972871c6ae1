"""Metrics of models: from the journal where it knows them, else from the user's evaluator, within limits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from qir.search.configurations import Configuration, lowered
from qir.search.errors import EvaluatorError
from qir.search.evaluators.base import Evaluator
from qir.search.evaluators.checked import measured
from qir.search.evaluators.kept import Kept
from qir.search.fingerprints import Fingerprints, Part
from qir.search.journal import Journal
from qir.search.stored_metrics import Unknown, decode_metric, encode_metric

ORIGINAL_KEY: tuple[Part, ...] = ("weights", "graph", "evaluator")
MODEL_KEY: tuple[Part, ...] = ("weights", "graph", "config", "data", "evaluator")
_log = logging.getLogger(__name__)


class LimitReached(Exception):  # a way out of the loop of proposals, not an error
    """No more evaluations, or no more time."""


@dataclass(frozen=True)
class Limits:
    """`evaluations` counts all models that were evaluated, those of earlier runs too; `seconds` this run."""

    evaluations: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Measurement:
    """A metric, the evaluator's seconds, and where it is from."""

    metric: object
    seconds: float
    from_journal: bool


@dataclass
class Evaluations:
    """Asks the evaluator, and notes every answer before anything else happens."""

    evaluator: Evaluator
    journal: Journal
    inputs: Fingerprints
    limits: Limits
    started: float
    trusted: Set[str]
    asked: int = 0
    journalled: int = 0
    seconds: float = 0.0
    _known: dict[str, Measurement] = field(default_factory=dict)
    _kept: Kept | None = None
    _kept_before: Sequence[str] = ()
    """What the evaluator had kept after each evaluation of the runs that this one goes on from."""
    _has_warned: bool = False

    def original(self, model: Path) -> Measurement:
        """The metric of the original model; it comes first, once the evaluator was told the model.

        It is asked for again where it was all that an earlier run has come to, and left its mark.
        """
        self._kept = Kept(self.evaluator)
        self._kept_before = self.journal.kept(self.inputs.evaluator)
        found = self._metric(None, lambda: model, "the original model")
        if not found.from_journal:
            self._kept_before = ()
        return found

    def configured(self, configuration: Configuration, write: Callable[[], Path]) -> Measurement:
        """The metric of a configuration; `write` writes its fake-quant model where that is needed."""
        count = len(configuration)
        what = f"the model with {count} layers rolled back" if count else "the quantized model"
        return self._metric(configuration, write, what)

    def _metric(
        self, configuration: Configuration | None, write: Callable[[], Path], what: str
    ) -> Measurement:
        names = None if configuration is None else lowered(configuration)
        if repr(names) in self._known:
            return self._known[repr(names)]
        key = self.inputs.key(ORIGINAL_KEY if configuration is None else MODEL_KEY)
        metric = self._remembered(key, names)
        is_marked = configuration is None and len(self._kept_before) == 1 and any(self._kept_before)
        if not isinstance(metric, Unknown) and not is_marked:
            self.journalled += 1
            found = Measurement(metric, 0.0, from_journal=True)
        else:
            if configuration is not None:
                self._check_limits()
            found = self._ask(write(), what)
            kept = "" if self._kept is None else self._checked(self._kept, configuration is None)
            stored = encode_metric(found.metric)
            self._warn_of_lost(found.metric, stored)
            self.journal.append({
                "kind": "metric", "key": key, "lowered": names, "metric": stored,
                "seconds": round(found.seconds, 3), "kept": [self.inputs.evaluator, kept],
            })  # fmt: skip
        self._known[repr(names)] = Measurement(found.metric, 0.0, from_journal=True)
        return found

    def _checked(self, kept: Kept, is_original: bool) -> str:
        """What the evaluator has kept by now.

        EvaluatorError when that was the same after all evaluations of earlier runs, and is another thing now:
        then it has kept it of the first model, which in this run was not the original one.
        """
        found, before = kept.digest(), set(self._kept_before)
        if not is_original and len(before) == 1 and any(before) and found not in before:
            raise EvaluatorError(
                f"the evaluator has kept {kept.title()} of the first model that it was given, which was not "
                "the original one, because this search goes on from its journal: its metrics cannot be "
                "compared. Begin anew with restart (--restart), or let it keep what it needs in "
                "prepare(model_file)"
            )
        return found

    def _warn_of_lost(self, metric: object, stored: Mapping[str, object]) -> None:
        """Say it once when metrics cannot be read back from the journal; without trust nobody reads it."""
        if self._has_warned or not self.trusted:
            return
        if isinstance(decode_metric(stored, self.trusted), Unknown):
            self._has_warned = True
            _log.warning(
                "metrics of type %s cannot be kept in the journal: a search that is interrupted evaluates "
                "again; let evaluate return numbers, or an object of a class of the evaluator's own file",
                type(metric).__name__,
            )

    def _remembered(self, key: str, names: dict[str, list[str]] | None) -> object:
        """The metric that the journal has, or Unknown."""
        line = self.journal.metric(key, names)
        stored = None if line is None else line.get("metric")
        return decode_metric(stored, self.trusted) if isinstance(stored, dict) else Unknown("")

    def within_limit(self, wanted: int | None) -> int | None:
        """Of so many more evaluations those that the limit allows; None stands for an unknown number."""
        if self.limits.evaluations is None or wanted is None:
            return wanted
        return min(wanted, max(self.limits.evaluations - self.asked - self.journalled, 0))

    def _check_limits(self) -> None:
        done = self.asked + self.journalled
        if self.limits.evaluations is not None and done >= self.limits.evaluations:
            raise LimitReached(f"the limit of {self.limits.evaluations} evaluations was reached")
        spent = time.perf_counter() - self.started
        if self.limits.seconds is not None and spent >= self.limits.seconds:
            raise LimitReached(f"the limit of {self.limits.seconds:g} seconds was reached")

    def _ask(self, model: Path, what: str) -> Measurement:
        self.asked += 1
        start = time.perf_counter()
        try:
            metric = measured(self.evaluator, str(model), what)
        finally:
            seconds = time.perf_counter() - start
            self.seconds += seconds
        return Measurement(metric, seconds, from_journal=False)
