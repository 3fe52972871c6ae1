"""Evaluators: rules over metrics, files that users name, built-in metrics, digests, stored metrics."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chain import chain, samples
from hypothesis import given
from hypothesis import strategies as st

import qir
from qir.ir.errors import ConfigError, QirError
from qir.runtime.session import Session
from qir.samples import sample_named
from qir.search.errors import ContractError, EvaluatorError
from qir.search.evaluators import Evaluator, MaxDrop, MetricEvaluator, Threshold, open_evaluator
from qir.search.evaluators.checked import judged, measured
from qir.search.evaluators.source import function_digest, object_digest
from qir.search.stored_metrics import _SAFE, Unknown, decode_metric, encode_metric


class Tensor:
    """As tensors of other libraries are: no array of numpy, but with a shape and lists."""

    def __init__(self, values: object) -> None:
        self._values = np.asarray(values)
        self.shape = self._values.shape

    def tolist(self) -> object:
        return self._values.tolist()


@pytest.mark.parametrize(
    ("rule", "original", "new", "answer"),
    [
        (MaxDrop(0.1), 0.9, 0.8, (True, 0.1)),
        (MaxDrop(0.1), 0.9, 0.79, (False, 0.11)),
        (MaxDrop(0.1), 0.9, 0.95, (True, -0.05)),
        (MaxDrop(0.1, higher_is_better=False), 2.0, 2.05, (True, 0.05)),
        (MaxDrop(0.1, higher_is_better=False), 2.0, 1.0, (True, -1.0)),
        (MaxDrop(0.1, relative=True), 50.0, 45.5, (True, 0.09)),
        (MaxDrop(0.1, relative=True), -50.0, -56.0, (False, 0.12)),
        (MaxDrop(0.1, relative=True), 0.0, 0.0, (True, 0.0)),
        (MaxDrop(0.1, relative=True), 0.0, -0.001, (False, math.inf)),
        (MaxDrop(0.0), 0, 0, (True, 0.0)),
        (MaxDrop(0.1), math.inf, 40.0, (False, math.inf)),
        (MaxDrop(0.1), math.inf, math.inf, (True, 0.0)),
        (MaxDrop(0.1), (0.9, 0.5), (0.9, 0.3), (False, 0.2)),
        (MaxDrop(0.1), {"a": 0.9, "b": [1, 2]}, {"a": 0.85, "b": [1, 2]}, (True, 0.05)),
        (MaxDrop(1), np.array([3.0, 4.0]), np.array([2.5, 4.0]), (True, 0.5)),
        (MaxDrop(1), np.float32(3), np.float32(1), (False, 2.0)),
        (MaxDrop(0.1), Decimal("0.9"), Decimal("0.85"), (True, 0.05)),
        (MaxDrop(0.1), Tensor(0.9), Tensor(0.85), (True, 0.05)),
        (MaxDrop(0.1), (Tensor([0.9, 1.0]),), (Tensor([0.85, 0.5]),), (False, 0.5)),
        (Threshold(30.0), math.inf, 31.0, (True, -1.0)),
        (Threshold(30.0), math.inf, 29.0, (False, 1.0)),
        (Threshold(30.0, higher_is_better=False), 1.0, 29.0, (True, -1.0)),
    ],
)
def test_rules(rule: MaxDrop | Threshold, original: object, new: object, answer: tuple[bool, float]) -> None:
    satisfied, loss = rule(original, new)
    assert satisfied == answer[0]
    assert loss == pytest.approx(answer[1], abs=1e-9)


@pytest.mark.parametrize(
    ("original", "new", "said"),
    [
        ((1.0, 2.0), (1.0,), "cannot be compared"),
        ({"a": 1.0}, {"b": 1.0}, "cannot be compared"),
        ("good", "bad", "has no order"),
        ((), (), "nothing to compare"),
    ],
)
def test_metrics_without_an_order(original: object, new: object, said: str) -> None:
    with pytest.raises(EvaluatorError, match=said):
        MaxDrop(1.0)(original, new)


class Answering(Evaluator):
    """Says what it was made with."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def evaluate(self, model_file: str) -> object:
        return self.answer

    def metric_eval(self, original_metric: object, new_metric: object) -> Any:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        (True, 0.5),
        [np.bool_(True), np.float16(0.5)],
        (np.array([True]), np.array([[0.5]])),
        (Tensor(True), Tensor([0.5])),
        (True, Decimal("0.5")),
    ],
)
def test_answers_that_are_a_bool_and_a_number(answer: object) -> None:
    assert judged(Answering(answer), 1.0, 1.0) == (True, 0.5)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        (1, 0.5),
        (0.5, True),
        (True,),
        (True, "0.5"),
        (True, None),
        (True, math.nan),
        (True, Tensor(math.nan)),
        (np.array([True, True]), 0.5),
    ],
)
def test_answers_that_are_none(answer: object) -> None:
    with pytest.raises(EvaluatorError, match="must return"):
        judged(Answering(answer), 1.0, 1.0)


@pytest.mark.parametrize("metric", [math.nan, (1.0, Tensor(math.nan)), {"a": [np.array([math.nan])]}])
def test_metrics_that_are_not_a_number(metric: object) -> None:
    with pytest.raises(EvaluatorError, match="not a number"):
        measured(Answering(metric), "net.onnx", "the model")


@pytest.mark.parametrize("limit", [-0.1, math.nan, math.inf])
def test_limits_that_are_none(limit: float) -> None:
    with pytest.raises(ConfigError, match="max_drop"):
        MaxDrop(limit)


AMCT_STYLE = """
from qir.search.evaluators import Evaluator
from helper_beside import VALUE

class Mine(Evaluator):
    def __init__(self, value=VALUE):
        self.value = value
    def evaluate(self, model_file):
        return self.value
    def metric_eval(self, original, new):
        return new >= original, original - new

class NoRule(Evaluator):
    def evaluate(self, model_file):
        return 2.0

class NoMetric(Evaluator):
    pass

mine = Mine(3.0)
number = 4

def metric_function(model_file):
    return 5.0
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "helper_beside.py").write_text("VALUE = 1.0\n")
    path = tmp_path / "mine.py"
    path.write_text(AMCT_STYLE)
    return path


def test_evaluators_of_a_file(script: Path) -> None:
    assert open_evaluator(f"{script}:mine", None).evaluate("m") == 3.0
    assert open_evaluator(f"{script}:Mine", None).evaluate("m") == 1.0
    assert open_evaluator(str(script), None).evaluate("m") == 3.0, "the only object"
    assert open_evaluator(f"{script}:metric_function", MaxDrop(0)).evaluate("m") == 5.0
    ruled = open_evaluator(f"{script}:NoRule", MaxDrop(0.5))
    assert ruled.evaluate("m") == 2.0
    assert ruled.metric_eval(2.0, 1.4) == (False, pytest.approx(0.6))


@pytest.mark.parametrize(
    ("name", "rule", "said"),
    [
        (":Mien", None, "did you mean 'Mine'"),
        (":NoRule", None, "evaluator NoRule has no metric_eval"),
        (":NoMetric", MaxDrop(0.1), "evaluator NoMetric has no evaluate"),
        (":Mine", MaxDrop(1), "leave out max_drop"),
        (":metric_function", None, "does not say what is good enough"),
    ],
)
def test_what_a_file_cannot_be_taken_for(name: str, rule: MaxDrop | None, said: str, script: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        open_evaluator(f"{script}{name}", rule)


def test_an_object_that_is_no_evaluator(script: Path) -> None:
    with pytest.raises(ContractError, match="is not inherited from base class AutoCalibrationEvaluatorBase"):
        open_evaluator(f"{script}:number", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_like_this", "raised ModuleNotFoundError"),
        ("raise SystemExit(0)", "raised SystemExit"),
        ("def f(:", "raised SyntaxError"),
        ("x = 1", "no class of it"),
    ],
)
def test_files_that_are_no_evaluators(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(QirError, match=said):
        open_evaluator(str(path), None)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("missing.py", "does not exist"),
        ("tpo1:file.npz", "did you mean 'top1'"),
        ("top1:missing.npz", "no .npz file"),
        ("model.onnx", "is no evaluator"),
    ],
)
def test_sources_that_are_not_there(source: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        open_evaluator(source, MaxDrop(1))


def test_the_contract_is_amcts() -> None:
    for call in (
        lambda e: e.calibration("m"),
        lambda e: e.evaluate("m"),
        lambda e: e.metric_eval(1.0, 1.0),
    ):
        with pytest.raises(NotImplementedError):
            call(Evaluator())


def test_top_k_and_similarity_on_the_sample(tmp_path: Path) -> None:
    sample = sample_named("digits")
    with np.load(sample.test) as test:
        images, labels = test["input"][:60], test["labels"][:60]
    file = tmp_path / "few.npz"
    np.savez(file, input=images, y=labels)
    session = Session(qir.load(sample.model))
    scores = session.run({"input": images})[session.outputs[0]]
    top = np.argsort(-scores, 1)
    for k in (1, 5):
        expected = float((top[:, :k] == labels[:, None]).any(1).mean())
        assert open_evaluator(f"top{k}:{file}", MaxDrop(0)).evaluate(str(sample.model)) == expected
    quantized = qir.quantize(sample.model, sample.calibration, output=tmp_path / "q", proof_samples=0)
    assert quantized.paths is not None
    fake = str(quantized.paths.fake_quant_model)
    for name, original, least in (("cosine", 1.0, 0.99), ("sqnr", math.inf, 20.0)):
        judge = open_evaluator(f"{name}:{file}", Threshold(least))
        judge.prepare(str(sample.model))
        assert judge.evaluate(str(sample.model)) == pytest.approx(original)
        new = judge.evaluate(fake)
        assert isinstance(new, float)
        assert least < new < original
    assert open_evaluator(f"top1:{file}", MaxDrop(0)).fingerprint() != judge.fingerprint()


def test_attributes_that_hide_methods() -> None:
    class Named(Answering):
        title = "net"  # no name of ours

    assert open_evaluator(Named((True, 0.0)), None)
    evaluator = Named((True, 0.0))
    evaluator.modules = ["torch"]  # type: ignore[assignment, method-assign]
    with pytest.raises(ConfigError, match="Named has an attribute 'modules' that is no method"):
        open_evaluator(evaluator, None)


def test_no_drop_of_infinite_sqnr_can_be_kept(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", **samples())
    with pytest.raises(ConfigError, match="at_least"):
        open_evaluator(f"sqnr:{tmp_path}/s.npz", MaxDrop(1.0))
    open_evaluator(f"cosine:{tmp_path}/s.npz", MaxDrop(1.0))


def test_outputs_whose_shape_follows_from_the_numbers(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x=np.ones((2, 4), np.float32))
    for op, type_ in (("Relu", "f32[N,4]"), ("NonZero", "i64[2,K]")):
        graph = (
            f"graph @net(%x: f32[N,4]) {{\n  opsets {{onnx=17}}\n  %y = {op}(%x) : {type_}\n  return %y\n}}\n"
        )
        qir.save(qir.parse(graph), tmp_path / f"{op}.onnx")
    judge = open_evaluator(f"cosine:{tmp_path}/s.npz", MaxDrop(0.1))
    judge.prepare(str(tmp_path / "Relu.onnx"))
    with pytest.raises(EvaluatorError, match=r"'y' has another shape .*number of detections.* no cosine can"):
        judge.evaluate(str(tmp_path / "NonZero.onnx"))


def test_scores_that_are_not_a_number(tmp_path: Path) -> None:
    file, model = tmp_path / "l.npz", tmp_path / "m.onnx"
    qir.save(chain(), model)
    data = samples()
    for name in data:
        data[name][2] = np.nan
    np.savez(file, **data, labels=np.zeros(4, np.int64))
    with pytest.raises(QirError, match="NaN for sample 2"):
        open_evaluator(f"top1:{file}", MaxDrop(0)).evaluate(str(model))


@pytest.mark.parametrize("data", [b"", b"x" * 300, None])
def test_damaged_files_of_labels(data: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "l.npz"
    np.savez_compressed(file, labels=np.random.default_rng(0).integers(0, 9, 9999))
    whole = file.read_bytes()
    file.write_bytes(whole[:400] + bytes(200) + whole[600:] if data is None else data)
    with pytest.raises(QirError, match=r"l\.npz"):
        open_evaluator(f"top1:{file}", MaxDrop(0))


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    file, model = tmp_path / "l.npz", tmp_path / "m.onnx"
    qir.save(chain(), model)
    for labels, said in (
        (np.arange(3), "more samples than its 3 labels"),
        (np.arange(5) % 2, "5 labels for 4 samples"),
        (np.array([0, 1, 2, 8]), "label 8; the first output has 8 classes"),
        (np.zeros(4, np.float32), "must be integers"),
        (None, "no array called labels or y"),
    ):
        np.savez(file, **samples(), **({} if labels is None else {"labels": labels}))
        with pytest.raises(QirError, match=said):
            open_evaluator(f"top1:{file}", MaxDrop(0)).evaluate(str(model))


SAFE_AND_PATHS = _SAFE | {("pathlib", "PosixPath")}


class Holder(Evaluator):
    def __init__(self, value: object) -> None:
        self.value = value


def test_digests_follow_source_and_values(tmp_path: Path) -> None:
    values = [1, 1.0, "1", None, (1,), [1, 2], {"a": 1}, np.arange(3), np.arange(3.0), Path("a"), Path("b")]
    digests = [Holder(value).fingerprint() for value in values]
    assert len(set(digests)) == len(digests)
    assert digests == [Holder(value).fingerprint() for value in values]
    one, other = functools.partial(max, 1), functools.partial(max, 2)
    assert function_digest(one) != function_digest(other)
    loop: list[object] = []
    loop.append(loop)
    assert object_digest(Holder(loop)) == object_digest(Holder(loop))
    path = tmp_path / "changing.py"
    found = []
    for text in ("def evaluate(m):\n    return 1.0\n", "def evaluate(m):\n    return 2.0\n"):
        path.write_text(text)
        found.append(open_evaluator(str(path), MaxDrop(0)).fingerprint())
    assert found[0] != found[1]
    assert MetricEvaluator(len, MaxDrop(0)).fingerprint() == MetricEvaluator(len, MaxDrop(1)).fingerprint()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=6,
)


@given(plain)
def test_metrics_come_back_as_they_were(metric: object) -> None:
    stored = json.loads(json.dumps(encode_metric(metric)))
    back = decode_metric(stored, frozenset())
    assert back == metric
    assert repr(back) == repr(metric)


class Metric:
    """A metric of the user's own class."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Metric) and self.value == other.value

    __hash__ = None  # type: ignore[assignment]


def test_metrics_of_user_classes_need_trust() -> None:
    stored = encode_metric(Metric(2.5))
    assert decode_metric(stored, frozenset({Metric.__module__})) == Metric(2.5)
    assert isinstance(decode_metric(stored, frozenset()), Unknown)
    for array in (np.arange(6.0).reshape(2, 3), np.float32(1.5), np.array(["a"])):
        assert np.array_equal(decode_metric(encode_metric(array), frozenset()), array)  # type: ignore[arg-type]
    assert encode_metric(lambda: 1).keys() == {"text"}
    assert isinstance(decode_metric({"pickle": "no base64", "text": "?"}, frozenset()), Unknown)


class Attack:
    def __init__(self, action: Callable[..., object]) -> None:
        self.action = action

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return self.action, (Path("owned"),)


def of_a_trusted_module(path: Path) -> None:
    path.touch()


@pytest.mark.parametrize("action", [Path.touch, of_a_trusted_module])
def test_a_journal_cannot_run_code(
    action: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("qir.search.stored_metrics._SAFE", SAFE_AND_PATHS)
    stored = encode_metric(Attack(action))
    assert "pickle" in stored
    assert isinstance(decode_metric(stored, frozenset({__name__})), Unknown)
    assert list(tmp_path.iterdir()) == []
