"""Pooling by Caffe's loops, and convolutions against OpenCV, over many kernels, strides and paddings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from caffe_build import Array, net, read, run, run_opencv
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from qir.ir.errors import ModelError


class Window(NamedTuple):
    length: int
    kernel: int
    stride: int
    pad: int


SPATIAL = st.builds(Window, st.integers(3, 11), st.integers(1, 5), st.integers(1, 4), st.integers(0, 4))


def pooling(parameters: str, tops: str = 'top: "y"') -> str:
    return f'layer {{ name: "l" type: "Pooling" bottom: "x" {tops} pooling_param {{ {parameters} }} }}'


def pooled_length(window: Window, padded: bool, down: bool) -> int:
    """PoolingLayer::Reshape."""
    room = window.length + 2 * window.pad - window.kernel
    count = (room // window.stride if down else -(-room // window.stride)) + 1
    if padded and (count - 1) * window.stride >= window.length + window.pad:
        count -= 1
    return count


def pooled(x: Array, rows: Window, columns: Window, average: bool, down: bool) -> Array:
    """PoolingLayer::Forward_cpu."""
    padded = bool(rows.pad or columns.pad)
    sizes = [pooled_length(w, padded, down) for w in (rows, columns)]
    found = np.empty((*x.shape[:2], *sizes), np.float32)
    for i, j in np.ndindex(*sizes):
        begin = [k * w.stride - w.pad for k, w in zip((i, j), (rows, columns), strict=True)]
        end = [min(b + w.kernel, w.length + w.pad) for b, w in zip(begin, (rows, columns), strict=True)]
        area = (end[0] - begin[0]) * (end[1] - begin[1])
        part = x[
            :, :, max(begin[0], 0) : min(end[0], rows.length), max(begin[1], 0) : min(end[1], columns.length)
        ]
        found[:, :, i, j] = part.sum((2, 3)) / area if average else part.max((2, 3))
    return found


@settings(max_examples=150, deadline=None)
@given(SPATIAL, SPATIAL, st.booleans(), st.sampled_from(["", "round_mode: FLOOR", "ceil_mode: false"]))
def test_pooling_by_caffes_loops(rows: Window, columns: Window, average: bool, rounding: str) -> None:
    assume(all(w.pad < w.kernel <= w.length + 2 * w.pad for w in (rows, columns)))
    padded = bool(rows.pad or columns.pad)
    for w in (rows, columns):
        last = (pooled_length(w, padded, bool(rounding)) - 1) * w.stride
        assume(last < w.length + w.pad)  # an empty window: Caffe reads beyond the data, qir refuses
        assume(last - w.pad < w.length)  # a window on padding alone: no maximum
    x = np.random.default_rng(0).normal(size=(1, 2, rows.length, columns.length)).astype(np.float32)
    text = pooling(
        f"pool: {'AVE' if average else 'MAX'} kernel_h: {rows.kernel} kernel_w: {columns.kernel}"
        f" stride_h: {rows.stride} stride_w: {columns.stride} {rounding}"
        f" pad_h: {rows.pad} pad_w: {columns.pad}"
    )
    found = run(read(net({"x": x.shape}, text)), {"x": x})["y"]
    expected = pooled(x, rows, columns, average, bool(rounding))
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_average_counts_stated_padding_but_not_what_rounding_adds() -> None:
    x = np.ones((1, 1, 4, 4), np.float32)
    text = pooling("pool: AVE kernel_size: 3 stride: 3 pad: 1")
    found = run(read(net({"x": x.shape}, text)), {"x": x})["y"]
    assert found.shape == (1, 1, 2, 2)
    np.testing.assert_allclose(found[0, 0], [[4 / 9, 4 / 9], [4 / 9, 4 / 9]])
    text = text.replace("kernel_size: 3 stride: 3 pad: 1", "kernel_size: 3 stride: 2")
    found = run(read(net({"x": x.shape}, text)), {"x": x})["y"]
    assert found.shape == (1, 1, 2, 2)
    np.testing.assert_allclose(found, 1)


def test_window_behind_the_data_is_refused() -> None:
    text = pooling("kernel_size: 1 stride: 4")
    with pytest.raises(ModelError, match="last window that lies behind"):
        read(net({"x": (1, 1, 6, 6)}, text))


def test_mask_says_where_each_maximum_stands_in_its_channel() -> None:
    x = np.random.default_rng(0).permutation(2 * 3 * 25).reshape(2, 3, 5, 5).astype(np.float32)
    text = pooling("kernel_size: 2 stride: 2", 'top: "y" top: "mask"')
    found = run(read(net({"x": x.shape}, text)), {"x": x})
    places = found["mask"].astype(int).reshape(2, 3, -1)
    np.testing.assert_array_equal(
        np.take_along_axis(x.reshape(2, 3, -1), places, 2), found["y"].reshape(2, 3, -1)
    )


@settings(max_examples=60, deadline=None)
@given(SPATIAL, SPATIAL, st.integers(1, 3), st.sampled_from([1, 2, 4]), st.booleans(), st.booleans())
def test_convolutions_against_opencv(
    rows: Window, columns: Window, dilation: int, group: int, bias: bool, transposed: bool
) -> None:
    reach = [dilation * (w.kernel - 1) + 1 for w in (rows, columns)]
    dilation = 1 if transposed else dilation  # OpenCV does not dilate a Deconvolution
    if transposed:
        reach = [rows.kernel, columns.kernel]
        sizes = [w.stride * (w.length - 1) + w.kernel - 2 * w.pad for w in (rows, columns)]
        assume(min(sizes) > 0 and all(w.pad < w.kernel for w in (rows, columns)))
    assume(all(r <= w.length + 2 * w.pad for r, w in zip(reach, (rows, columns), strict=True)))
    # OpenCV 4.14 pads dilated depthwise convolutions wrongly, as a sum by hand shows.
    assume(group < 4 or dilation == 1 or transposed or rows.pad == columns.pad == 0)
    random = np.random.default_rng(0)
    x = random.normal(size=(1, 4, rows.length, columns.length)).astype(np.float32)
    weights = [random.normal(size=(4, 8 // group if transposed else 4 // group, rows.kernel, columns.kernel))]
    outputs = 8 if transposed else 4
    weights += [random.normal(size=outputs)] if bias else []
    text = (
        f'layer {{ name: "l" type: "{"Deconvolution" if transposed else "Convolution"}" bottom: "x" top: "y"'
        f" convolution_param {{ num_output: {outputs} kernel_h: {rows.kernel} kernel_w: {columns.kernel}"
        f" stride_h: {rows.stride} stride_w: {columns.stride} pad_h: {rows.pad} pad_w: {columns.pad}"
        f" dilation: {dilation} group: {group} bias_term: {str(bias).lower()} }} }}"
    )
    full = net({"x": x.shape}, text)
    held = {"l": [w.astype(np.float32) for w in weights]}
    expected = run_opencv(full, held, {"x": x})[0]
    found = run(read(full, held), {"x": x})["y"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_deconvolution_with_dilation_by_scattering() -> None:
    random = np.random.default_rng(0)
    x, w = random.normal(size=(1, 2, 4, 4)), random.normal(size=(2, 3, 3, 3))
    expected = np.zeros((1, 3, 11, 11))
    for i, j, a, b in np.ndindex(4, 4, 3, 3):
        expected[:, :, 2 * i + 2 * a, 2 * j + 2 * b] += x[:, :, i, j] @ w[:, :, a, b]
    text = (
        'layer { name: "l" type: "Deconvolution" bottom: "x" top: "y" convolution_param {'
        " num_output: 3 kernel_size: 3 stride: 2 dilation: 2 pad: 1 bias_term: false } }"
    )
    found = run(read(net({"x": x.shape}, text), {"l": [w]}), {"x": x.astype(np.float32)})["y"]
    np.testing.assert_allclose(found, expected[:, :, 1:-1, 1:-1], atol=1e-5)


def test_convolution_in_three_dimensions() -> None:
    x = np.random.default_rng(0).normal(size=(1, 2, 4, 5, 6)).astype(np.float32)
    w = np.random.default_rng(1).normal(size=(3, 2, 1, 1, 1)).astype(np.float32)
    text = (
        'layer { name: "l" type: "Convolution" bottom: "x" top: "y" convolution_param {'
        " num_output: 3 kernel_size: 1 stride: 1 stride: 2 stride: 3 bias_term: false } }"
    )
    found = run(read(net({"x": x.shape}, text), {"l": [w]}), {"x": x})["y"]
    np.testing.assert_allclose(
        found, np.einsum("oi,nidhw->nodhw", w[..., 0, 0, 0], x)[:, :, :, ::2, ::3], atol=1e-5
    )
