"""What is wrong with a Caffe net: one error that says where and what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from caffe_build import Array, blob, caffemodel, field, net, read

import qir
from qir.frontends.caffe.caffemodel import parse_weights
from qir.frontends.caffe.prototxt import parse_net
from qir.ir.errors import ModelError


def numbers(*shape: int) -> Array:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def one(kind: str, parameters: str = "", bottoms: str = 'bottom: "x"', tops: str = 'top: "y"') -> str:
    """A net whose layer `l` stands in line 3."""
    return net({"x": (1, 4, 5, 5)}, f'\nlayer {{ name: "l" type: "{kind}" {bottoms} {tops} {parameters} }}\n')


CONV = "convolution_param { num_output: 6 kernel_size: 3 }"
WEIGHTS = {"l": [numbers(6, 4, 3, 3), numbers(6)]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layer { name: "a" tipe: "ReLU" }', "net.prototxt:1:19: .* no field 'tipe'; did you mean 'type'"),
        ('layer {\n  name: "a"\n  type: ReLU\n}', "net.prototxt:3:9: .* cannot be parsed"),
        ('layer { name: "a" type: "ReLU"', "net.prototxt:1:.* cannot be parsed"),
        (one("Convolution", "convolution_param { kernel_sise: 3 }"), "did you mean 'kernel_size'"),
        (one("Pooling", "pooling_param { pool: BEST }"), "net.prototxt:3:.*BEST"),
        (one("Convolution", "convolution_param { pad: -1 }"), "net.prototxt:3:.* cannot be parsed"),
        (one("Foo", "foo_param { a: 1 }"), r"no field 'foo_param'.* \(in layer 'l' of type 'Foo', line 3\)"),
        (one("Foo"), r"net.prototxt:3: layer 'l' \(Foo\) is of a type that qir does not know"),
        (one("Convolusion"), "did you mean 'Convolution'"),
        (one("ReLU", bottoms='bottom: "z"'), "reads blob 'z', which no layer makes"),
        (one("SoftmaxWithLoss"), r"layer 'l' \(SoftmaxWithLoss\) is for training; .* TRAIN"),
        (one("BatchNorm", "batch_norm_param { use_global_stats: false }"), "statistics of the batch"),
        (one("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), "at random"),
        (one("Pooling"), "has no kernel_size"),
        (one("Pooling", "pooling_param { kernel_size: 2 pad: 2 }"), "must be smaller than kernel"),
        (one("Pooling", "pooling_param { kernel_size: 9 }"), "a kernel of 9 over 5 numbers"),
        (one("Pooling", "pooling_param { kernel_size: 2 kernel_h: 2 kernel_w: 2 }"), "use one of them"),
        (one("Softmax", "softmax_param { axis: 4 }"), "says axis 4, but its bottom has 4 dimensions"),
        (one("Slice", tops='top: "a" top: "b" top: "c"'), "cuts 4 into 3 equal parts"),
        (one("Slice", "slice_param { slice_point: 5 }", tops='top: "a" top: "b"'), "do not cut 4"),
        (one("Reshape", "reshape_param { shape { dim: 0 dim: 7 dim: -1 } }"), r"cannot bring \[N, 4, 5, 5\]"),
        (one("Silence"), "has 1 tops; it makes 0"),
        (one("ReLU", 'name: "twice"'), "net.prototxt:3:.* LayerParameter should not have multiple"),
        (net({"x": (2,)}, 'layer { name: "p" type: "PReLU" bottom: "x" top: "y" }'), "without channels"),
        (one("PriorBox", "prior_box_param { min_size: 2 aspect_ratio: -1 }", 'bottom: "x" bottom: "x"'),
         "aspect_ratio that is not positive"),
        (one("Eltwise"), "has 1 bottoms; it takes 2 or more"),
        (one("ReLU", tops='top: "a" top: "b"'), "has 2 tops; it makes 1"),
        (one("LRN", "lrn_param { local_size: 4 }"), "must be odd"),
        (one("Upsample"), "has no scale"),
        ('layer { name: "a" type: "ReLU" }\nlayers { name: "b" type: RELU }', "mixes `layer` and"),
        ('input: "x" input_dim: 1', "has 1 input but 1 input_dim; it needs four"),
        ('layer { type: "ReLU" }', "net.prototxt:1: a layer of type 'ReLU' has no name"),
        ("", "has no layers"),
        (one("ReLU") + 'layer { name: "l" type: "TanH" bottom: "y" top: "z" }', "name of .* in line 3"),
        (net({"x": (1, 0, 2)}, ""), "every dimension must be at least 1"),
        ('layer { name: "d" type: "Data" top: "x" } layer { name: "r" type: "ReLU" bottom: "x" top: "y" }',
         r"layer 'd' \(Data\) does not say the shape"),
        (net({"x": (1, 2)}, 'layer { name: "s" type: "Silence" bottom: "x" }'), "returns nothing"),
    ],
)  # fmt: skip
def test_bad_prototxt(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        read(text, {})


def test_line_of_a_layer_behind_comments_strings_and_braces() -> None:
    text = (
        '# layer {\nname: "layer { }"\n\nlayer\n{\n name: \'a # }\' type: "ReLU" # }\n}\n'
        'layer: < name: "b" type: "X" >'
    )
    assert [(layer.name, layer.line) for layer in parse_net(text, "f").layers] == [("a # }", 4), ("b", 8)]


def test_bottom_that_comes_later_says_so() -> None:
    text = net({"x": (1, 2)}, """
        layer { name: "b" type: "ReLU" bottom: "a" top: "b" }
        layer { name: "a" type: "ReLU" bottom: "x" top: "a" }""")  # fmt: skip
    with pytest.raises(ModelError, match="layer 'a' makes only later"):
        read(text)


def test_weights_that_do_not_fit_the_prototxt() -> None:
    text = one("Convolution", CONV)
    read(text, WEIGHTS)
    with pytest.raises(ModelError, match=r"layer 'l' \(Convolution\) needs weights; give the caffemodel"):
        read(text)
    with pytest.raises(ModelError, match=r"net.prototxt:3: layer 'l' .* has no weights in the caffemodel"):
        read(text, {"other": WEIGHTS["l"]})
    with pytest.raises(ModelError, match=r"blob 1 \(bias\) is missing"):
        read(text, {"l": WEIGHTS["l"][:1]})
    with pytest.raises(ModelError, match=r"weight of shape \[6, 4, 3, 3\].* blob 0 .* shape \[6, 2, 3, 3\]"):
        read(text, {"l": [numbers(6, 2, 3, 3), numbers(6)]})
    with pytest.raises(ModelError, match="group 3, which does not divide"):
        read(one("Convolution", CONV.replace("kernel", "group: 3 kernel")), WEIGHTS)


def test_every_truncation_of_a_caffemodel_is_an_error() -> None:
    whole = caffemodel(WEIGHTS)
    for size in range(len(whole)):
        with pytest.raises(ModelError, match="is not a caffemodel"):
            parse_weights(whole[:size])


def test_files_that_are_no_caffemodel() -> None:
    with pytest.raises(ModelError, match="HDF5"):
        parse_weights(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(ModelError, match="is not a caffemodel"):
        parse_weights(b'name: "net" layer { }')
    short = blob(numbers(4, 4))[:-8]
    with pytest.raises(ModelError):
        parse_weights(field(100, field(1, b"a") + field(7, short)))
    wrong = field(7, field(1, b"\x05\x05")) + field(5, numbers(4, 4).tobytes())
    with pytest.raises(ModelError, match=r"blob 0 of layer 'a' has 16 numbers, but shape \[5, 5\]"):
        parse_weights(field(100, field(1, b"a") + field(7, wrong)))


def test_load(tmp_path: Path) -> None:
    prototxt, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    prototxt.write_text(one("Convolution", CONV))
    weights.write_bytes(caffemodel(WEIGHTS))
    graph = qir.load(prototxt, weights=weights)
    assert str(qir.load((str(prototxt), str(weights)))) == str(graph)
    bad: list[tuple[Any, Path | None, str]] = [
        (weights, None, "holds weights only; give the .prototxt first"),
        (weights, prototxt, "go with the .prototxt"),
        ((weights, prototxt), None, "is not text; give the prototxt first"),
        (prototxt, None, "give the caffemodel"),
        (prototxt, tmp_path / "none.caffemodel", "does not exist"),
        (tmp_path / "none.prototxt", weights, "does not exist"),
        (prototxt, prototxt, "is not a caffemodel"),
        ((prototxt, weights, weights), None, "is a pair"),
        ((prototxt, weights), weights, "is a pair"),
    ]
    for source, beside, message in bad:
        with pytest.raises(ModelError, match=message):
            qir.load(source, weights=beside)
    weights.write_bytes(b"")
    with pytest.raises(ModelError, match="is empty"):
        qir.load((prototxt, weights))
