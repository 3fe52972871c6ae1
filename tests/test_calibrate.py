"""Statistics as an artefact: what is quantized from them is what is quantized from the data, to the byte."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import qir
from qir.backends.targets import target_named
from qir.config.settings import QuantConfig
from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError, ConfigError, ModelError, PassError
from qir.ir.graph import Graph
from qir.ir.types import tensor
from qir.passes.context import Context
from qir.passes.manager import PassManager
from qir.runtime.data import open_data
from qir.samples import sample_named

SAMPLE = sample_named("digits")
READY = (
    "infer-types,fold-constants,eliminate-identity,fuse-bn,normalize-gemm,merge-duplicates,eliminate-dead,"
    "infer-types,equalize-layers"
)
CLOSE = "quantize-weights,calibrate,quantize-bias"


def images(count: int = 8) -> dict[str, np.ndarray]:
    with np.load(SAMPLE.calibration) as data:
        return {"input": data["input"][:count]}


@pytest.fixture(scope="module")
def statistics() -> qir.Statistics:
    return qir.calibrate("sample:digits", images())


def test_statistics_are_of_all_inputs_of_layers(statistics: qir.Statistics) -> None:
    assert statistics.origin.units == 8
    assert "input" in statistics
    assert len(statistics) == 8
    assert statistics["input"].count == 8 * 256


def test_batches_and_executors_change_nothing(statistics: qir.Statistics, tmp_path: Path) -> None:
    data = images()["input"]
    statistics.save(tmp_path / "serial.npz")
    feeds = [{"input": data[i : i + 3]} for i in range(0, 8, 3)]
    qir.calibrate("sample:digits", feeds).save(tmp_path / "batches.npz")
    with ThreadPoolExecutor(2) as executor:
        qir.calibrate("sample:digits", feeds, executor=executor).save(tmp_path / "threads.npz")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": "min-max"},
        {"method": "moving-average"},
        {"skip": ["/a/a.0/Conv", "/f2/Gemm"]},
        {"pipeline": "int16"},
        {"pipeline": "int4", "method": "kl"},
        {
            "pipeline": f"{READY},insert-quant{{ops=Gemm asymmetric=false}},"
            f"insert-quant{{precision=int16}},{CLOSE}"
        },
    ],
)
def test_other_pipelines_give_what_data_give(options: dict[str, object], statistics: qir.Statistics) -> None:
    by_data = qir.quantize("sample:digits", images(), **options)  # type: ignore[arg-type]
    by_statistics = qir.quantize("sample:digits", statistics=statistics, **options)  # type: ignore[arg-type]
    assert str(by_statistics.graph) == str(by_data.graph)


def test_a_file_serves_as_well_and_the_report_says_what_was_not_done(
    statistics: qir.Statistics, tmp_path: Path
) -> None:
    statistics.save(tmp_path / "stats.npz")
    result = qir.quantize(
        "sample:digits", statistics=tmp_path / "stats.npz", output=tmp_path / "a" / "digits"
    )
    assert result.report.outputs == ()
    assert result.report.proof is None
    assert any("no data: nothing was compared" in note for note in result.report.notes)
    both = qir.quantize("sample:digits", images(2), statistics=statistics, output=tmp_path / "b" / "digits")
    assert both.report.outputs
    assert both.report.proof is not None
    assert not any("no data" in note for note in both.report.notes)
    for one, other in zip(result.paths or (), both.paths or (), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_data_beside_statistics_must_fit(statistics: qir.Statistics) -> None:
    with pytest.raises(CalibrationError, match="'picture' is not an input of the model"):
        qir.quantize("sample:digits", lambda: [{"picture": images(1)["input"]}], statistics=statistics)


def test_neither_data_nor_statistics() -> None:
    with pytest.raises(ConfigError, match="no data to calibrate with"):
        qir.quantize("sample:digits")
    graph = qir.load("sample:digits")
    with pytest.raises(PassError, match=r"--data DATA .* or statistics"):
        PassManager(f"{READY},insert-quant,{CLOSE}").run(graph, Context(rules=target_named("ascend").rules))


def test_statistics_of_another_model_are_refused(statistics: qir.Statistics) -> None:
    graph = qir.load("sample:digits")
    weight = next(v for v in graph.constants if v.constant is not None and v.constant.data.ndim == 4)
    assert weight.constant is not None
    (use,) = weight.uses
    moved = weight.constant.array * np.float32(1.01)
    use.node.set_input(use.index, graph.constant(moved, "moved"))
    graph.erase(weight)
    graph.rename(graph.value("moved"), weight.name)
    with pytest.raises(
        CalibrationError, match=f"constants of .*'{use.node.name}'.* have changed; take them again"
    ):
        qir.quantize(graph, statistics=statistics)
    with pytest.raises(
        CalibrationError,
        match=r"of another model: nodes were added: .*BatchNormalization.*the same --pipeline",
    ):
        qir.quantize("sample:digits", statistics=statistics, pipeline=f"infer-types,insert-quant,{CLOSE}")


def test_quantized_weights_belong_to_the_statistics(statistics: qir.Statistics) -> None:
    taken = qir.calibrate("sample:digits", images(), pipeline="amct")
    by_data = qir.quantize("sample:digits", images(), pipeline="amct", method="min-max")
    by_statistics = qir.quantize("sample:digits", statistics=taken, pipeline="amct", method="min-max")
    assert str(by_statistics.graph) == str(by_data.graph)
    with pytest.raises(
        CalibrationError, match=r"other quantized weights: '/a/a.0/Conv' was i8<.*>, is float"
    ):
        qir.quantize("sample:digits", statistics=taken, pipeline="amct", skip="/a/a.0/Conv")
    text = f"{READY},insert-quant,quantize-weights,calibrate{{weights=quantized}},quantize-bias"
    with pytest.raises(CalibrationError, match="taken with float weights, but this pipeline calibrates with"):
        qir.quantize("sample:digits", statistics=statistics, pipeline=text)


def test_statistics_lack_what_only_another_pipeline_measures(statistics: qir.Statistics) -> None:
    graph = residual()
    feeds = {"x": np.random.default_rng(0).normal(size=(4, 4, 4, 4)).astype(np.float32)}
    taken = qir.calibrate(graph, feeds)
    wanted = f"{READY},insert-quant{{tensors=add:1}},{CLOSE}"
    with pytest.raises(
        CalibrationError, match="input of 'add': the statistics have nothing about tensor 'b'"
    ):
        qir.quantize(graph, statistics=taken, pipeline=wanted)
    with_tensors = qir.calibrate(graph, feeds, pipeline=wanted)
    assert list(taken) == ["x", "l"]
    assert list(with_tensors) == ["x", "l", "b"]
    by_statistics = qir.quantize(graph, statistics=with_tensors, pipeline=wanted)
    assert str(by_statistics.graph) == str(qir.quantize(graph, feeds, pipeline=wanted).graph)


def residual() -> Graph:
    """x -> Conv "first" -> a -> Log "log" -> Conv "second" -> b; y = a + b by "add"."""
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, ["N", 4, 4, 4]))
    weight = np.random.default_rng(1).normal(size=(4, 4, 1, 1)).astype(np.float32)
    first = graph.add("Conv", [x, graph.constant(weight, "w1")], outputs=["a"], name="first")
    square = graph.add("Mul", [first.output, first.output], outputs=["s"], name="square")
    log = graph.add("Log", [square.output], outputs=["l"], name="log")
    second = graph.add("Conv", [log.output, graph.constant(weight + 1, "w2")], outputs=["b"], name="second")
    graph.add_output(graph.add("Add", [first.output, second.output], outputs=["y"], name="add").output)
    return graph


def test_a_layer_in_float_may_read_what_is_not_finite() -> None:
    """The cure of the error works, and statistics remember what is wrong with the layer."""
    graph, x = residual(), np.random.default_rng(0).normal(size=(6, 4, 4, 4)).astype(np.float32)
    x[3] = 0
    message = "sample 3: tensor 'l', made by node 'log' .* leave what reads it in float \\('second'\\)"
    with pytest.raises(CalibrationError, match=message):
        qir.quantize(graph, {"x": x})
    with pytest.raises(CalibrationError, match=message):
        qir.calibrate(graph, {"x": x})
    taken = qir.calibrate(graph, {"x": x}, skip="second")
    assert list(taken) == ["x"]
    by_statistics = qir.quantize(graph, statistics=taken, skip="second")
    assert str(by_statistics.graph) == str(qir.quantize(graph, {"x": x}, skip="second").graph)
    with pytest.raises(CalibrationError, match="input of 'second': the statistics: " + message):
        qir.quantize(graph, statistics=taken)


def test_several_calibrates_run_the_data_once() -> None:
    runs = 0

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        nonlocal runs
        runs += 1
        yield from ({"input": image[None]} for image in images(4)["input"])

    graph = qir.load("sample:digits")
    calibrates = "calibrate{layers=/f2/Gemm method=kl},calibrate"
    text = f"{READY},insert-quant,quantize-weights,{calibrates},quantize-bias"
    context = Context(data=open_data(feeds, graph), rules=target_named("ascend").rules)
    PassManager(text).run(graph, context)
    assert runs == 1
    (kept,) = context.collected
    assert kept.origin.units == 4


def test_exact_modes_need_data(statistics: qir.Statistics) -> None:
    text = f"{READY},insert-quant,quantize-weights,calibrate{{method=hfmg exact=true}},quantize-bias"
    graph = qir.load("sample:digits")
    context = Context(data=open_data(images(), graph), rules=target_named("ascend").rules)
    PassManager(text).run(graph, context)
    (kept,) = context.collected
    batches = kept["input"].batches(1)
    assert batches is not None
    assert np.array_equal(np.concatenate(batches), images()["input"].ravel())
    with pytest.raises(PassError, match="exact=true} needs the data themselves"):
        qir.quantize("sample:digits", statistics=statistics, pipeline=text)
    with pytest.raises(ConfigError, match="leave exact out"):
        qir.calibrate("sample:digits", images(), pipeline=text)


def test_configurations_count_the_samples_of_statistics(statistics: qir.Statistics) -> None:
    enough, more = QuantConfig(batch_num=8), QuantConfig(batch_num=9)
    by_data = qir.quantize("sample:digits", images(), config=enough)
    by_statistics = qir.quantize("sample:digits", images(1), statistics=statistics, config=enough)
    assert str(by_statistics.graph) == str(by_data.graph)
    with pytest.raises(
        CalibrationError, match="batch_num is 9, so at least 9 samples are needed, and there are 8"
    ):
        qir.quantize("sample:digits", statistics=statistics, config=more)


def test_pipelines_without_statistics() -> None:
    with pytest.raises(ConfigError, match="no calibrate"):
        qir.calibrate("sample:digits", images(), pipeline="infer-types")
    text = (
        f"{READY},insert-quant,quantize-weights,calibrate{{layers=/f2/Gemm}},calibrate{{weights=quantized}}"
    )
    with pytest.raises(ConfigError, match="both with float and with quantized"):
        qir.calibrate("sample:digits", images(), pipeline=text)
    with pytest.raises(ModelError, match="does not exist"):
        qir.calibrate("none.onnx", images())
    with pytest.raises(ConfigError, match="leave out workers and executor"):
        qir.calibrate("sample:digits", images(), workers=2, dask="tcp://localhost:1")
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        qir.calibrate("sample:digits", images(), workers=0)


@pytest.mark.parametrize(
    "options", ["skip=/f2/Gemm,/a/a.0/Conv", "precision=int16 layers=/f2/Gemm", "weight-bits=4"]
)
def test_what_is_quantized_does_not_show_in_the_statistics(options: str, statistics: qir.Statistics) -> None:
    graph = qir.load("sample:digits")
    context = Context(data=open_data(images(), graph), rules=target_named("ascend").rules)
    PassManager(f"{READY},insert-quant{{{options}}},{CLOSE}").run(graph, context)
    assert context.collected == [statistics]
