"""ONNX's own backend test cases: after a round trip through IR text, ONNX Runtime gives the same bits."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnx.backend.test
import pytest
from onnx.backend.test.case.test_case import TestCase
from onnx_runs import load, node_cases, outputs, round_trip, run, same

CHUNKS = 12
NOT_LOADED = {
    "Could not find an implementation|Failed to find kernel": "ONNX Runtime has no CPU kernel of that type",
    "is not a registered function/op": "an op of a preview domain that ONNX Runtime does not have",
    "Unrecognized attribute|No Op registered": "an op newer than this ONNX Runtime",
    "max supported IR version|only \\*guarantees\\* support": "an IR version or opset newer than it",
    "Failed to construct locale": "StringNormalizer asks for a locale that the machine lacks",
    "Batchwise recurrent operations": "LSTM, GRU and RNN with layout=1 are not implemented",
    "bound to different types": "ONNX Runtime's type check does not take bfloat16 there",
}
NOT_RUN = {
    "ComputeOutputShapeForAttention": "this ONNX Runtime checks the shapes of Attention's cache otherwise",
    "running ConvInteger": "ONNX Runtime wants another shape of ConvInteger's zero point",
    "No corresponding Numpy type|Unexpected input data type": "older ones cannot pass bfloat16 and float8",
    "running StringNormalizer": "the machine lacks the locale",
    "running ReduceMax node": "ONNX Runtime does not define it for an empty set of bool",
}


def _reason(error: Exception, known: dict[str, str]) -> str:
    found = [reason for pattern, reason in known.items() if re.search(pattern, str(error))]
    assert found, f"ONNX Runtime fails for a new reason: {error}"
    return found[0]


def _check(case: TestCase) -> str | None:
    """None when the outputs are the same, otherwise why ONNX Runtime does not run the original."""
    assert case.model is not None
    assert case.data_sets
    written = round_trip(case.model)  # of every case, also where ONNX Runtime cannot run it
    try:
        original = load(case.model)
    except Exception as error:
        return _reason(error, NOT_LOADED)
    copy = load(written)
    for inputs, _ in case.data_sets:
        try:
            expected = run(original, case.model, inputs)
        except Exception as error:
            return _reason(error, NOT_RUN)
        assert same(expected, run(copy, case.model, inputs)), case.name
    return None


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_node_cases(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")
    cases = node_cases()[chunk::CHUNKS]
    skipped = [reason for reason in map(_check, cases) if reason is not None]
    assert len(skipped) < len(cases) / 3


def _data_folder() -> Path:
    return Path(onnx.backend.test.__file__).parent / "data"


def _stored_inputs(model: onnx.ModelProto, folder: Path) -> list[object]:
    """The first stored set of inputs of a model on disk."""
    found: list[object] = []
    for i, info in enumerate(model.graph.input):
        file = folder / "test_data_set_0" / f"input_{i}.pb"
        if file.exists():
            sequence = info.type.WhichOneof("value") == "sequence_type"
            proto = onnx.SequenceProto() if sequence else onnx.TensorProto()
            proto.ParseFromString(file.read_bytes())
            found.append(proto)
    return found


@pytest.mark.parametrize("group", ["simple", "pytorch-converted", "pytorch-operator"])
def test_stored_cases(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")
    paths = sorted((_data_folder() / group).glob("*/model.onnx"))
    same_outputs = 0
    for path in paths:
        model = onnx.load(path)
        written = round_trip(model)
        try:
            original = load(model)
        except Exception as error:
            _reason(error, NOT_LOADED)
            continue
        inputs = _stored_inputs(model, path.parent)
        try:
            expected = run(original, model, inputs)
        except Exception as error:
            _reason(error, NOT_RUN)
            continue
        assert same(expected, run(load(written), model, inputs)), path
        same_outputs += 1
    assert same_outputs > len(paths) / 2


@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v2"])
def test_light_models(name: str) -> None:
    """Whole networks with filled-in weights, listed as inputs as IR version 3 wants it."""
    model = onnx.load(_data_folder() / "light" / f"light_{name}.onnx")
    written = round_trip(model)
    feeds = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    assert same(outputs(model, feeds), outputs(written, feeds))
