"""Metrics of how far a quantized output lies from the float one; users add theirs by subclass."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError, ConfigError, QirError, did_you_mean
from qir.runtime.kernels import differences, flat_floats
from qir.runtime.units import Array

_BINS = 256
"""Bins of the histograms that `KlDivergence` compares."""


@dataclass(frozen=True)
class Sums:
    """What one pass over a (float output) and b (quantized output) adds up, in float64."""

    aa: float
    square: float
    distance: float
    size: float
    largest: float
    count: int


def sums_of(a: Array, b: Array) -> Sums:
    """The sums of two arrays of one shape, in any float type; a fixed order of additions."""
    left, right = flat_floats(a), flat_floats(b)
    out = np.empty(differences.DIFFERENCES, np.float64)
    differences.sum_differences(left, right, out)
    aa, square, distance, size, largest = out.tolist()
    return Sums(aa, square, distance, size, largest, left.size)


class Metric(ABC):
    """A number for two outputs. `low_is_worse` says in which direction quantization hurts more."""

    name: ClassVar[str]
    low_is_worse: ClassVar[bool] = True

    @abstractmethod
    def compare(self, data: Array, other: Array) -> float:
        """How far `other` (the quantized output, in the shape of `data`) lies from `data` (the float one)."""

    def is_better(self, score: float, other: float) -> bool:
        """Whether a score is better than another."""
        return score > other if self.low_is_worse else score < other

    def worst(self, scores: Sequence[float]) -> float:
        """The worst of some scores; that of equal outputs when there are none."""
        if not scores:
            return self.compare(np.ones(1, np.float32), np.ones(1, np.float32))
        return min(scores) if self.low_is_worse else max(scores)


def score_of(metric: Metric, data: Array, other: Array) -> float:
    """What a metric says of two outputs; CalibrationError when a user's raises, or gives no number."""
    try:
        return float(metric.compare(data, other))
    except QirError:
        raise
    except Exception as error:
        raise CalibrationError(
            f"compare of metric {type(metric).__name__} must return a number, for arrays of shape "
            f"{list(data.shape)} it raised {type(error).__name__}: {error}"
        ) from error


class SumsMetric(Metric):
    """A metric that the sums of one pass are enough for."""

    def compare(self, data: Array, other: Array) -> float:
        """The metric of both arrays."""
        return self.of_sums(sums_of(data, other))

    @abstractmethod
    def of_sums(self, sums: Sums) -> float:
        """The metric from sums."""


class CosineSimilarity(Metric):
    """Cosine of the angle between both as vectors: 1 for the same direction; 1 when the float one is zero."""

    name: ClassVar[str] = "cosine-similarity"

    def compare(self, data: Array, other: Array) -> float:
        """Σab / (|a| |b|)."""
        out = np.empty(differences.PRODUCTS, np.float64)
        differences.sum_products(flat_floats(data), flat_floats(other), out)
        return self.of_products(*out.tolist())

    def of_products(self, aa: float, bb: float, ab: float) -> float:
        """The same from Σa², Σb² and Σab."""
        if aa == 0:
            return 1.0
        return ab / (math.sqrt(aa) * math.sqrt(bb)) if bb else 0.0


class Sqnr(SumsMetric):
    """Signal to quantization noise in dB, 10 log10(Σa² / Σ(a - b)²); infinite for equal outputs."""

    name: ClassVar[str] = "sqnr"

    def of_sums(self, sums: Sums) -> float:
        """The ratio in dB."""
        if sums.square == 0:
            return math.inf
        ratio = sums.aa / sums.square
        return 10 * math.log10(ratio) if ratio else -math.inf


class MeanSquaredError(SumsMetric):
    """Mean of (a - b)²."""

    name: ClassVar[str] = "mse"
    low_is_worse: ClassVar[bool] = False

    def of_sums(self, sums: Sums) -> float:
        """The mean; 0 for empty outputs."""
        return sums.square / max(sums.count, 1)


class MeanAbsoluteError(SumsMetric):
    """Mean of |a - b|."""

    name: ClassVar[str] = "mae"
    low_is_worse: ClassVar[bool] = False

    def of_sums(self, sums: Sums) -> float:
        """The mean; 0 for empty outputs."""
        return sums.distance / max(sums.count, 1)


class MeanRelativeError(SumsMetric):
    """Σ|a - b| / Σ|a|: the mean error as a part of the mean magnitude, so that zeros do no harm."""

    name: ClassVar[str] = "mre"
    low_is_worse: ClassVar[bool] = False

    def of_sums(self, sums: Sums) -> float:
        """The ratio; infinite when only the float output is zero."""
        if sums.distance == 0:
            return 0.0
        return sums.distance / sums.size if sums.size else math.inf


class ChebyshevDistance(SumsMetric):
    """The largest |a - b|."""

    name: ClassVar[str] = "chebyshev"
    low_is_worse: ClassVar[bool] = False

    def of_sums(self, sums: Sums) -> float:
        """The maximum; 0 for empty outputs."""
        return sums.largest


class KlDivergence(Metric):
    """Kullback-Leibler divergence of the distribution of b from that of a, in nats.

    Both are counted in 256 bins over their common range, with one more element in every bin, so that an
    empty one does not make it infinite.
    """

    name: ClassVar[str] = "kl"
    low_is_worse: ClassVar[bool] = False

    def compare(self, data: Array, other: Array) -> float:
        """Σ p log(p / q)."""
        a, b = flat_floats(data), flat_floats(other)
        if a.size == 0:
            return 0.0
        low, high = float(np.minimum(a.min(), b.min())), float(np.maximum(a.max(), b.max()))
        if not (math.isfinite(low) and math.isfinite(high)):
            return math.nan
        if low == high:
            return 0.0
        p, q = _distribution(a, low, high), _distribution(b, low, high)
        return float(np.sum(p * np.log(p / q)))


def _distribution(values: npt.NDArray[np.float32], low: float, high: float) -> npt.NDArray[np.float64]:
    counts = np.histogram(values, _BINS, (low, high))[0] + 1.0
    found: npt.NDArray[np.float64] = counts / counts.sum()
    return found


METRICS: tuple[Metric, ...] = (
    CosineSimilarity(),
    Sqnr(),
    MeanSquaredError(),
    MeanAbsoluteError(),
    MeanRelativeError(),
    ChebyshevDistance(),
    KlDivergence(),
)
"""The metrics that are built in."""


def metric_named(name: str) -> Metric:
    """The built-in measure of that name; ConfigError with the nearest names otherwise."""
    known = {metric.name: metric for metric in METRICS}
    if name not in known:
        raise ConfigError(
            f"there is no metric '{name}'{did_you_mean(name, known)}; known: {', '.join(known)}"
        )
    return known[name]
