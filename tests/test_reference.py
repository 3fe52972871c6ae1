"""The float model's outputs, recorded beside the passes."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import qir
import qir.reference
from qir.reference import COMPARED_UNITS, recorded_reference
from qir.runtime.data import open_data
from qir.runtime.session import Session
from qir.samples import sample_named


def images(count: int) -> list[dict[str, np.ndarray]]:
    with np.load(sample_named("digits").calibration) as data:
        return [{"input": data["input"][i : i + 1]} for i in range(count)]


def test_outputs_of_the_first_samples_outlive_the_model() -> None:
    graph = qir.load("sample:digits")
    expected = Session(graph, threads=1).run(images(1)[0])
    data = open_data(images(COMPARED_UNITS + 3), graph)
    with recorded_reference(graph, True, data, 2) as reference:
        assert reference.recording is not None
        recording = reference.recording.result()
    assert len(recording.units) == COMPARED_UNITS
    np.testing.assert_array_equal(recording.outputs[0]["output"], expected["output"])
    assert all(not value.is_read for value in graph.constants)  # released


def test_runs_stop_when_the_body_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, waited = threading.Event(), []

    class Endless(Session):
        def stop(self) -> None:
            stopped.set()

    def record(*_: object) -> None:
        waited.append(stopped.wait(20))

    monkeypatch.setattr(qir.reference, "Session", Endless)
    monkeypatch.setattr(qir.reference, "record_outputs", record)
    graph = qir.load("sample:digits")
    with pytest.raises(KeyboardInterrupt), recorded_reference(graph, False, open_data(images(1), graph), 0):
        raise KeyboardInterrupt
    assert waited == [True]
