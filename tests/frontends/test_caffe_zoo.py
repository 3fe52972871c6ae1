"""Each Caffe layer type in a tiny net: against OpenCV, and where it differs from Caffe, against numpy."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from caffe_build import Array, net, read, run, run_opencv

from qir.frontends.caffe.layers import LAYERS

SHAPE = (1, 6, 7, 9)


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def layer(
    kind: str, parameters: str = "", bottoms: Sequence[str] = ("x",), tops: Sequence[str] = ("y",)
) -> str:
    reads = " ".join(f'bottom: "{b}"' for b in bottoms)
    makes = " ".join(f'top: "{t}"' for t in tops)
    return f'layer {{ name: "l" type: "{kind}" {reads} {makes} {parameters} }}'


def computed(text: str, weights: Sequence[Array] = (), **feeds: Array) -> dict[str, Array]:
    full = net({name: data.shape for name, data in feeds.items()}, text)
    return run(read(full, {"l": weights} if len(weights) else {}), feeds)


BN = (numbers(6), np.abs(numbers(6)) + 0.5, np.array([2.5], np.float32))
OPENCV: list[tuple[str, str, Sequence[Array]]] = [
    ("AbsVal", "", ()),
    ("BNLL", "", ()),
    ("BatchNorm", "batch_norm_param { eps: 0.01 }", BN),
    ("Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", (numbers(4, 6, 3, 3), numbers(4))),
    (
        "Convolution",
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0"
        " group: 2 bias_term: false }",
        (numbers(4, 3, 3, 2),),
    ),
    (
        "Convolution",
        "convolution_param { num_output: 4 kernel_size: 3 pad: 2 pad: 1 dilation: 2 }",
        (numbers(4, 6, 3, 3), numbers(4)),
    ),
    (
        "Deconvolution",
        "convolution_param { num_output: 4 kernel_size: 4 stride: 2 pad: 1 group: 2 }",
        (numbers(6, 2, 4, 4), numbers(4)),
    ),
    (
        "Deconvolution",
        "convolution_param { num_output: 6 kernel_size: 3 stride: 3 group: 6 bias_term: false }",
        (numbers(6, 1, 3, 3),),
    ),
    ("Dropout", "", ()),
    ("ELU", "elu_param { alpha: 0.7 }", ()),
    ("Exp", "exp_param { base: 2 scale: 0.5 shift: 0.3 }", ()),
    ("Exp", "", ()),
    ("Flatten", "", ()),
    ("Flatten", "flatten_param { axis: 2 end_axis: -1 }", ()),
    ("InnerProduct", "inner_product_param { num_output: 5 }", (numbers(5, 378), numbers(5))),
    ("InnerProduct", "inner_product_param { num_output: 5 bias_term: false axis: 2 }", (numbers(5, 63),)),
    ("InnerProduct", "inner_product_param { num_output: 5 axis: -1 }", (numbers(5, 9), numbers(5))),
    ("Interp", "interp_param { height: 13 width: 4 }", ()),
    ("Interp", "interp_param { zoom_factor: 3 }", ()),
    ("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 }", ()),
    ("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 norm_region: WITHIN_CHANNEL }", ()),
    ("MVN", "", ()),
    ("MVN", "mvn_param { across_channels: true }", ()),
    ("MVN", "mvn_param { normalize_variance: false }", ()),
    ("Normalize", "", (numbers(1),)),
    ("Normalize", "norm_param { across_spatial: false channel_shared: false }", (numbers(6),)),
    ("PReLU", "", (numbers(6),)),
    ("PReLU", "prelu_param { channel_shared: true }", (numbers(1),)),
    ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", ()),
    ("Pooling", "pooling_param { pool: MAX kernel_size: 3 stride: 2 }", ()),
    ("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", ()),
    ("Pooling", "pooling_param { pool: MAX global_pooling: true }", ()),
    ("Pooling", "pooling_param { pool: AVE global_pooling: true }", ()),
    ("Power", "power_param { power: 2 scale: 0.5 shift: 0.3 }", ()),
    ("ReLU", "", ()),
    ("ReLU", "relu_param { negative_slope: 0.1 }", ()),
    ("ReLU6", "", ()),
    ("Reshape", "reshape_param { shape { dim: 0 dim: 3 dim: -1 } }", ()),
    ("Reshape", "reshape_param { shape { dim: 3 dim: 2 } axis: 1 num_axes: 1 }", ()),
    ("Scale", "scale_param { bias_term: true }", (numbers(6), numbers(6, seed=1))),
    ("Scale", "", (numbers(6),)),
    ("ShuffleChannel", "shuffle_channel_param { group: 2 }", ()),
    ("Sigmoid", "", ()),
    ("Softmax", "", ()),
    ("Softmax", "softmax_param { axis: 2 }", ()),
    ("Split", "", ()),
    ("TanH", "", ()),
]


@pytest.mark.parametrize(
    ("kind", "parameters", "weights"), OPENCV, ids=lambda x: x if isinstance(x, str) else ""
)
def test_layer_against_opencv(kind: str, parameters: str, weights: Sequence[Array]) -> None:
    x = 3 * numbers(*SHAPE)
    text = layer(kind, parameters)
    expected = run_opencv(net({"x": SHAPE}, text), {"l": weights} if weights else {}, {"x": x})[0]
    found = computed(text, weights, x=x)["y"]
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def across_channels(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    half, channels = size // 2, x.shape[1]
    sums = [(x[:, max(0, c - half) : c + half + 1] ** 2).sum(1) for c in range(channels)]
    return x / (k + alpha / size * np.stack(sums, 1)) ** beta


def bilinear(x: Array, height: int, width: int) -> Array:
    """Corner pixels on corner pixels."""

    def weights(length: int, size: int) -> Array:
        found = np.zeros((size, length))
        for i in range(size):
            place = i * (length - 1) / (size - 1) if size > 1 else 0.0
            low = int(place)
            found[i, low] += 1 - (place - low)
            found[i, min(low + 1, length - 1)] += place - low
        return found

    return np.einsum("ih,nchw,jw->ncij", weights(x.shape[2], height), x, weights(x.shape[3], width))


def last_argmax(x: Array, axis: int) -> Array:
    return x.shape[axis] - 1 - np.flip(x, axis).argmax(axis)


IP, SHIFT = numbers(378, 5), numbers(6, 7, seed=3)
NUMPY: list[tuple[str, str, Sequence[Array], Callable[[Array], Array]]] = [
    ("ArgMax", "", (), lambda x: x.reshape(1, -1).argmax(1).reshape(1, 1, 1, 1)),
    ("ArgMax", "argmax_param { axis: 1 }", (), lambda x: x.argmax(1)[:, None]),
    ("ArgMax", "argmax_param { axis: -1 top_k: 2 }", (), lambda x: np.argsort(-x, -1)[..., :2]),
    ("ArgMax", "argmax_param { axis: 1 top_k: 3 out_max_val: true }", (), lambda x: -np.sort(-x, 1)[:, :3]),
    (
        "ArgMax",
        "argmax_param { top_k: 4 out_max_val: true }",
        (),
        lambda x: np.stack([np.argsort(-x.ravel())[:4], -np.sort(-x.ravel())[:4]])[None, ..., None],
    ),
    ("Bias", "", (numbers(6),), lambda x: x + numbers(6)[:, None, None]),
    ("Bias", "bias_param { axis: 1 num_axes: 2 }", (SHIFT,), lambda x: x + SHIFT[..., None]),
    ("Clip", "clip_param { min: -1 max: 0.5 }", (), lambda x: x.clip(-1, 0.5)),
    ("Dropout", "dropout_param { dropout_ratio: 0.4 scale_train: false }", (), lambda x: x * 0.6),
    ("InnerProduct", "inner_product_param { num_output: 5 transpose: true bias_term: false }", (IP,),
     lambda x: x.reshape(1, -1) @ IP),
    ("InnerProduct", "inner_product_param { num_output: 5 axis: 0 transpose: true bias_term: false }", (IP,),
     lambda x: x.ravel() @ IP),
    ("Interp", "interp_param { shrink_factor: 2 }", (), lambda x: bilinear(x, 4, 5)),
    ("Interp", "interp_param { shrink_factor: 2 zoom_factor: 3 }", (), lambda x: bilinear(x, 10, 13)),
    ("Interp", "interp_param { height: 5 width: 1 pad_beg: -1 pad_end: -2 }", (),
     lambda x: bilinear(x[:, :, 1:-2, 1:-2], 5, 1)),
    ("LRN", "lrn_param { local_size: 5 alpha: 0.5 beta: 0.6 k: 2 }", (),
     lambda x: across_channels(x, 5, 0.5, 0.6, 2)),
    ("Log", "log_param { base: 10 scale: 0.1 shift: 3 }", (), lambda x: np.log10(0.1 * x + 3)),
    ("Log", "log_param { scale: 0.1 shift: 3 }", (), lambda x: np.log(0.1 * x + 3)),
    ("MVN", "mvn_param { eps: 0.5 }", (),
     lambda x: (x - x.mean((2, 3), keepdims=True)) / (x.std((2, 3), keepdims=True) + 0.5)),
    ("Power", "", (), lambda x: x),
    ("Power", "power_param { scale: -1 }", (), lambda x: -x),
    ("Power", "power_param { power: 0 }", (), np.ones_like),
    ("Reduction", "", (), lambda x: x.sum()),
    ("Reduction", "reduction_param { axis: 1 operation: ASUM }", (), lambda x: np.abs(x).sum((1, 2, 3))),
    ("Reduction", "reduction_param { axis: -1 operation: SUMSQ coeff: 0.5 }", (),
     lambda x: 0.5 * (x**2).sum(-1)),
    ("Reduction", "reduction_param { axis: 2 operation: MEAN coeff: 2 }", (), lambda x: 2 * x.mean((2, 3))),
    ("Reshape", "reshape_param { shape { dim: 2 dim: 63 dim: -1 } }", (), lambda x: x.reshape(2, 63, 3)),
    ("Reshape", "reshape_param { shape { dim: 1 } num_axes: 0 }", (), lambda x: x[None]),
    ("Reshape", "reshape_param { shape { dim: -1 } axis: -3 }", (), lambda x: x.reshape(1, 6, 63)),
    ("Scale", "scale_param { axis: 1 num_axes: 2 bias_term: true }", (SHIFT, SHIFT + 1),
     lambda x: x * SHIFT[..., None] + SHIFT[..., None] + 1),
    ("Scale", "scale_param { num_axes: 0 }", (np.float32(3),), lambda x: 3 * x),
    ("Scale", "scale_param { axis: 2 num_axes: -1 }", (numbers(7, 9),), lambda x: x * numbers(7, 9)),
    ("Swish", "swish_param { beta: 2 }", (), lambda x: x / (1 + np.exp(-2 * x))),
    ("Threshold", "threshold_param { threshold: 0.2 }", (), lambda x: x > 0.2),
    ("Tile", "tile_param { axis: 2 tiles: 3 }", (), lambda x: np.tile(x, (1, 1, 3, 1))),
    ("Upsample", "upsample_param { scale: 2 }", (), lambda x: x.repeat(2, 2).repeat(2, 3)),
    ("Upsample", "upsample_param { stride_h: 3 stride_w: 1 }", (), lambda x: x.repeat(3, 2)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "parameters", "weights", "expected"), NUMPY, ids=lambda x: x if isinstance(x, str) else ""
)
def test_layer_by_its_definition(
    kind: str, parameters: str, weights: Sequence[Array], expected: Callable[[Array], Array]
) -> None:
    x = 3 * numbers(*SHAPE)
    found, wanted = computed(layer(kind, parameters), weights, x=x)["y"], np.asarray(expected(x))
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_argmax_of_a_vector_has_three_dimensions() -> None:
    x = numbers(2, 9)
    found = computed(layer("ArgMax"), x=x)["y"]
    assert found.shape == (2, 1, 1)
    np.testing.assert_array_equal(found.ravel(), x.argmax(1))


def test_argmax_of_equal_numbers_is_the_last() -> None:
    x = np.zeros((1, 4, 2, 2), np.float32)
    assert computed(layer("ArgMax", "argmax_param { axis: 1 }"), x=x)["y"].tolist() == [[[[3, 3], [3, 3]]]]


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
@pytest.mark.parametrize("group", ["", "group: 6"])
def test_depthwise_convolution_is_a_convolution_of_as_many_groups(kind: str, group: str) -> None:
    weights = (numbers(6, 1, 3, 3), numbers(6))
    x = numbers(*SHAPE)
    text = f"convolution_param {{ num_output: 6 kernel_size: 3 pad: 1 stride: 2 {group} }}"
    plain = "convolution_param { num_output: 6 kernel_size: 3 pad: 1 stride: 2 group: 6 }"
    expected = run_opencv(net({"x": SHAPE}, layer("Convolution", plain)), {"l": weights}, {"x": x})[0]
    np.testing.assert_allclose(computed(layer(kind, text), weights, x=x)["y"], expected, atol=1e-5)


ELTWISE: list[tuple[str, int, Callable[..., Array]]] = [
    ("", 2, lambda a, b: a + b),
    ("operation: SUM coeff: 1 coeff: -1", 2, lambda a, b: a - b),
    ("operation: SUM coeff: 0.5 coeff: 1 coeff: -2", 3, lambda a, b, c: 0.5 * a + b - 2 * c),
    ("operation: PROD", 3, lambda a, b, c: a * b * c),
    ("operation: MAX", 3, lambda a, b, c: np.maximum(np.maximum(a, b), c)),
]


@pytest.mark.parametrize(("parameters", "count", "expected"), ELTWISE)
def test_eltwise(parameters: str, count: int, expected: Callable[..., Array]) -> None:
    feeds = {f"x{i}": numbers(*SHAPE, seed=i) for i in range(count)}
    text = layer("Eltwise", f"eltwise_param {{ {parameters} }}", tuple(feeds))
    np.testing.assert_allclose(computed(text, **feeds)["y"], expected(*feeds.values()), rtol=1e-6, atol=1e-6)


def test_concat_and_slice_along_any_axis() -> None:
    a, b = numbers(1, 6, 7, 9), numbers(1, 6, 2, 9)
    text = layer("Concat", "concat_param { axis: -2 }", ("a", "b"))
    np.testing.assert_array_equal(computed(text, a=a, b=b)["y"], np.concatenate([a, b], 2))
    text = layer("Slice", "slice_param { axis: 1 slice_point: 1 slice_point: 4 }", tops=("p", "q", "r"))
    found = computed(text, x=a)
    assert list(found) == ["p", "q", "r"]
    for name, expected in zip("pqr", np.split(a, [1, 4], 1), strict=True):
        np.testing.assert_array_equal(found[name], expected)
    found = computed(layer("Slice", "slice_param { slice_dim: 3 }", tops=("p", "q", "r")), x=a)
    np.testing.assert_array_equal(found["q"], a[..., 3:6])


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ("", np.s_[:, :, :4, :3]),
        ("crop_param { offset: 2 }", np.s_[:, :, 2:6, 2:5]),
        ("crop_param { axis: 3 offset: 5 }", np.s_[:, :, :, 5:8]),
    ],
)
def test_crop(parameters: str, part: tuple[slice, ...]) -> None:
    x = numbers(*SHAPE)
    reference = np.zeros((1, 6, 7 if "axis" in parameters else 4, 3), np.float32)
    found = computed(layer("Crop", parameters, ("x", "reference")), x=x, reference=reference)["y"]
    np.testing.assert_array_equal(found, x[part])


def test_scale_and_bias_by_a_second_bottom() -> None:
    x, factors = numbers(*SHAPE), numbers(1, 6)
    found = computed(layer("Scale", "scale_param { axis: 0 }", ("x", "f")), x=x, f=factors)["y"]
    np.testing.assert_allclose(found, x * factors[..., None, None], rtol=1e-6)
    text = layer("Scale", "scale_param { axis: 0 bias_term: true }", ("x", "f"))
    found = computed(text, (factors,), x=x, f=factors)["y"]
    np.testing.assert_allclose(found, (x + 1) * factors[..., None, None], rtol=1e-5, atol=1e-6)
    found = computed(layer("Bias", "bias_param { axis: 2 }", ("x", "f")), x=x, f=numbers(7, 9))["y"]
    np.testing.assert_allclose(found, x + numbers(7, 9), rtol=1e-6)


def test_axpy() -> None:
    a, x, b = numbers(1, 6, 1, 1), numbers(*SHAPE), numbers(*SHAPE, seed=1)
    np.testing.assert_allclose(
        computed(layer("Axpy", "", ("a", "x", "b")), a=a, x=x, b=b)["y"], a * x + b, atol=1e-6
    )


def test_interp_to_the_size_of_a_second_bottom() -> None:
    x, reference = numbers(*SHAPE), np.zeros((1, 1, 12, 5), np.float32)
    found = computed(layer("Interp", "", ("x", "reference")), x=x, reference=reference)["y"]
    np.testing.assert_allclose(found, bilinear(x, 12, 5), atol=1e-5)


@pytest.mark.parametrize(("length", "size"), [*itertools.product([3, 7, 33, 59], [7, 13, 65, 473])])
def test_interp_gives_exactly_the_size_that_is_asked_for(length: int, size: int) -> None:
    x = numbers(1, 1, length, 2)
    found = computed(layer("Interp", f"interp_param {{ height: {size} width: 3 }}"), x=x)["y"]
    np.testing.assert_allclose(found, bilinear(x, size, 3), atol=1e-4)


def test_every_layer_type_is_tested() -> None:
    text = Path(__file__).read_text()
    inputs = {
        "Input",
        "Data",
        "ImageData",
        "HDF5Data",
        "MemoryData",
        "WindowData",
        "AnnotatedData",
        "DummyData",
    }
    elsewhere = {"DetectionOutput", "PriorBox", "Silence"}
    untested = [kind for kind in LAYERS if f'"{kind}"' not in text.replace("LAYERS", "")]
    assert not set(untested) - inputs - elsewhere
