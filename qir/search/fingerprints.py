"""What a result depends on, as short digests: change one of them, and the results no longer count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np

from qir.runtime.session import Feeds
from qir.runtime.statistics_file import Statistics
from qir.runtime.units import CalibrationData, Run

Part: TypeAlias = Literal["weights", "graph", "config", "data", "evaluator", "sensitivity"]


@dataclass(frozen=True)
class Fingerprints:
    """Digests (16 hexadecimal digits, or a short text) of the inputs of a search."""

    weights: str
    graph: str
    config: str
    data: str
    evaluator: str
    sensitivity: str

    def key(self, parts: Iterable[Part]) -> str:
        """One digest over some of them."""
        return text_digest(*(f"{part}={getattr(self, part)}" for part in parts))

    def to_dict(self) -> dict[str, str]:
        """Name -> digest."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def changed(self, old: Mapping[str, object]) -> list[str]:
        """The names of those that differ from `old`."""
        return [name for name, value in self.to_dict().items() if old.get(name) != value]


def text_digest(*texts: str) -> str:
    """16 hexadecimal digits over texts."""
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


def first_and_digest(data: CalibrationData, run: Run, count: int) -> tuple[list[Feeds], str]:
    """The first `count` samples, and the digest of all in their order, whatever file or function they are of.

    Reads the data once.
    """
    first: list[Feeds] = []
    state = hashlib.sha256()  # data are large, and for this one processors have instructions
    for unit in data.units(run):
        if len(first) < count:
            first.append(unit.feeds)
        for name, array in sorted(unit.feeds.items()):
            state.update(f"{name}{array.dtype}{array.shape}".encode())
            if array.dtype.hasobject:
                state.update(repr(array.tolist()).encode())
            else:
                state.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return first, state.hexdigest()[:16]


def statistics_digest(statistics: Statistics | None) -> str:
    """Of calibration statistics that were given; empty when there are none."""
    if statistics is None:
        return ""
    state = hashlib.blake2b(digest_size=8)
    for name, tensor in statistics.items():
        for key, array in tensor.to_arrays().items():
            state.update(f"{name} {key} {array.dtype}{array.shape}".encode())
            state.update(array.tobytes())
    return state.hexdigest()
