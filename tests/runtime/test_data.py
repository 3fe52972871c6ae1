"""Calibration data: every kind of source gives the same canonical units, and every slip is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from data_sources import X, two_inputs, units_of
from small_graphs import conv_net, elementwise

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.graph import Graph
from qir.ir.types import tensor
from qir.runtime.data import open_data
from qir.runtime.session import Session


def assert_samples(units: list[dict[str, np.ndarray]], x: np.ndarray) -> None:
    assert [unit["x"].shape for unit in units] == [(1, *x.shape[1:])] * len(x)
    assert np.array_equal(np.concatenate([unit["x"] for unit in units]), x)


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez(tmp_path / "data.npz", x=X, labels=np.arange(12))
    return tmp_path / "data.npz"


@pytest.mark.parametrize("batch", [1, 4, 5, 12])
def test_feeds_of_any_batch_give_the_same_samples(batch: int) -> None:
    feeds = [{"x": X[i : i + batch]} for i in range(0, 12, batch)]
    assert_samples(units_of(feeds, conv_net()), X)


def test_dict_of_arrays() -> None:
    assert_samples(units_of({"x": X}, conv_net()), X)


def test_npz(npz: Path) -> None:
    assert_samples(units_of(npz, conv_net()), X)
    assert_samples(units_of(str(npz), conv_net()), X)


def test_compressed_and_fortran_npz(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=X)
    np.savez(tmp_path / "b.npz", x=np.asfortranarray(X))
    assert_samples(units_of(tmp_path / "a.npz", conv_net()), X)
    assert_samples(units_of(tmp_path / "b.npz", conv_net()), X)


def test_folder_of_one_file_per_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert_samples(units_of(tmp_path, conv_net()), X)


def test_one_file_for_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", X)
    assert_samples(units_of(tmp_path / "images.npy", conv_net()), X)
    with pytest.raises(CalibrationError, match="holds one array, but the model has 2 inputs: 'ids', 'mask'"):
        open_data(tmp_path / "images.npy", two_inputs())


@pytest.mark.parametrize("keep_axis", [True, False])
def test_folder_of_one_file_per_sample(tmp_path: Path, keep_axis: bool) -> None:
    (tmp_path / "x").mkdir()
    for i, sample in enumerate(X):
        np.save(tmp_path / "x" / f"{i:03}.npy", sample[None] if keep_axis else sample)
    assert_samples(units_of(tmp_path, conv_net()), X)


def test_files_of_a_folder_may_differ_in_shape(tmp_path: Path) -> None:
    for name in ("ids", "mask"):
        (tmp_path / name).mkdir()
        for length in (3, 5):
            kind = np.int64 if name == "ids" else np.float32
            np.save(tmp_path / name / f"{length}.npy", np.ones((1, length), kind))
    units = units_of(tmp_path, two_inputs())
    assert [unit["ids"].shape for unit in units] == [(1, 3), (1, 5)]


def test_names_that_are_no_file_names(tmp_path: Path) -> None:
    graph = Graph("net", {"": 17})
    x = graph.add_input("in/x:0", tensor(DType.F32, ["N", 2]))
    graph.add_output(graph.add("Relu", [x]).output)
    np.save(tmp_path / "in_x_0.npy", np.ones((3, 2), np.float32))
    assert len(units_of(tmp_path, graph)) == 3


def test_functions(tmp_path: Path) -> None:
    np.save(tmp_path / "kept.npy", X)
    (tmp_path / "neighbour.py").write_text(
        "import numpy as np\nfrom pathlib import Path\nX = np.load(Path(__file__).parent / 'kept.npy')\n"
    )
    (tmp_path / "calib.py").write_text(
        "from neighbour import X\n"
        "def feeds():\n    for i in range(0, 12, 4):\n        yield {'x': X[i:i + 4]}\n"
        "def table():\n    return {'x': X}\n"
        "def once():\n    return iter([{'x': X}])\n"
        "def nothing():\n    pass\n"
        "def broken():\n    raise KeyError('cat.jpg')\n"
    )
    for name in ("feeds", "table", "once"):
        assert_samples(units_of(f"{tmp_path}/calib.py:{name}", conv_net()), X)
    for name, message in {
        "nothing": "a NoneType holds no samples",
        "broken": "broken raised KeyError: 'cat.jpg'",
        "feed": "no function 'feed'; did you mean 'feeds'",
    }.items():
        with pytest.raises(CalibrationError, match=message):
            units_of(f"{tmp_path}/calib.py:{name}", conv_net())


def test_a_one_shot_generator_can_be_read_again() -> None:
    graph = conv_net()
    session = Session(graph, threads=1)
    made = []

    def feeds() -> Iterator[dict[str, np.ndarray]]:
        for i in range(0, 12, 4):
            made.append(i)
            yield {"x": X[i : i + 4]}

    data = open_data(feeds(), graph)
    partly = data.units(session.run)
    next(partly)
    for _ in range(3):
        assert_samples([unit.feeds for unit in data.units(session.run)], X)
    assert made == [0, 4, 8]


def test_the_error_of_a_generator_comes_again() -> None:
    def feeds() -> Iterator[dict[str, np.ndarray]]:
        yield {"x": X[:1]}
        raise OSError("disk gone")

    graph = conv_net()
    data = open_data(feeds(), graph)
    for _ in range(2):
        with pytest.raises(CalibrationError, match=r"raised OSError: disk gone \(after 1 feeds\)"):
            list(data.units(Session(graph).run))


def test_strings_survive_the_spool() -> None:
    graph = elementwise("Identity", DType.STR, ("N",))
    data = open_data(iter([{"x": np.array(["a", "bcd"])}]), graph)
    for _ in range(2):
        units = list(data.units(Session(graph).run))
        assert [unit.feeds["x"].tolist() for unit in units] == [["a"], ["bcd"]]


def test_a_function_or_re_iterable_is_read_anew() -> None:
    graph = conv_net()
    for source in (lambda: iter([{"x": X}]), {"a": {"x": X}}.values()):
        data = open_data(source, graph)
        for _ in range(2):
            assert_samples([unit.feeds for unit in data.units(Session(graph).run)], X)


def test_units_say_where_they_come_from() -> None:
    graph = conv_net()
    run = Session(graph).run
    where = [u.where for u in open_data([{"x": X[:1]}, {"x": X[1:3]}], graph).units(run)]
    assert where == ["sample 0", "sample 1 (row 0 of feed 1)", "sample 2 (row 1 of feed 1)"]
    assert [u.where for u in open_data({"x": X[:2]}, graph).units(run)] == ["sample 0", "sample 1"]


def test_total() -> None:
    graph = conv_net()
    data = open_data([{"x": X[:4]}, {"x": X[4:]}], graph)
    assert data.total is None
    next(data.units(Session(graph).run))
    assert data.total == 12
    assert open_data([{"x": X[:1]}] * 3, graph).total == 3
    assert open_data({"x": X}, graph).total == 12
    assert open_data(iter([{"x": X}]), graph).total is None


def mixing_net() -> Graph:
    """Subtracts the mean over the batch: samples together differ from samples alone."""
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, ["N", 4]))
    mean = graph.add("ReduceMean", [x], attributes={"axes": (0,)})
    graph.add_output(graph.add("Sub", [x, mean.output], outputs=["y"]).output)
    return graph


def test_a_model_that_mixes_samples_gets_feeds_as_given(caplog: pytest.LogCaptureFixture) -> None:
    x = np.arange(24, dtype=np.float32).reshape(6, 4) ** 2
    units = units_of([{"x": x[:4]}, {"x": x[4:]}], mixing_net())
    assert [len(unit["x"]) for unit in units] == [4, 2]
    assert caplog.text.count("feeds run as they are") == 1


def test_a_model_with_a_fixed_inner_batch_gets_feeds_as_given() -> None:
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, ["N", 4]))
    shape = graph.constant(np.array([4, 4], np.int64), "shape")
    graph.add_output(graph.add("Reshape", [x, shape]).output)
    assert len(units_of([{"x": np.ones((4, 4), np.float32)}], graph)) == 1


def test_inputs_that_are_not_of_the_batch_go_with_every_sample() -> None:
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, ["N", 4]))
    scale = graph.add_input("scale", tensor(DType.F32, [4]))
    graph.add_output(graph.add("Mul", [x, scale]).output)
    units = units_of([{"x": X.reshape(-1, 4)[:6], "scale": np.ones(4, np.float32)}], graph)
    assert [(u["x"].shape, u["scale"].shape) for u in units] == [((1, 4), (4,))] * 6


def test_a_model_of_batch_one_takes_feeds_of_more() -> None:
    assert_samples(units_of([{"x": X[:5]}, {"x": X[5:]}], conv_net(1)), X)


def test_fixed_batches(caplog: pytest.LogCaptureFixture) -> None:
    units = units_of({"x": X[:11]}, conv_net(4))
    assert [unit["x"].shape[0] for unit in units] == [4, 4]
    assert "the last 3 rows of 'x' do not fill a batch of 4" in caplog.text
    with pytest.raises(CalibrationError, match="'x' has 3 rows, but the model takes batches of 4"):
        units_of({"x": X[:3]}, conv_net(4))
    with pytest.raises(CalibrationError, match=r"feed 0: input 'x' expects f32\[4,3,8,8\], got shape \[8,3"):
        units_of([{"x": X[:8]}], conv_net(4))


def test_a_scalar_for_each_sample_is_an_array() -> None:
    graph = Graph("net", {"": 17})
    graph.add_output(graph.add("Neg", [graph.add_input("count", tensor(DType.I64, []))]).output)
    units = units_of({"count": np.arange(3)}, graph)
    assert all(isinstance(unit["count"], np.ndarray) for unit in units)  # as ONNX Runtime wants it
    assert [unit["count"].tolist() for unit in units] == [0, 1, 2]


def test_a_stack_of_unbatched_samples() -> None:
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, [3, 8, 8]))
    scale = graph.add_input("scale", tensor(DType.F32, []))
    graph.add_output(graph.add("Mul", [x, scale]).output)
    units = units_of({"x": X, "scale": np.float32(2)}, graph)
    assert [(u["x"].shape, u["scale"].shape) for u in units] == [((3, 8, 8), ())] * 12
