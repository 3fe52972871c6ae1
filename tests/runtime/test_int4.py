"""INT4 weights packed in pairs."""

from __future__ import annotations

import numpy as np
import pytest

from qir.runtime.int4 import pack_int4, unpack_int4


def test_the_even_index_is_the_low_nibble() -> None:
    packed = pack_int4(np.int8([[1, -8, 7, -1]]), 1)
    assert packed.dtype == np.int8
    assert packed.view(np.uint8).tolist() == [[0x81, 0xF7]]
    assert pack_int4(np.int8([[1], [-8]]), 0).view(np.uint8).tolist() == [[0x81]]


@pytest.mark.parametrize(("shape", "axis"), [((3, 4, 2, 5), 1), ((4, 3), 0), ((2, 2, 6), 2), ((0, 2), 1)])
def test_unpacking_gives_the_integers_back(shape: tuple[int, ...], axis: int) -> None:
    integers = np.random.default_rng(0).integers(-8, 8, shape).astype(np.int8)
    packed = pack_int4(integers, axis)
    assert packed.size == integers.size // 2
    assert packed.shape[axis] == shape[axis] // 2
    found = unpack_int4(packed, axis)
    assert np.array_equal(found, integers)
    assert found.dtype == np.int8


def test_odd_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"axis 1 of shape \[2, 3\] is odd"):
        pack_int4(np.zeros((2, 3), np.int8), 1)
