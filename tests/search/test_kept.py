"""Evaluators that keep something of the models that they are given, in searches that go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chain import chain, floats, in_order, samples

import qir
from qir.search.errors import EvaluatorError
from qir.search.evaluators import Evaluator, MaxDrop, open_evaluator
from qir.search.evaluators.kept import Kept
from qir.search.steps import SearchResult, Step
from qir.search.strategies import MetricEval

DATA = np.arange(6.0)


class Killed(BaseException):
    """Ends a search as a signal would."""


class Asked(Evaluator):
    """Satisfied by g0 and g1 in float; `look` may keep something of a model that it is given."""

    def __init__(self) -> None:
        self.calls = 0
        self.reference: Any = None
        self.title = "g0 and g1"

    def look(self, quantized: int) -> None:
        """Nothing is kept."""

    def evaluate(self, model_file: str) -> float:
        self.calls += 1
        quantized = 6 - len(floats(model_file))
        self.look(quantized)
        return float(quantized)

    def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
        assert isinstance(new_metric, float)
        return new_metric <= 4, new_metric

    def fingerprint(self) -> str:
        return type(self).__name__


class Comparing(Asked):
    """Compares with the first model it was given."""

    def look(self, quantized: int) -> None:
        if self.reference is None:
            self.reference = {"outputs": [np.full(3, quantized, np.float32)]}


class Loading(Asked):
    """Reads its data when it first needs them."""

    def look(self, quantized: int) -> None:
        if self.reference is None:
            self.reference = DATA.copy()


class Remembering(Asked):
    """Keeps what it has seen last."""

    def look(self, quantized: int) -> None:
        self.reference = (*(self.reference or ()), float(quantized))


class Told(Comparing):
    def prepare(self, model_file: str) -> None:
        self.look(0)


def search(folder: Path, evaluator: Evaluator, stop: int = 99, **options: Any) -> SearchResult:
    def listener(step: Step) -> None:
        if step.number == stop:
            raise Killed

    return qir.auto_quantize(
        chain(), samples(), evaluator, output=folder / "c", sensitivity=in_order, listener=listener, **options
    )


@pytest.mark.parametrize("kind", [Asked, Loading, Remembering, Told])
def test_nothing_is_asked_twice(kind: type[Asked], tmp_path: Path) -> None:
    whole = kind()
    search(tmp_path / "whole", whole)
    first, second = kind(), kind()
    with pytest.raises(Killed):
        search(tmp_path, first, stop=3)
    assert search(tmp_path, second).reached
    assert first.calls + second.calls == whole.calls


def test_metrics_that_compare_with_another_model_are_no_answers(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        search(tmp_path, Comparing(), stop=3)
    journal = (tmp_path / "c_journal.jsonl").read_bytes()
    with pytest.raises(EvaluatorError, match="has kept 'reference' of the first model"):
        search(tmp_path, Comparing())
    assert (tmp_path / "c_journal.jsonl").read_bytes() == journal
    assert search(tmp_path, Comparing(), restart=True).reached


def test_the_original_is_asked_for_again_where_it_is_all_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        search(tmp_path, Comparing(), stop=1)
    again = Comparing()
    assert search(tmp_path, again).reached
    assert again.reference["outputs"][0].tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(Killed):
        search(tmp_path / "other", Asked(), stop=1)
    once = Asked()
    assert search(tmp_path / "other", once).journalled == 1


@pytest.mark.parametrize(("metric", "said"), [(object, 1), (lambda: 0.5, 0), (lambda: np.ones(2), 0)])
def test_metrics_that_no_journal_keeps_are_said(
    metric: Any, said: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Some(Asked):
        def evaluate(self, model_file: str) -> Any:
            return metric()

        def metric_eval(self, original_metric: object, new_metric: object) -> MetricEval:
            return True, 0.0

    search(tmp_path, Some())
    assert caplog.text.count("cannot be kept in the journal") == said


def test_what_counts_as_kept() -> None:
    evaluator = Asked()
    kept = Kept(open_evaluator(evaluator, None))
    assert kept.digest() == ""
    evaluator.calls = 7
    evaluator.reference = ["a/model.onnx", 3, None, np.arange(3)]
    assert kept.digest() == ""
    evaluator.reference = {"scores": (0.5,)}
    assert kept.digest()
    assert kept.title() == "'reference'"
    of_method = Kept(open_evaluator(evaluator.evaluate, MaxDrop(1.0)))
    evaluator.reference = 0.25
    assert of_method.title() == "'reference'"
