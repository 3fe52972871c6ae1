"""Calibration data: every kind of source gives the same canonical units, and every slip is named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_graphs import conv_net, elementwise, images

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError
from qir.ir.graph import Graph
from qir.ir.types import SequenceType, tensor
from qir.runtime.data import CalibrationData, open_data
from qir.runtime.session import Session


def units_of(source: Any, graph: Graph) -> list[dict[str, np.ndarray]]:
    session = Session(graph, threads=1)
    return [unit.feeds for unit in open_data(source, graph).units(session.run)]


def assert_samples(units: list[dict[str, np.ndarray]], x: np.ndarray) -> None:
    assert [unit["x"].shape for unit in units] == [(1, *x.shape[1:])] * len(x)
    assert np.array_equal(np.concatenate([unit["x"] for unit in units]), x)


def two_inputs() -> Graph:
    """ids [B,L] int64 and mask [B,L] float, added up."""
    graph = Graph("net", {"": 17})
    ids = graph.add_input("ids", tensor(DType.I64, ["B", "L"]))
    mask = graph.add_input("mask", tensor(DType.F32, ["B", "L"]))
    cast = graph.add("Cast", [ids], attributes={"to": 1})
    graph.add_output(graph.add("Add", [cast.output, mask], outputs=["y"]).output)
    return graph


X = images(12)


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


def test_a_stack_of_unbatched_samples() -> None:
    graph = Graph("net", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, [3, 8, 8]))
    scale = graph.add_input("scale", tensor(DType.F32, []))
    graph.add_output(graph.add("Mul", [x, scale]).output)
    units = units_of({"x": X, "scale": np.float32(2)}, graph)
    assert [(u["x"].shape, u["scale"].shape) for u in units] == [((3, 8, 8), ())] * 12


BAD: list[tuple[Any, str]] = [
    ([{"images": X}], r"feed 0: 'images' is not an input of the model \(inputs: x\)"),
    ([{"X": X}], r"'X' is not an input of the model"),
    ({"x1": X}, r"'x1' is not an input of the model; did you mean 'x'\?"),
    ([{}], r"feed 0: no data for input 'x' \(given: none\)"),
    ({"labels": X}, r"no data for input 'x' \(given: labels\)"),
    ([{"x": X}, {"x": X[:, :2]}], r"feed 1: input 'x' expects f32\[N,3,8,8\], got shape \[12,2,8,8\]"),
    ([{"x": X[0]}], r"input 'x' expects f32\[N,3,8,8\], got shape \[3,8,8\]"),
    ({"x": X[:, :, 0]}, r"input 'x' expects f32\[N,3,8,8\], got shape \[12,3,8\]"),
    (
        {"x": X.astype(np.float64)},
        r"'x' expects float32, got float64; convert it with \.astype\(np\.float32\)",
    ),
    ([{"x": X.astype(np.uint8)}], r"feed 0: input 'x' expects float32, got uint8"),
    ([{"x": X.tolist()}], r"expects float32, got float64"),
    ([{"x": [[1.0], [1.0, 2.0]]}], r"feed 0: input 'x' is not an array"),
    ([{"x": np.array([object()])}], r"feed 0: input 'x' holds Python objects"),
    ([X], r"feed 0 is a ndarray, expected a dict .* \{'x': array\}"),
    (X, r"feed 0 is a ndarray, expected a dict"),
    ([], r"there are no samples"),
    (iter([]), r"there are no samples"),
    ({"x": X[:0]}, r"input 'x' has no samples"),
    ([{"x": X[:0]}], r"feed 0 has no samples"),
    (3, r"a int holds no samples; give an iterable"),
    (lambda: 3, r"gave a int, expected an iterable"),
    ("missing.npz", r"missing\.npz: there is no such file"),
    (
        "missing",
        r"missing does not exist; expected an \.npz file, a folder of \.npy files, or file\.py:function",
    ),
    ("missing.py:f", r"missing\.py does not exist"),
]


@pytest.mark.parametrize(("source", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_slips(source: Any, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        units_of(source, conv_net())


def test_slips_in_lists_and_arrays_show_before_any_run() -> None:
    for source in ([{"x": X}, {"x": X[:, :2]}], {"x": X[:, :2]}):
        with pytest.raises(CalibrationError):
            open_data(source, conv_net())


def test_different_numbers_of_samples() -> None:
    ids, mask = np.ones((4, 5), np.int64), np.ones((3, 5), np.float32)
    with pytest.raises(CalibrationError, match="different numbers of samples: 'ids' 4, 'mask' 3"):
        open_data({"ids": ids, "mask": mask}, two_inputs())


def test_int32_ids() -> None:
    arrays = {"ids": np.ones((4, 5), np.int32), "mask": np.ones((4, 5), np.float32)}
    with pytest.raises(CalibrationError, match=r"'ids' expects int64, got int32; .*astype\(np\.int64\)"):
        open_data(arrays, two_inputs())


def test_damaged_files(tmp_path: Path, npz: Path) -> None:
    graph = conv_net()
    (tmp_path / "cut.npz").write_bytes(npz.read_bytes()[:2000])
    with pytest.raises(CalibrationError, match=r"cut\.npz is not a readable \.npz file"):
        open_data(tmp_path / "cut.npz", graph)
    flipped = bytearray(npz.read_bytes())
    flipped[4000] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    with pytest.raises(CalibrationError, match=r"flipped\.npz: array 'x\.npy' is damaged"):
        units_of(tmp_path / "flipped.npz", graph)
    np.savez(tmp_path / "pickled.npz", x=np.array([{}], object), allow_pickle=True)
    with pytest.raises(CalibrationError, match="pickled"):
        open_data(tmp_path / "pickled.npz", graph)
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "x.npy").write_bytes(b"no array")
    with pytest.raises(CalibrationError, match=r"x\.npy is not a readable \.npy file"):
        open_data(tmp_path / "f", graph)
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(CalibrationError, match="is no known kind of calibration data"):
        open_data(tmp_path / "text.txt", graph)


def test_unknown_file_in_a_folder(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "labels.npy", np.arange(12))
    assert isinstance(open_data(tmp_path, conv_net()), CalibrationData)
    np.save(tmp_path / "xs.npy", X)
    with pytest.raises(CalibrationError, match="'xs' is not an input of the model; did you mean 'x'"):
        open_data(tmp_path, conv_net())


def test_an_input_that_arrays_cannot_feed() -> None:
    graph = Graph("net", {"": 17})
    graph.add_output(
        graph.add("SequenceLength", [graph.add_input("s", SequenceType(tensor(DType.F32, [2])))]).output
    )
    with pytest.raises(CalibrationError, match=r"input 's' is seq\(f32\[2\]\)"):
        open_data([{"s": [X]}], graph)


def test_an_npz_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "big.npz", x=np.zeros((4096, 3, 8, 8), np.float32))
    sizes: list[int] = []
    read = np.frombuffer

    def watched(data: bytes, dtype: Any) -> np.ndarray:
        sizes.append(len(data))
        return read(data, dtype)

    monkeypatch.setattr(np, "frombuffer", watched)
    data = open_data(tmp_path / "big.npz", conv_net())
    assert sum(1 for _ in data.units(lambda feeds: {})) == 4096
    assert sizes == [3 * 8 * 8 * 4] * 4096
