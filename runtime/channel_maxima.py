"""Largest magnitudes per channel of chosen values, from one streaming run over calibration data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from qir.ir.errors import CalibrationError
from qir.ir.graph import Graph
from qir.runtime.progress import SILENT, Progress
from qir.runtime.session import Session, aligned_copy
from qir.runtime.units import CalibrationData, Unit
from qir.runtime.workers import cores, ordered_map

F32 = npt.NDArray[np.float32]
Channel = tuple[str, int]
"""The name of a value, and the axis of its channels (negative: from the end)."""


def collect_channel_maxima(
    graph: Graph,
    channels: Mapping[Channel, int],
    data: CalibrationData,
    progress: Progress | None = None,
) -> dict[Channel, F32]:
    """max |x| over all of `data` for each channel of each value: float32 vectors of the lengths given.

    Maxima do not depend on batches or the order of samples. Nothing of a sample outlives it. CalibrationError
    names tensor and sample for values that are not finite or have another number of channels.
    """
    taps = tuple(dict.fromkeys(name for name, _ in channels))
    session = Session(graph, taps=taps, threads=1)
    found = {channel: np.zeros(length, np.float32) for channel, length in channels.items()}

    def measure(unit: Unit) -> dict[Channel, F32]:
        tensors = session.run({n: aligned_copy(a) for n, a in unit.feeds.items()}, taps)
        return {
            channel: _maxima(tensors[channel[0]], channel, length, unit)
            for channel, length in channels.items()
        }

    def run(feeds: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, npt.NDArray[np.generic]]:
        return session.run({n: aligned_copy(a) for n, a in feeds.items()}, session.outputs)

    display = SILENT if progress is None else progress
    with display.task("balance", data.total) as task:
        for maxima in ordered_map(measure, data.units(run), cores(), session.stop):
            for channel, vector in maxima.items():
                np.maximum(found[channel], vector, out=found[channel])
            task.advance()
    return found


def _maxima(array: npt.NDArray[np.generic], channel: Channel, length: int, unit: Unit) -> F32:
    name, axis = channel
    where = f"tensor '{name}' in {unit.where}"
    if array.dtype.kind != "f":
        raise CalibrationError(f"{where} is {array.dtype.name}; only floats can be balanced")
    if not -array.ndim <= axis < array.ndim or array.shape[axis] != length:
        raise CalibrationError(
            f"{where} has shape {list(array.shape)}, expected {length} channels along axis {axis}"
        )
    rows = np.moveaxis(array, axis, 0).reshape(length, -1)
    maxima: F32 = np.abs(rows).max(axis=1, initial=0).astype(np.float32)
    if not np.isfinite(maxima).all():
        raise CalibrationError(
            f"{where} holds NaN or infinite values; repair the data or leave the layer out"
        )
    return maxima
