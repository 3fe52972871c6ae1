"""Whole nets in the manner of well-known ones, with random weights, against OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from caffe_build import Array, net, read, run, run_opencv


class Builder:
    """Writes layers, in place where nets of Caffe do; a blob has the name of the layer that made it."""

    def __init__(self) -> None:
        self.text, self.weights = "", dict[str, list[Array]]()
        self.channels = {"data": 3}
        self._random = np.random.default_rng(1)

    def layer(self, kind: str, name: str, bottoms: list[str], top: str, parameters: str = "") -> str:
        reads = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
        self.text += f'layer {{ name: "{name}" type: "{kind}" {reads} top: "{top}" {parameters} }}\n'
        self.channels.setdefault(top, sum(self.channels[bottom] for bottom in bottoms[:1]))
        return top

    def numbers(self, *shape: int, low: float = -1, high: float = 1) -> Array:
        return self._random.uniform(low, high, shape).astype(np.float32)

    def conv(self, name: str, x: str, outputs: int, size: int, more: str = "", group: int = 1) -> str:
        inputs = self.channels[x] // group
        self.weights[name] = [self.numbers(outputs, inputs, size, size) / np.sqrt(inputs * size * size / 3)]
        self.channels[name] = outputs
        how = f"num_output: {outputs} kernel_size: {size} group: {group} bias_term: false {more}"
        return self.layer("Convolution", name, [x], name, f"convolution_param {{ {how} }}")

    def norm(self, x: str, top: str | None = None, relu: bool = True) -> str:
        top, count = top or x, self.channels[x]
        self.weights[f"{top}/bn"] = [
            self.numbers(count) * 20, self.numbers(count, low=30, high=90), np.array([40], np.float32)
        ]  # fmt: skip
        self.weights[f"{top}/scale"] = [self.numbers(count, low=0.5, high=1.5), self.numbers(count)]
        self.layer("BatchNorm", f"{top}/bn", [x], top, "batch_norm_param { use_global_stats: true }")
        self.layer("Scale", f"{top}/scale", [top], top, "scale_param { bias_term: true }")
        return self.layer("ReLU", f"{top}/relu", [top], top) if relu else top

    def pool(self, name: str, x: str, how: str) -> str:
        return self.layer("Pooling", name, [x], name, f"pooling_param {{ {how} }}")

    def concat(self, name: str, bottoms: list[str]) -> str:
        self.channels[name] = sum(self.channels[bottom] for bottom in bottoms)
        return self.layer("Concat", name, bottoms, name)

    def classes(self, x: str, size: int) -> str:
        self.weights["fc"] = [self.numbers(5, size) / np.sqrt(size / 3), self.numbers(5)]
        self.layer("InnerProduct", "fc", [x], "fc", "inner_product_param { num_output: 5 }")
        return self.layer("Softmax", "prob", ["fc"], "prob")


def mobilenet(b: Builder) -> None:
    x = b.norm(b.conv("conv1", "data", 8, 3, "stride: 2 pad: 1"))
    for i, stride in enumerate((1, 2, 1)):
        x = b.norm(b.conv(f"dw{i}", x, 8, 3, f"stride: {stride} pad: 1", group=8))
        y = b.norm(b.conv(f"sep{i}", x, 8, 1), relu=False)
        x = b.layer("Eltwise", f"sum{i}", [x, y], f"sum{i}")
    b.classes(b.pool("pool", x, "pool: AVE global_pooling: true"), 8)


def resnet(b: Builder) -> None:
    x = b.norm(b.conv("conv1", "data", 8, 7, "stride: 2 pad: 3"))
    x = b.pool("pool1", x, "pool: MAX kernel_size: 3 stride: 2")  # Caffe rounds up
    y = b.norm(b.conv("2a", x, 4, 1, "stride: 2"))
    y = b.norm(b.conv("2c", b.norm(b.conv("2b", y, 4, 3, "pad: 1")), 16, 1), relu=False)
    x = b.layer("Eltwise", "res", [b.norm(b.conv("1", x, 16, 1, "stride: 2"), relu=False), y], "res")
    b.classes(b.pool("pool5", b.layer("ReLU", "res/relu", [x], x), "pool: AVE kernel_size: 4"), 16)


def densenet(b: Builder) -> None:
    x = b.conv("conv0", "data", 8, 3, "pad: 1")
    for i in range(3):
        y = b.conv(f"conv{i + 1}", b.norm(x, f"norm{i}"), 4, 3, "pad: 2 dilation: 2")
        x = b.concat(f"concat{i}", [x, y])
    b.classes(b.pool("pool", b.norm(x, "norm"), "pool: AVE global_pooling: true"), 20)


def shufflenet(b: Builder) -> None:
    x = b.pool(
        "pool1", b.norm(b.conv("conv1", "data", 12, 3, "pad: 1")), "pool: MAX kernel_size: 3 stride: 2"
    )
    y = b.norm(b.conv("one", x, 12, 1, group=3))
    y = b.layer("ShuffleChannel", "shuffle", [y], "shuffle", "shuffle_channel_param { group: 3 }")
    y = b.norm(b.conv("two", y, 12, 3, "stride: 2 pad: 1", group=12), relu=False)
    y = b.norm(b.conv("three", y, 12, 1, group=3), relu=False)
    x = b.concat("concat", [b.pool("branch", x, "pool: AVE kernel_size: 3 stride: 2"), y])
    b.classes(b.pool("pool", b.layer("ReLU", "last", [x], x), "pool: AVE global_pooling: true"), 24)


def hourglass(b: Builder) -> None:
    a = b.norm(b.conv("a", "data", 6, 3, "pad: 1"))
    x = b.norm(b.conv("c", b.pool("p", a, "pool: MAX kernel_size: 2 stride: 2"), 6, 3, "pad: 1"))
    b.weights["up"] = [b.numbers(6, 6, 4, 4) / 4]
    how = (
        "num_output: 6 kernel_size: 4 stride: 2 pad: 1 bias_term: false"  # by groups OpenCV fuses it wrongly
    )
    x = b.norm(b.layer("Deconvolution", "up", [x], "up", f"convolution_param {{ {how} }}"), relu=False)
    b.weights["prelu"] = [b.numbers(6)]
    x = b.layer("PReLU", "prelu", [x], x)
    x = b.layer("Eltwise", "sum", [x, a], "sum", "eltwise_param { coeff: 0.5 coeff: 2 }")
    b.conv("heat", x, 3, 1)


@pytest.mark.parametrize("describe", [mobilenet, resnet, densenet, shufflenet, hourglass])
def test_net_against_opencv(describe: Callable[[Builder], None]) -> None:
    made = Builder()
    describe(made)
    text = net({"data": (1, 3, 32, 32)}, made.text)
    feeds = {"data": np.random.default_rng(5).normal(size=(1, 3, 32, 32)).astype(np.float32)}
    (found,) = run(read(text, made.weights), feeds).values()
    (expected,) = run_opencv(text, made.weights, feeds)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-4)
