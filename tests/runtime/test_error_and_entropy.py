"""Calibration by squared error and by divergence: what their ranges promise, against plain computations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from taken import binned, taken

from qir.ir.dtypes import DType
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.calibration import CalibrationMethod, Hfmg, Ifmr, Kl, MinMax, Mse, Percentile
from qir.runtime.kernels import fake_quantize
from qir.runtime.statistics import TensorStatistics

ASYMMETRIC = QuantSpec(DType.I8, symmetric=False)
SYMMETRIC = QuantSpec(DType.I8)


def squared_error(data: npt.NDArray[np.float32], params: QuantParams) -> float:
    arrays = params.scale_array(), params.zero_point_array()
    return float(
        np.sum((fake_quantize(data[None], *arrays, params.spec.qtype) - data).astype(np.float64) ** 2)
    )


@pytest.mark.parametrize("qtype", [DType.I4, DType.I8, DType.U8, DType.I16])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_mse_has_less_error_than_every_range_near_its_own(
    qtype: DType, symmetric: bool, shift: float
) -> None:
    data = (np.random.default_rng(5).standard_t(3, 4000) + shift).astype(np.float32)
    spec = QuantSpec(qtype, symmetric)
    data = np.abs(data) if symmetric and qtype is DType.U8 else data
    params = Mse().close(taken(data), spec)
    best = squared_error(data, params)
    qmin, qmax = (q - params.zero_point[0] for q in qtype.integer_range)
    low, high = qmin * params.scale[0], qmax * params.scale[0]
    for part in (0.5, 0.9, 1.1, 2.0):
        for ends in ((low * part, high * part), (low, high * part), (low * part, high)):
            other = MinMax().close(taken([min(ends[0], 0) if low < 0 else 0, ends[1]]), spec)
            assert best <= squared_error(data, other) * 1.01
    assert best <= squared_error(data, MinMax().close(taken(data), spec)) * 1.0001


def test_kl_cuts_rare_outliers_and_keeps_uniform_data() -> None:
    rng = np.random.default_rng(0)
    normal = rng.normal(size=100_000).astype(np.float32)
    rare = np.append(normal, np.float32([60, -70]))
    for spec in (SYMMETRIC, ASYMMETRIC, QuantSpec(DType.U8, False)):
        assert Kl().close(taken(rare), spec).scale[0] < MinMax().close(taken(rare), spec).scale[0] / 3
        # Nothing of the bulk goes: 3 of 4 standard deviations stay.
        assert Kl().close(taken(rare), spec).scale[0] > MinMax().close(taken([-3, 3]), spec).scale[0] * 0.9
        even = rng.uniform(-1, 1, 100_000)
        assert Kl().close(taken(even), spec).scale[0] == pytest.approx(
            MinMax().close(taken(even), spec).scale[0], rel=0.03
        )
    positive = np.abs(rare)
    unsigned = Kl().close(taken(positive), QuantSpec(DType.U8))
    assert unsigned.scale[0] < positive.max() / 255 / 3
    sixteen = QuantSpec(DType.I16)
    assert Kl().close(taken(rare), sixteen) == MinMax().close(taken(rare), sixteen)


def test_kl_is_the_divergence_of_its_definition() -> None:
    """Against a plain computation: magnitudes in bins, tails folded, groups of bins that are not empty."""
    data = np.abs(np.random.default_rng(2).standard_t(3, 30_000)).astype(np.float32)
    bins, levels = 256, 8
    edges = np.linspace(0, float(data.max()), bins + 1)
    counts = np.histogram(data, edges)[0].astype(float)
    divergences = {}
    for end in range(levels, bins + 1):
        inside = counts[:end]
        p, q = inside.copy(), np.zeros(end)
        p[-1] += counts[end:].sum()
        for g in range(levels):
            part = slice(g * end // levels, (g + 1) * end // levels)
            used = inside[part] > 0
            if used.any():
                q[part][used] = inside[part].sum() / used.sum()
        q[-1] = 1e-4 if q[-1] == 0 and p[-1] > 0 else q[-1]
        p, q = p / p.sum(), q / inside.sum()
        divergences[end] = float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0])))
    best = min(divergences, key=lambda end: divergences[end])
    found = Kl(bins, bins + 2).close(binned(data), QuantSpec(DType.I4))
    near = [end for end in divergences if abs(edges[end] / 7 / found.scale[0] - 1) < 1e-3]
    assert len(near) == 1
    assert divergences[near[0]] <= divergences[best] + 1e-4


def test_kl_bins_of_a_typical_sample() -> None:
    """One sample far beyond the others does not coarsen the bins, as many as may be."""
    usual = [np.linspace(-1, 1, 2000) * part for part in (0.9, 1.0, 1.1)]
    assert Kl(200, 300)._bins(taken(*usual, [1000.0])) == 300
    assert Kl(200, 2000)._bins(taken(*usual, [2.1])) == 400
    plain = TensorStatistics()
    plain.update(np.float32([1, 1000]))
    assert Kl(200, 300)._bins(plain) == 200


@pytest.mark.parametrize("method", [MinMax(), Percentile(), Ifmr(), Mse(), Kl(), Hfmg()])
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_sided_data_get_all_levels(method: CalibrationMethod, sign: int) -> None:
    data = sign * np.random.default_rng(5).uniform(0.01, 0.2, 50_000)
    params = method.close(taken(data), ASYMMETRIC)
    assert params.scale[0] == pytest.approx(0.2 / 255, rel=0.02)
    assert params.zero_point[0] == (-128 if sign > 0 else 127)
