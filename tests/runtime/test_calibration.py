"""Calibration methods: AMCT's golden vectors, the arithmetic of ranges and of IFMR, and errors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taken import binned, taken

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError, ConfigError
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.calibration import (
    METHODS,
    CalibrationMethod,
    Hfmg,
    Ifmr,
    Kl,
    MinMax,
    MovingAverage,
    Mse,
    Percentile,
    Registry,
    hfmg_exact,
    ifmr_exact,
    method_named,
)
from qir.runtime.calibration.ifmr import search_ratios
from qir.runtime.kernels import fake_quantize
from qir.runtime.scales import FLT_EPSILON, in_float16, is_lost
from qir.runtime.statistics import TensorStatistics

GOLDEN = Path(__file__).parents[1] / "data" / "amct"
VECTORS = np.load(GOLDEN / "vectors.npz")
ALL_CASES = json.loads((GOLDEN / "vectors.json").read_text())
CASES, HFMG_CASES = ([c for c in ALL_CASES if c["algo"] == kind] for kind in ("ifmr", "hfmg"))
METHODS_TO_TRY = (MinMax(), MovingAverage(), Percentile(0.9), Ifmr(), Mse(), Kl(), Hfmg(1024))
ASYMMETRIC = QuantSpec(DType.I8, symmetric=False)
SYMMETRIC = QuantSpec(DType.I8)


def golden(case: dict[str, object]) -> tuple[npt.NDArray[np.float32], QuantParams]:
    spec = QuantSpec({8: DType.I8, 16: DType.I16}[int(str(case["bits"]))], symmetric=not case["with_offset"])
    return VECTORS[f"ifmr_{case['case']}"], QuantParams.of(spec, case["scale"], case["offset"])


def test_ifmr_equals_amct_on_every_golden_vector() -> None:
    assert len(CASES) == 20
    for case in CASES:
        data, expected = golden(case)
        assert ifmr_exact(data, expected.spec) == expected, case
        assert Ifmr().close(taken(data[:77], data[77:]), expected.spec) == expected, case


def test_ifmr_on_histograms_picks_the_golden_candidates() -> None:
    for case in CASES:
        data, expected = golden(case)
        statistics = binned(data[:500], data[500:])
        assert statistics.values is None
        assert Ifmr().close(statistics, expected.spec) == expected, case


def test_hfmg_equals_amct_on_every_golden_vector() -> None:
    assert len(HFMG_CASES) == 16
    for case in HFMG_CASES:
        data = VECTORS[str(case["case"]).split()[0]]
        spec = QuantSpec(DType.I8, symmetric=not case["with_offset"])
        expected = QuantParams.of(spec, case["scale"], case["offset"])
        method = Hfmg(int(case["nbins"]))
        assert hfmg_exact(np.split(data, 2), spec, method) == expected, case
        raw = TensorStatistics(raw=True)
        for index in (1, 0):
            raw.update(np.split(data, 2)[index], sample=index)
        assert method.close(raw, spec) == expected, case
        assert method.close(binned(*np.split(data, 4)), spec) == expected, case


def test_ratios_are_those_of_torch_arange() -> None:
    ratios = search_ratios(0.7, 1.3, 0.01)
    assert ratios.dtype == np.float32
    assert ratios.size == 60
    assert ratios[30] == 1
    # Specification M: r[8j+k] = f32(f64(f32(0.7 + 8*j*0.01)) + k*0.01), not f32(0.7 + i*0.01).
    assert ratios[59] == np.float32(float(np.float32(0.7 + 56 * 0.01)) + 3 * 0.01)
    assert search_ratios(0.5, 0.6, 0.2).tolist() == [0.5]


def test_first_of_equal_candidates_wins() -> None:
    """Data of nothing but -1 and 0: the moving end, zero, changes nothing."""
    assert ifmr_exact(np.float32([-1, 0]), ASYMMETRIC) == QuantParams.of(ASYMMETRIC, np.float32(1) / 255, 127)


@pytest.mark.parametrize("close", [ifmr_exact, lambda d, s: Ifmr().close(binned(d), s)])
@pytest.mark.parametrize("seed", range(4))
def test_ifmr_has_the_least_error_among_its_candidates(close: object, seed: int) -> None:
    """Checked with the fake-quantization of the kernels, which the loss is to predict."""
    data = np.random.default_rng(seed).standard_t(4, 3000).astype(np.float32)
    assert callable(close)
    best = close(data, SYMMETRIC)
    errors = []
    for ratio in search_ratios(0.7, 1.3, 0.01):
        scale = ratio * np.abs(data).max() / np.float32(127 if data.max() > -data.min() else 128)
        fake = fake_quantize(data[None], np.asarray([scale]), np.asarray([0]), DType.I8)[0]
        errors.append(float(np.sum((fake - data).astype(np.float64) ** 2)))
    fake = fake_quantize(data[None], best.scale_array(), best.zero_point_array(), DType.I8)[0]
    assert float(np.sum((fake - data).astype(np.float64) ** 2)) <= min(errors) * 1.002


def test_percentiles_cut_outliers_before_the_search() -> None:
    data = np.append(np.random.default_rng(0).uniform(-1, 1, 9999), 1000).astype(np.float32)
    cut = Ifmr(max_percentile=0.999, min_percentile=0.999)
    for statistics in (taken(data), binned(data)):
        assert cut.close(statistics, ASYMMETRIC).scale[0] < 0.02
        assert Ifmr().close(statistics, ASYMMETRIC).scale[0] > 2


@pytest.mark.parametrize(
    ("low", "high", "spec", "scale", "zero"),
    [
        (-1.0, 3.0, ASYMMETRIC, np.float32(4) / np.float32(255), -64),
        (2.0, 3.0, ASYMMETRIC, np.float32(3) / np.float32(255), -128),
        (-3.0, -2.0, ASYMMETRIC, np.float32(3) / np.float32(255), 127),
        (-1.0, 3.0, SYMMETRIC, np.float32(3) / np.float32(127), 0),
        (-3.0, 1.0, SYMMETRIC, np.float32(3) / np.float32(128), 0),
        (-3.0, 3.0, SYMMETRIC, np.float32(3) / np.float32(127), 0),
        (-1.0, 3.0, QuantSpec(DType.U8, False), np.float32(4) / np.float32(255), 64),
        (0.0, 3.0, QuantSpec(DType.U8), np.float32(3) / np.float32(255), 0),
        (-1.0, 3.0, QuantSpec(DType.I16, False), np.float32(4) / np.float32(65535), -16384),
        (-3.0, 1.0, QuantSpec(DType.I4), np.float32(3) / np.float32(8), 0),
        (0.0, 0.0, ASYMMETRIC, 1, -128),
        (0.0, 0.0, SYMMETRIC, 1, 0),
        (-1e-9, 1e-9, ASYMMETRIC, 1, -128),
        (0.0, 0.0, QuantSpec(DType.U8, False), 1, 0),
    ],
)
def test_scale_of_a_range(low: float, high: float, spec: QuantSpec, scale: float, zero: int) -> None:
    assert MinMax().close(taken([low, high]), spec) == QuantParams.of(spec, scale, zero)


@pytest.mark.parametrize("method", METHODS_TO_TRY)
@pytest.mark.parametrize("value", [0.0, 2.5, -2.5, 1e-30])
def test_constant_tensors(method: CalibrationMethod, value: float) -> None:
    """A constant is representable whatever the method, the bins or their number."""
    for statistics in (taken([value] * 9), binned([value] * 9)):
        for spec in (ASYMMETRIC, SYMMETRIC):
            params = method.close(statistics, spec)
            fake = fake_quantize(
                np.float32([[value]]), params.scale_array(), params.zero_point_array(), spec.qtype
            )
            assert fake[0, 0] == pytest.approx(value, rel=0.01, abs=float(FLT_EPSILON))


def test_percentile_takes_the_kth_of_all_data() -> None:
    data = np.random.default_rng(3).permutation(np.arange(-500, 1500)).astype(np.float32)
    # k = 2000 - int(0.99 * 2000) = 20, on either side.
    expected = MinMax().close(taken([-500 + 19, 1499 - 19]), ASYMMETRIC)
    assert Percentile(0.99).close(taken(*np.split(data, 8)), ASYMMETRIC) == expected
    near = Percentile(0.99).close(binned(*np.split(data, 8)), ASYMMETRIC)
    assert near.scale[0] == pytest.approx(expected.scale[0], rel=1e-4)
    assert Percentile(1.0).close(taken(data), ASYMMETRIC) == MinMax().close(taken(data), ASYMMETRIC)


@given(
    data=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40),
    symmetric=st.booleans(),
    qtype=st.sampled_from([DType.I4, DType.I8, DType.U8, DType.I16]),
)
@settings(max_examples=60, deadline=None)
def test_zero_is_represented_exactly_and_the_zero_point_is_in_range(
    data: list[float], symmetric: bool, qtype: DType
) -> None:
    spec = QuantSpec(qtype, symmetric=symmetric)
    if symmetric and qtype is DType.U8:
        data = [abs(v) for v in data]
    for method in METHODS_TO_TRY:
        params = method.close(taken(data), spec)
        qmin, qmax = qtype.integer_range
        assert qmin <= params.zero_point[0] <= qmax
        assert params.scale[0] >= FLT_EPSILON
        arrays = params.scale_array(), params.zero_point_array()
        assert fake_quantize(np.zeros((1, 1), np.float32), *arrays, qtype)[0, 0] == 0


def test_float_types_close_without_scale() -> None:
    for method in METHODS_TO_TRY:
        assert method.close(TensorStatistics(), QuantSpec(DType.F16)) == QuantParams(QuantSpec(DType.F16))
    assert ifmr_exact(np.float32([1]), QuantSpec(DType.F16)) == QuantParams(QuantSpec(DType.F16))


def test_methods_are_found_by_name() -> None:
    assert [type(method_named(n)) for n in METHODS] == list(METHODS.values())
    assert [METHODS.name_of(m) for m in METHODS_TO_TRY] == [
        "min-max", "moving-average", "percentile", "ifmr", "mse", "kl", "hfmg",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"unknown calibration method 'iffmr'; did you mean 'ifmr'\?"):
        method_named("iffmr")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Ifmr().start = 0.5  # type: ignore[misc]


def test_errors_say_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"percentile must be a fraction .* for 99.9 % write 0.999"):
        Percentile(99.9)
    with pytest.raises(ConfigError, match=r"max_percentile must be a fraction above 0\.5"):
        Ifmr(max_percentile=0.1)
    with pytest.raises(ConfigError, match=r"0 < start < end"):
        Ifmr(start=1.3, end=0.7)
    with pytest.raises(ConfigError, match="per tensor, but the spec has channel axis 1"):
        MinMax().close(taken([1]), QuantSpec(DType.I8, axis=1))
    with pytest.raises(CalibrationError, match=r"symmetric u8 cannot hold negative values .*-2\.0"):
        MinMax().close(taken([-2, 1]), QuantSpec(DType.U8))
    with pytest.raises(CalibrationError, match="which float32 cannot use"):
        MinMax().close(taken([-3e38, 3e38]), ASYMMETRIC)
    for statistics in (taken([-3e38, 1e38]), binned([-3e38, 1e38])):
        with pytest.raises(CalibrationError, match="overflows float32 when squared"):
            Ifmr().close(statistics, SYMMETRIC)
    with pytest.raises(CalibrationError, match="1 of 2 values are NaN"):
        ifmr_exact(np.float32([1, np.nan]), SYMMETRIC)
    with pytest.raises(CalibrationError, match="no calibration data"):
        ifmr_exact(np.float32([]), SYMMETRIC)
    for method in METHODS_TO_TRY:
        with pytest.raises(CalibrationError, match="no calibration data"):
            method.close(TensorStatistics(), SYMMETRIC)


def test_scales_in_float16() -> None:
    scale = np.float32([0.024215253, 2**-14, 65504, 1e-6, 1e6])
    found = in_float16(scale)
    assert found.dtype == np.float32
    assert found[:3].tolist() == [np.float32(np.float16(0.024215253)), 2**-14, 65504]
    # Outside of the normal range: the square of a float16 number, as near as their squares are.
    roots = np.sqrt(found[3:].astype(np.float64))
    assert roots.tolist() == np.float16(roots).tolist()
    assert found[3:] == pytest.approx(scale[3:], rel=1e-3)


def test_data_are_lost_that_are_too_small_for_a_scale() -> None:
    """A scale of 1 stands for none, but is also that of data up to 127."""
    one = QuantParams.of(SYMMETRIC, 1.0, 0)
    assert is_lost(one, 1e-8)
    assert not is_lost(one, 127.0)
    assert not is_lost(one, 0.0)
    assert not is_lost(QuantParams.of(SYMMETRIC, 0.001, 0), 0.1)


def test_a_registry_takes_every_name_once_and_methods_only() -> None:
    registry = Registry()
    registry.register("whole")(MinMax)
    assert registry.named("whole") == MinMax()
    with pytest.raises(ConfigError, match=r"'whole' is registered already, by .*MinMax; choose another name"):
        registry.register("whole")(Percentile)
    with pytest.raises(ConfigError, match=r"@dataclass\(frozen=True\) with a method close"):
        registry.register("other")(Registry)  # type: ignore[type-var]
    with pytest.raises(ConfigError, match="Ifmr is no registered calibration method"):
        registry.name_of(Ifmr())
    assert list(registry) == ["whole"]


def test_moving_average_follows_the_samples_in_their_order() -> None:
    samples = [[-1.0, 2.0], [-3.0, 1.0], [0.5, 9.0]]
    # Minimum: -1, then -1 - 0.5 * 2 = -2, then -2 + 0.5 * 2.5; maximum: 2, 1.5, 5.25.
    expected = MinMax().close(taken([-0.75, 5.25]), ASYMMETRIC)
    assert MovingAverage(0.5).close(taken(*samples), ASYMMETRIC) == expected
    assert MovingAverage(0.5).close(taken(*samples[::-1]), ASYMMETRIC) != expected
    shuffled = TensorStatistics()
    for index in (2, 0, 1):
        shuffled.update(np.float32(samples[index]), sample=index)
    assert MovingAverage(0.5).close(shuffled, ASYMMETRIC) == expected
    unknown = TensorStatistics()
    unknown.update(np.float32([1]))
    with pytest.raises(CalibrationError, match="no ranges of single samples"):
        MovingAverage().close(unknown, ASYMMETRIC)
    with pytest.raises(ConfigError, match="averaging_constant must be above 0"):
        MovingAverage(0)


def test_options_of_methods_are_checked() -> None:
    for wrong, message in (
        (lambda: Kl(num_bin=100), "num-bin of at least 129, not 100"),
        (lambda: Kl(max_num_bin=200), "max-num-bin of at least 258"),
        (lambda: Kl(1024, 512), "max-num-bin of at least num-bin"),
        (lambda: Hfmg(1000), "bins of 1024, 2048, 4096, 8192, not 1000"),
        (lambda: Hfmg(batch_size=0), "batch-size of at least 1"),
        (lambda: Mse(0), "candidates of at least 1, not 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            wrong()


def test_raw_values_make_methods_exact_and_come_in_batches_of_samples() -> None:
    data = np.random.default_rng(1).normal(size=60_000).astype(np.float32)
    parts = np.split(data, 6)
    halves = [TensorStatistics(raw=True), TensorStatistics(raw=True)]
    for index in (5, 0, 3, 1, 4, 2):
        halves[index % 2].update(parts[index], sample=index)
    raw = TensorStatistics.merge(*halves)
    assert raw == taken(*parts)
    for spec in (SYMMETRIC, ASYMMETRIC, QuantSpec(DType.I16)):
        assert Ifmr().close(raw, spec) == ifmr_exact(data, spec)
        assert Hfmg(1024, 4).close(raw, spec) == hfmg_exact([data[:40_000], data[40_000:]], spec, Hfmg(1024))
    assert raw.nth_largest(100) == float(np.sort(data)[-100])
    assert taken(*parts).batches(2) is None
    assert TensorStatistics.merge(raw, TensorStatistics()).batches(1) is None
