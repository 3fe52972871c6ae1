"""Calibration data as a stream of canonical units: what one run of the model takes.

A unit is the smallest feed that means the same alone as in a batch: one sample wherever data can be cut
along axis 0, otherwise the feed as the user gave it. The units of the same samples are the same however the
user batched them, and with them every bit of the statistics: results of ONNX Runtime differ in the last bit
between batch sizes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Run: TypeAlias = Callable[[Mapping[str, Array]], Mapping[str, Array]]
"""Runs a model on one feed and returns its outputs by name."""


@dataclass(frozen=True)
class Unit:
    """The feed of one run, the `index`-th from 0 on; `where` names it to the user, as in "sample 17"."""

    index: int
    where: str
    feeds: dict[str, Array]


class CalibrationData(ABC):
    """Samples for the inputs of one model; may be read any number of times, always in the same order."""

    @abstractmethod
    def units(self, run: Run) -> Iterator[Unit]:
        """The samples in canonical units, at least one; memory for a few at a time.

        `run` runs the model: it is asked once whether feeds of several samples may be cut into single ones.
        CalibrationError, naming input and sample, for data that do not fit the model, and when there are
        none.
        """

    @property
    @abstractmethod
    def total(self) -> int | None:
        """Number of units; None while it is not known. May become known with the first unit."""


def for_onnxruntime(array: Array) -> Array:
    """The array as ONNX Runtime takes it: native byte order, strings as an object array of str."""
    if array.dtype.kind not in "USO":
        return array.astype(array.dtype.newbyteorder("="), copy=False)
    items = [s.decode() if isinstance(s, bytes) else str(s) for s in array.ravel().tolist()]
    return np.array([*items, None], dtype=object)[:-1].reshape(array.shape)


def numbers_of(value: object) -> Array | None:
    """An output as an array; sequences and maps by what they hold, in a row. None for what is no number."""
    if isinstance(value, list | dict):
        parts = [numbers_of(part) for part in (value.values() if isinstance(value, dict) else value)]
        held = [np.ravel(part) for part in parts if part is not None]
        return None if len(held) < len(parts) else np.concatenate(held or [np.zeros(0, np.float32)])
    array = np.asarray(value)
    return array if array.dtype.kind in "fiub" else None


def float_outputs(outputs: Mapping[str, object]) -> dict[str, Array]:
    """Those outputs that hold floats, as `numbers_of` gives them."""
    found = {name: numbers_of(value) for name, value in outputs.items()}
    return {name: array for name, array in found.items() if array is not None and array.dtype.kind == "f"}
