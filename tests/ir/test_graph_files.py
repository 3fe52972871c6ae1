"""Graphs as files: `.qir` text with its `.npz` of large constants."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qir.ir.compare import difference
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, ModelError, ParseError
from qir.ir.files import data_path, load_graph, save_graph
from qir.ir.graph import Graph
from qir.ir.types import QuantParams, QuantSpec, SequenceType, TensorType, tensor

ARRAYS = {
    "w": np.arange(60, dtype=np.float32).reshape(3, 4, 5),
    "columns": np.asfortranarray(np.arange(60.0).reshape(6, 10)),
    "strided": np.arange(100, dtype=np.int16)[::2],
    "bools": np.arange(9) > 4,
    "complex": np.array(1 + 2j, np.complex64),
    "no_complex": np.zeros((0, 3), np.complex128),
    "half": np.linspace(0, 1, 11).astype(np.float16),
    "words": np.array(["a", "é"] * 10),
}


def example() -> Graph:
    graph = Graph("n")
    x = graph.add_input("x", tensor(DType.F32, [6]))
    for name, array in ARRAYS.items():
        graph.constant(array, name)
    graph.constant(ARRAYS["w"].copy(), "same_data")
    bits = np.arange(60, dtype=np.uint8)
    graph.constant(Constant(DType.BF16, (5, 6), bits), "opaque")
    graph.constant(Constant(DType.I4, (9, 13), np.arange(59, dtype=np.uint8)), "nibbles")
    spec = QuantSpec(DType.I8, symmetric=False, axis=0)
    params = QuantParams.of(spec, np.linspace(0.1, 0.7, 6), np.arange(6))
    graph.add("quant", [x], domain="qir", types=[TensorType(DType.F32, (6,), params)])
    inner = Graph("inner", parent=graph)
    inner.constant(np.arange(20), "inside")
    held = Constant.of(np.arange(30))
    wide = TensorType(DType.F32, (5,), QuantParams.of(QuantSpec(DType.I8, axis=0), np.arange(1, 6)))
    attributes = {
        "body": inner,
        "one": held,
        "many": (held, Constant.of(np.arange(9))),
        "kind": SequenceType(wide),
    }
    graph.add("Op", [x], attributes=attributes)
    return graph


def test_everything_comes_back(tmp_path: Path) -> None:
    graph, path = example(), tmp_path / "net.qir"
    save_graph(graph, path)
    back = load_graph(path)
    assert difference(graph, back) is None
    for name in ARRAYS:
        constant = back.value(name).constant
        assert constant == graph.value(name).constant
        if name != "words":
            np.testing.assert_array_equal(constant.array, ARRAYS[name])
    assert back.value("same_data").constant is back.value("w").constant


def test_data_are_mapped_aligned_and_read_only(tmp_path: Path) -> None:
    save_graph(example(), tmp_path / "net.qir")
    back = load_graph(tmp_path / "net.qir")
    array = back.value("w").constant.array
    assert array.ctypes.data % 64 == 0
    assert not array.flags.writeable
    base = array
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    assert type(base).__name__ == "mmap", "no copy stands between the file and the constant"


def test_the_npz_is_one_of_numpy(tmp_path: Path) -> None:
    save_graph(example(), tmp_path / "net.qir")
    digest = Constant.of(ARRAYS["w"]).digest
    with np.load(tmp_path / "net.qir.npz") as file:
        np.testing.assert_array_equal(file[digest], ARRAYS["w"])
        opaque = [name for name in file.files if "-bf16-5x6" in name]
        assert [file[name].dtype for name in opaque] == [np.uint8]
        assert sum(name.startswith(digest) for name in file.files) == 1, "equal data are stored once"


def test_the_same_graph_gives_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "a.qir", tmp_path / "b.qir"]
    save_graph(example(), paths[0])
    os.utime(data_path(paths[0]), (0, 0))
    save_graph(example().clone(), paths[1])
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert data_path(paths[0]).read_bytes() == data_path(paths[1]).read_bytes()
    with zipfile.ZipFile(data_path(paths[0])) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.namelist() == sorted(archive.namelist())
    save_graph(load_graph(paths[0]), paths[0])  # onto the file that it is mapped from
    assert data_path(paths[0]).read_bytes() == data_path(paths[1]).read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["a.qir", "a.qir.npz", "b.qir", "b.qir.npz"]


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/ir'); from test_graph_files import example;"
        "from qir.ir import save_graph; save_graph(example(), sys.argv[1])"
    )
    root = Path(__file__).parents[2]
    for seed in "12":
        command = [sys.executable, "-c", code, str(tmp_path / f"{seed}.qir")]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        subprocess.run(command, check=True, cwd=root, env=environment)
    assert (tmp_path / "1.qir").read_bytes() == (tmp_path / "2.qir").read_bytes()
    assert (tmp_path / "1.qir.npz").read_bytes() == (tmp_path / "2.qir.npz").read_bytes()


def test_an_npz_that_is_not_needed_goes_away(tmp_path: Path) -> None:
    path = tmp_path / "net.qir"
    save_graph(example(), path)
    small = Graph("small")
    small.constant(np.arange(3), "c")
    save_graph(small, path, header="RUN: qir-opt net.qir\nsecond line")
    assert not data_path(path).exists()
    assert path.read_text().startswith("// RUN: qir-opt net.qir\n// second line\ngraph @small() {\n")
    assert difference(small, load_graph(path)) is None


@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "head", "flipped", "text", "other"])
def test_a_damaged_npz_is_a_clear_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "net.qir"
    save_graph(example(), path)
    beside = data_path(path)
    data = bytearray(beside.read_bytes())
    if damage == "missing":
        beside.unlink()
    elif damage == "other":
        np.savez(beside, a=np.zeros(3))
    elif damage == "flipped":
        data[data.index(ARRAYS["w"].tobytes()) + 9] ^= 1
        beside.write_bytes(data)
    else:
        beside.write_bytes({"empty": b"", "cut": data[:-40], "head": data[100:], "text": b"no zip"}[damage])
    with pytest.raises((ModelError, ParseError)) as caught:
        load_graph(path)
    assert "net.qir" in str(caught.value)
    expected = {
        "missing": "the .npz file beside the text is missing or does not fit it",
        "flipped": "they were changed",
        "other": "'a.npy' in it is not named after a digest",
    }
    assert expected.get(damage, "write it again with its .qir file") in str(caught.value)


def test_an_npz_of_another_graph_does_not_fit(tmp_path: Path) -> None:
    for name, seed in (("a.qir", 0), ("b.qir", 1)):
        graph = Graph()
        graph.constant(np.random.default_rng(seed).normal(size=20), "w")
        save_graph(graph, tmp_path / name)
    data_path(tmp_path / "b.qir").replace(data_path(tmp_path / "a.qir"))
    with pytest.raises(
        ParseError, match=r"a\.qir:2:14: there are no data for #\w+: the \.npz file .* not fit it"
    ):
        load_graph(tmp_path / "a.qir")


def test_a_compressed_npz_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "net.qir"
    save_graph(example(), path)
    with np.load(data_path(path)) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez_compressed(data_path(path), **arrays)
    assert difference(example(), load_graph(path)) is None


def test_what_is_no_qir_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nothing\.qir' cannot be read: No such file"):
        load_graph(tmp_path / "nothing.qir")
    (tmp_path / "binary.qir").write_bytes(b"\x08\x07\xff\xfe")
    with pytest.raises(ModelError, match=r"is not a \.qir file"):
        load_graph(tmp_path / "binary.qir")
    with pytest.raises(ModelError, match="cannot be read"):
        load_graph(tmp_path)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        save_graph(example(), tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        save_graph(example(), tmp_path / "no" / "net.qir")


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.qir"
    save_graph(example(), path)
    before = path.read_bytes(), data_path(path).read_bytes()
    changed = example()
    changed.constant(np.arange(50.0), "more")

    def fail(graph: Graph) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qir.ir.files.print_graph", fail)
    with pytest.raises(ConfigError, match=r"net\.qir(\.npz)?' cannot be written: No space left on device"):
        save_graph(changed, path)
    assert (path.read_bytes(), data_path(path).read_bytes()) == before
    assert sorted(os.listdir(tmp_path)) == ["net.qir", "net.qir.npz"]
