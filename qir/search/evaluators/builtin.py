"""Evaluators over a labelled `.npz`: top-1, top-5, and how near the outputs are to the float model's.

The file has an array for each input of the model, whose first axis counts samples, and for top-k an integer
array `labels` (or `y`), one per sample. Samples are run one by one.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from qir.ir.errors import ConfigError
from qir.ir.graph import Graph
from qir.models import load
from qir.runtime.columns import zip_names
from qir.runtime.compare import compare_outputs
from qir.runtime.data import open_data
from qir.runtime.session import Feeds, Session
from qir.search.errors import EvaluatorError
from qir.search.evaluators.base import Evaluator
from qir.search.evaluators.source import file_digest

LABELS = ("labels", "y")
_FIRST = "the first output"


class TopK(Evaluator):
    """The share of samples whose label is among the `k` largest scores of the first output [N, classes]."""

    def __init__(self, file: str | Path, k: int = 1) -> None:
        self._file, self._k = _existing(file), k
        self._labels = _labels(self._file)

    def evaluate(self, model_file: str) -> float:
        """The accuracy, from 0 to 1."""
        graph = load(model_file)
        session, hits, count = Session(graph), 0, 0
        for feeds in _samples(self._file, graph, session):
            scores = np.asarray(session.run(feeds)[session.outputs[0]]).reshape(-1)
            if count == len(self._labels):
                raise EvaluatorError(f"'{self._file}' has more samples than its {count} labels")
            if np.isnan(scores).any():
                raise EvaluatorError(f"{_FIRST} is NaN for sample {count} of '{self._file}'")
            hits += self._is_hit(scores, int(self._labels[count]))
            count += 1
        if count != len(self._labels):
            raise EvaluatorError(f"'{self._file}' has {len(self._labels)} labels for {count} samples")
        return hits / count

    def _is_hit(self, scores: npt.NDArray[np.generic], label: int) -> bool:
        if not 0 <= label < scores.size:
            raise EvaluatorError(f"'{self._file}' has label {label}; {_FIRST} has {scores.size} classes")
        best = np.argsort(-scores.astype(np.float64), kind="stable")[: self._k]
        return label in best.tolist()

    def fingerprint(self) -> str:
        """Of the file and k."""
        return f"top{self._k}-{file_digest(self._file)}"


class Similarity(Evaluator):
    """How near the outputs are to the original model's: `cosine`, or `sqnr` in dB; that of the worst output.

    The original itself has cosine 1 and an infinite SQNR.
    """

    def __init__(self, file: str | Path, measure: str) -> None:
        self._file, self._measure = _existing(file), measure
        self._original: str | None = None

    def prepare(self, model_file: str) -> None:
        """Remember what to compare with."""
        self._original = model_file

    def check_drop(self) -> None:
        """ConfigError for SQNR: nothing can be lost of what is infinite."""
        if self._measure == "sqnr":
            raise ConfigError(
                "the SQNR of the original model is infinite, so that no max_drop of it can be kept: say by "
                "at_least (--at-least) how many dB are enough"
            )

    def evaluate(self, model_file: str) -> float:
        """Cosine or SQNR of the output that is worst."""
        if self._original is None:
            raise EvaluatorError(
                "prepare must be called with the original model before anything is evaluated"
            )
        graph = load(self._original)
        data = open_data(self._file, graph)
        found = compare_outputs(Session(graph), Session(load(model_file)), data, limit=None)
        reshaped = next((item.name for item in found if item.other_shape), None)
        if reshaped is not None:
            raise EvaluatorError(
                f"output '{reshaped}' has another shape than the original model's for some samples of "
                f"'{self._file}' (as the number of detections may change), so that no {self._measure} can be "
                "computed: cut the model before it, or give an evaluator of your own (FILE.py[:NAME])"
            )
        return min(item.cosine if self._measure == "cosine" else item.sqnr for item in found)

    def fingerprint(self) -> str:
        """Of the file and the measure."""
        return f"{self._measure}-{file_digest(self._file)}"


BUILT_IN: Mapping[str, Callable[[str], Evaluator]] = MappingProxyType(
    {
        "top1": lambda file: TopK(file, 1),
        "top5": lambda file: TopK(file, 5),
        "cosine": lambda file: Similarity(file, "cosine"),
        "sqnr": lambda file: Similarity(file, "sqnr"),
    }
)
"""Name -> evaluator over the `.npz` of that path."""


def _existing(file: str | Path) -> Path:
    path = Path(file)
    if path.suffix != ".npz" or not path.is_file():
        raise ConfigError(f"'{path}' is no .npz file; give arrays by input name, and labels for top-k")
    return path


def _labels(path: Path) -> npt.NDArray[np.int64]:
    name = next((name for name in LABELS if name in zip_names(path)), None)
    if name is None:
        raise ConfigError(f"'{path}' has no array called {' or '.join(LABELS)}")
    try:
        with np.load(path) as arrays:
            labels = arrays[name]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ConfigError(f"array '{name}' of '{path}' cannot be read: {error}") from error
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ConfigError(
            f"'{name}' of '{path}' must be integers, one per sample, not {labels.dtype}{labels.shape}"
        )
    found: npt.NDArray[np.int64] = labels.astype(np.int64)
    return found


def _samples(path: Path, graph: Graph, session: Session) -> Iterator[Feeds]:
    return (unit.feeds for unit in open_data(path, graph).units(session.run))
