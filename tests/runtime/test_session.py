"""Sessions: taps, bypassed quants, errors that name the node, models through files."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from small_graphs import conv_net, elementwise, images

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError, ModelError, QirError
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.types import QuantSpec, SequenceType, TensorType, tensor
from qir.runtime.ort_errors import short
from qir.runtime.session import Session, aligned_copy


def test_taps_come_by_name() -> None:
    x = images(2)
    graph = conv_net()
    found = Session(graph, taps=["r", "x", "w1", "logits"], threads=1).run({"x": x})
    assert list(found) == ["logits", "r", "x", "w1"]
    assert found["x"] is x
    assert found["r"].shape == (2, 8, 6, 6)
    assert found["r"].min() == 0
    assert np.array_equal(found["w1"], graph.value("w1").constant.array)  # type: ignore[union-attr]


def test_a_quant_is_bypassed_and_its_tap_is_the_float_value() -> None:
    graph, x = conv_net(), images(2)
    expected = Session(graph, taps=["r"], threads=1).run({"x": x})
    relu = graph.value("r")
    quant = graph.add(
        "quant", [relu], outputs=["r.q"], name="r.q", domain="qir", before=graph.node("conv2"),
        types=[TensorType(DType.F32, None, QuantSpec(DType.I8, False))],
    )  # fmt: skip
    graph.node("conv2").set_input(0, quant.output)
    found = Session(graph, taps=["r.q"], threads=1).run({"x": x})
    assert np.array_equal(found["r.q"], expected["r"])
    assert np.array_equal(found["logits"], expected["logits"])


def test_only_the_names_asked_for() -> None:
    session = Session(conv_net(), taps=["r"], threads=1)
    assert list(session.run({"x": images(1)}, ["r"])) == ["r"]


def test_optimization_changes_rounding_only() -> None:
    x = images(2)
    plain = Session(conv_net(), threads=1, optimize=False).run({"x": x})["logits"]
    np.testing.assert_allclose(Session(conv_net(), threads=1).run({"x": x})["logits"], plain, atol=1e-5)


def test_several_threads_may_run_one_session() -> None:
    session, x = Session(conv_net(), taps=["r"], threads=1), images(16)
    alone = [session.run({"x": x[i : i + 1]})["r"].copy() for i in range(16)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda i: session.run({"x": x[i : i + 1]})["r"], range(16)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_large_constants_of_any_layout() -> None:
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, [1, 4]))
    base = np.arange(4 * 4096 + 1, dtype=np.float32)
    layouts = {
        "shifted": base[1:].reshape(4, 4096),
        "strided": np.repeat(base[:-1], 2)[::2].reshape(4, 4096),
        "fortran": np.asfortranarray(base[:-1].reshape(4, 4096)),
    }
    for name, weights in layouts.items():
        made = graph.add("MatMul", [x, graph.constant(weights, name)], outputs=[f"{name}_out"], name=name)
        graph.add_output(made.output)
    found = Session(graph, threads=1).run({"x": np.eye(1, 4, 2, dtype=np.float32)})
    for name, weights in layouts.items():
        assert np.array_equal(found[f"{name}_out"][0], weights[2])


def test_constants_of_subgraphs_and_strings_stay_in_the_model() -> None:
    graph = Graph("net", {"": 17})
    flag = graph.add_input("flag", tensor(DType.BOOL, []))
    branches = []
    for sign in (1, -1):
        inner = Graph("branch", parent=graph)
        table = inner.constant(np.full(1000, sign, np.float32), "table")
        inner.add_output(inner.add("Neg", [table], name=f"neg{sign}").output)
        branches.append(inner)
    attributes = {"then_branch": branches[0], "else_branch": branches[1]}
    graph.add_output(graph.add("If", [flag], outputs=["y"], attributes=attributes).output)
    words = graph.constant(np.array(["word"] * 500, object), "words")
    graph.add_output(graph.add("Identity", [words], outputs=["w"]).output)
    found = Session(graph).run({"flag": np.array(False)})
    assert found["y"].tolist() == [1.0] * 1000
    assert found["w"].tolist() == ["word"] * 500


def test_strings() -> None:
    graph = elementwise("Identity", DType.STR, ("N",))
    found = Session(graph, taps=["x"]).run({"x": np.array(["a", "bc"], object)})
    assert found["y"].tolist() == ["a", "bc"]


@pytest.mark.parametrize("domain", ["my.ops", ""])
def test_unknown_op(domain: str) -> None:
    graph = Graph("net", {"": 17, "my.ops": 1})
    x = graph.add_input("x", tensor(DType.F32, [1]))
    graph.add_output(graph.add("Swirl", [x], name="swirl7", domain=domain).output)
    op = f"'{domain}.Swirl'" if domain else "'Swirl'"
    with pytest.raises(ModelError, match=f"does not know the op {op} of node 'swirl7'"):
        Session(graph)


def test_a_type_without_kernel_names_the_node() -> None:
    with pytest.raises(ModelError, match=r"no CPU kernel for node 'neg1' \(Neg\)"):
        Session(elementwise("Neg", DType.BF16))


def test_an_invalid_node_is_named() -> None:
    graph = conv_net()
    graph.node("conv1").attributes["strides"] = (1, 1, 1, 1)
    with pytest.raises(ModelError, match=r"conv1"):
        Session(graph)


@pytest.mark.parametrize(
    ("opset", "message"),
    [
        (5, "cannot run this model of opset 5: export it with opset 7 or later"),
        (9999, "is too old for opset 9999 .*: install a newer one"),
    ],
)
def test_opsets_out_of_reach(opset: int, message: str) -> None:
    graph = elementwise("Dropout", DType.F32)
    graph.opsets[""] = opset
    with pytest.raises(ModelError, match=message):
        Session(graph)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /src/cpu/upsamplebase.h:314 "
            "onnxruntime::UpsampleBase::UpsampleBase(const K&) [with K = onnxruntime::Info] "
            "[ONNXRuntimeError] : 1 : FAIL : upsamplebase.h:544 ScalesValidation Scale value is too small.\n",
            "Scale value is too small",
        ),
        (
            "[ONNXRuntimeError] : 1 : FAIL : /src/cpu/pool.h:88 onnx::Pool::Pool(const K&, int) "
            "[with K = int; S = string<char>] pads[dim] < kernel[dim] was false. Pad should be smaller.",
            "pads[dim] < kernel[dim] was false. Pad should be smaller",
        ),
        ("element_wise_ops.h:630 void Init(long, long) axis == 1 was false", "axis == 1 was false"),
        ("Gemm: Invalid bias shape\nsecond line", "Gemm: Invalid bias shape"),
        ("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : \n", "no reason given"),
    ],
)
def test_reasons_are_short(message: str, reason: str) -> None:
    assert short(message) == reason


def test_a_late_ir_version_does_not_matter() -> None:
    graph = elementwise("Neg", DType.F32)
    graph.metadata["qir.ir_version"] = "99"
    assert list(Session(graph).run({"x": np.ones((1, 4), np.float32)})) == ["y"]


@pytest.mark.parametrize(("rows", "hinted"), [(1, True), (3, False)])
def test_a_batch_size_that_the_model_has_built_in_is_guessed(rows: int, hinted: bool) -> None:
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, ["N", 4]))
    shape = graph.constant(np.int64([2, 4]), "shape")
    graph.add_output(graph.add("Reshape", [x, shape], name="view").output)
    with pytest.raises(QirError, match=r"node 'view' \(Reshape\) failed") as caught:
        Session(graph).run({"x": np.ones((rows, 4), np.float32)})
    assert ("takes batches of one size only" in str(caught.value)) == hinted


def test_an_input_of_another_size_is_named() -> None:
    with pytest.raises(QirError, match=r"^input 'x' has 5 along axis 1, the model takes 4$"):
        Session(elementwise("Neg")).run({"x": np.ones((3, 5), np.float32)})


def test_a_node_in_a_layout_of_onnxruntime_is_called_by_its_result() -> None:
    graph = parse_graph(
        """
    graph @net(%x: f32[N,3,8,8]) {
      opsets {onnx=17}
      %w = const [WEIGHTS] : f32[8,5,1,1]
      %a = Conv "c"(%x, %w) : f32[N,8,8,8]
      return %a
    }
    """.replace("WEIGHTS", ",".join(["0.5"] * 40))
    )
    with pytest.raises(QirError, match=r"(node 'c'|node that makes 'a') \(Conv\) failed in ONNX Runtime"):
        Session(graph).run({"x": np.zeros((1, 3, 8, 8), np.float32)})


def test_a_failing_run_names_the_node(capfd: pytest.CaptureFixture[str]) -> None:
    graph = Graph("net", {"": 17})
    a = graph.add_input("a", tensor(DType.F32, ["N", "K"]))
    b = graph.add_input("b", tensor(DType.F32, ["K", "M"]))
    graph.add_output(graph.add("MatMul", [a, b], name="product").output)
    ones = np.ones((2, 3), np.float32)
    with pytest.raises(
        QirError, match=r"node 'product' \(MatMul\) failed in ONNX Runtime: .*dimension mismatch"
    ):
        Session(graph).run({"a": ones, "b": ones})
    assert capfd.readouterr() == ("", "")


def test_names_of_feeds() -> None:
    session = Session(conv_net())
    with pytest.raises(CalibrationError, match=r"no input 'X'.*its inputs are x"):
        session.run({"X": images(1)})
    with pytest.raises(CalibrationError, match="no data for the model's input 'x'"):
        session.run({})


def test_unknown_tap_suggests_the_nearest() -> None:
    with pytest.raises(QirError, match=r"no value named 'logit'.*did you mean 'logits'"):
        Session(conv_net(), taps=["logit"])


def test_a_sequence_cannot_be_tapped() -> None:
    graph = elementwise("Relu")
    graph.add(
        "SequenceConstruct", [graph.value("y")], outputs=["s"], types=[SequenceType(tensor(DType.F32, [4]))]
    )
    with pytest.raises(QirError, match=r"'s' is seq\(f32\[4\]\), not a tensor"):
        Session(graph, taps=["s"])


def test_stop() -> None:
    session = Session(conv_net())
    session.run({"x": images(1)})
    session.stop()
    with pytest.raises(QirError, match="terminate"):
        session.run({"x": images(1)})


def test_aligned_copies() -> None:
    base = np.arange(1000, dtype=np.float32)
    for start in range(1, 8):
        copy = aligned_copy(base[start:][::2])
        assert copy.ctypes.data % 64 == 0
        assert np.array_equal(copy, base[start:][::2])
    assert aligned_copy(np.float32(3).reshape(())) == 3
    assert aligned_copy(np.zeros((0, 4), np.int64)).shape == (0, 4)


@pytest.mark.parametrize("reader", ["nobody", "a dead quant", "a dead node"])
def test_a_large_constant_without_purpose_does_no_harm(reader: str) -> None:
    graph, x = conv_net(), images(2)
    expected = Session(graph, threads=1).run({"x": x})
    dead = graph.constant(np.ones((300, 300), np.float32), "dead")
    if reader == "a dead quant":
        kind = dead.tensor.with_quant(QuantSpec(DType.I8))
        graph.add("quant", [dead], outputs=["dead.q"], name="dead.q", domain="qir", types=[kind])
    if reader == "a dead node":
        graph.add("Relu", [dead])
    assert np.array_equal(Session(graph, threads=1).run({"x": x})["logits"], expected["logits"])
