"""Evaluators are told the original model before anything is evaluated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from chain import Counting, chain, samples

import qir
from qir.search.errors import EvaluatorError


def test_similarity_has_something_to_compare_with(tmp_path: Path) -> None:
    """Also when a search goes on, and all metrics but one come from the journal."""
    file, model = tmp_path / "s.npz", tmp_path / "m.onnx"
    qir.save(chain(), model)
    np.savez(file, **samples())
    for _ in range(2):
        result = qir.auto_quantize(model, samples(), f"cosine:{file}", output=tmp_path / "c", at_least=0.9)
        assert result.reached


class Broken(Counting):
    def prepare(self, model_file: str) -> None:
        raise OSError("no disk")


def test_an_evaluator_that_cannot_prepare(tmp_path: Path) -> None:
    with pytest.raises(EvaluatorError, match="prepare of the evaluator raised OSError: no disk"):
        qir.auto_quantize(chain(), samples(), Broken(set()), output=tmp_path / "c")
