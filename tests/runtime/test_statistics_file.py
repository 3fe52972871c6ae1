"""Statistics as a file: equal ones are equal bytes, every damage and every mismatch is one clear message."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_graphs import conv_net, images

from qir.ir.errors import CalibrationError, ConfigError
from qir.ir.fingerprint import fingerprint_of
from qir.runtime import statistics as statistics_module
from qir.runtime.collect import Taps, collect
from qir.runtime.data import open_data
from qir.runtime.measured import Measured, Problem, packed
from qir.runtime.statistics import TensorStatistics
from qir.runtime.statistics_file import Statistics

PRINT = fingerprint_of(conv_net())
X = images(12)


def measured(source: object = None) -> Measured:
    graph = conv_net()
    data = open_data({"x": X} if source is None else source, graph)  # type: ignore[arg-type]
    return collect(Taps(graph, tuple(graph.value(n) for n in ("x", "r"))), data)


def taken(source: object = None) -> Statistics:
    return Statistics.of(measured(source), PRINT, None)


def saved(statistics: Statistics, folder: Path) -> bytes:
    statistics.save(folder / "stats.npz")
    return (folder / "stats.npz").read_bytes()


def test_a_file_gives_back_what_was_taken(tmp_path: Path) -> None:
    statistics = taken()
    statistics.save(tmp_path / "stats.npz")
    again = Statistics.load(tmp_path / "stats.npz")
    assert again == statistics
    assert list(again) == ["x", "r"]
    assert again.origin.units == 12
    assert again["r"].sample_ranges[0].tolist() == list(range(12))
    assert saved(again, tmp_path) == saved(statistics, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["stats.npz"]
    with np.load(tmp_path / "stats.npz") as archive:  # a plain .npz to others
        assert archive["0.sample_index.npy".removesuffix(".npy")].size == 12


def test_no_byte_depends_on_batches(tmp_path: Path) -> None:
    feeds = [{"x": X[i : i + 5]} for i in range(0, 12, 5)]
    assert saved(taken(feeds), tmp_path) == saved(taken(), tmp_path)


FLOATS = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.sampled_from([0.0, -0.0, 1e-45, -1e-45, 3.4028234663852886e38, 2.0**-126]),
)


@given(data=st.lists(st.lists(FLOATS, min_size=1, max_size=8), min_size=1, max_size=12), draw=st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("limit", [0, 15, 1 << 15])
def test_no_byte_depends_on_splits_order_and_merges(
    limit: int, data: list[list[float]], draw: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("stats")
    shards = [Measured(["v"]) for _ in range(3)]
    whole = Measured(["v"])
    bad = draw.draw(st.sets(st.integers(0, 11), max_size=2)) if draw.draw(st.booleans()) else set()
    with mock.patch.object(statistics_module, "EXACT_LIMIT", limit):
        for index, values in enumerate(data):
            take(whole, index, values, bad)
        for index in draw.draw(st.permutations(range(len(data)))):
            take(shards[draw.draw(st.integers(0, 2))], index, data[index], bad)
        a, b, c = draw.draw(st.permutations(shards))
        merged = (
            Measured.merge(a, Measured.merge(b, c))
            if draw.draw(st.booleans())
            else Measured.merge(Measured.merge(c, a), b)
        )
        expected = saved(Statistics.of(whole, PRINT, None), folder)
        assert saved(Statistics.of(merged, PRINT, None), folder) == expected
        assert saved(Statistics.load(folder / "stats.npz"), folder) == expected


def take(state: Measured, index: int, values: list[float], bad: set[int]) -> None:
    state.units += 1
    if index in bad:
        state.note("v", Problem(index, f"sample {index} is bad"))
    if "v" in state.tensors:
        state.tensors["v"].update(np.float32(values), sample=index)


def test_counts_are_stored_as_narrow_as_they_are() -> None:
    with mock.patch.object(statistics_module, "EXACT_LIMIT", 0):
        statistics = TensorStatistics()
        statistics.update(np.repeat(np.float32([1, 2]), [255, 3]))
        assert packed(statistics)["counts"].dtype == np.uint8
        statistics.update(np.float32([1]))
        assert packed(statistics)["counts"].dtype == np.uint16
        assert TensorStatistics.from_arrays(packed(statistics)) == statistics


def test_what_is_not_there() -> None:
    found = measured()
    found.note("r", Problem(3, "sample 3: tensor 'r' is not finite"))
    statistics = Statistics.of(found, PRINT, None)
    with pytest.raises(CalibrationError, match="the statistics: sample 3: tensor 'r' is not finite"):
        statistics["r"]
    expected = r"nothing about tensor 'xx'; did you mean 'x'.*qir calibrate`, the same --target"
    with pytest.raises(CalibrationError, match=expected):
        statistics["xx"]
    assert "r" not in statistics


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_file_that_was_cut_off(keep: float, tmp_path: Path) -> None:
    content, path = saved(taken(), tmp_path), tmp_path / "stats.npz"
    path.write_bytes(content[: int(keep if keep >= 1 else keep * len(content))])
    with pytest.raises(CalibrationError, match=r"stats.npz' is no file of statistics, or is damaged"):
        Statistics.load(path)


def test_a_file_with_other_bits(tmp_path: Path) -> None:
    content, path = bytearray(saved(taken(), tmp_path)), tmp_path / "stats.npz"
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CalibrationError, match="damaged"):
        Statistics.load(path)


def test_other_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=X)
    with pytest.raises(CalibrationError, match=r"holds no statistics.*data go to --data"):
        Statistics.load(tmp_path / "data.npz")
    with pytest.raises(CalibrationError, match="does not exist"):
        Statistics.load(tmp_path / "none.npz")
    with pytest.raises(CalibrationError, match="is a folder"):
        Statistics.load(tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        taken().save(tmp_path / "no" / "stats.npz")


def rewritten(path: Path, **changes: object) -> None:
    """Change the description in a file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["qir.json"] = json.dumps(json.loads(members["qir.json"]) | changes).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_other_formats_and_versions(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    taken().save(path)
    rewritten(path, format=99, qir="7.0")
    with pytest.raises(CalibrationError, match=r"has format 99 of statistics \(qir 7.0\), this qir reads 1"):
        Statistics.load(path)
    rewritten(path, format=1)
    loaded = Statistics.load(path)
    with pytest.raises(CalibrationError, match=r"are of another model \(they are by qir 7.0\): "):
        loaded.check(fingerprint_of(conv_net(seed=1)), None)
    rewritten(path, tensors=["x", "r", "more"])
    with pytest.raises(CalibrationError, match="damaged"):
        Statistics.load(path)


def test_statistics_of_another_model_say_what_differs() -> None:
    statistics = taken()
    statistics.check(fingerprint_of(conv_net()), None)
    with pytest.raises(CalibrationError, match="constants of 'conv1', 'conv2' have changed; take them again"):
        statistics.check(fingerprint_of(conv_net(seed=1)), None)
    with pytest.raises(CalibrationError, match=r"input 'x' was f32\[N,3,8,8\] and is f32\[2,3,8,8\]"):
        statistics.check(fingerprint_of(conv_net(batch=2)), None)


def test_quantized_weights_are_compared() -> None:
    floats, four = taken(), {"conv1": "i4<axis=0>", "conv2": "i8<axis=0>"}
    quantized = Statistics.of(measured(), PRINT, four)
    quantized.check(PRINT, dict(four))
    with pytest.raises(CalibrationError, match=r"taken with float weights, but .* weights=quantized"):
        floats.check(PRINT, four)
    with pytest.raises(CalibrationError, match=r"taken with weights=quantized, but .* float weights"):
        quantized.check(PRINT, None)
    with pytest.raises(CalibrationError, match="quantized weights: 'conv1' was i4<axis=0>, is i8; take"):
        quantized.check(PRINT, four | {"conv1": "i8"})
    with pytest.raises(CalibrationError, match="'conv2' was i8<axis=0>, is float"):
        quantized.check(PRINT, {"conv1": "i4<axis=0>"})
