"""An SSD head: priors and detections against OpenCV, and against Caffe's own steps in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from caffe_build import Array, net, read, run, run_opencv

from qir.ir.errors import ModelError

CLASSES = 3


def numbers(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def head(bottom: str, boxes: int, prior: str) -> str:
    def branch(what: str, outputs: int) -> str:
        name = f"{bottom}_{what}"
        return f"""
        layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
                convolution_param {{ num_output: {outputs} kernel_size: 3 pad: 1 }} }}
        layer {{ name: "{name}_perm" type: "Permute" bottom: "{name}" top: "{name}_perm"
                permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}
        layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}_perm" top: "{name}_flat"
                flatten_param {{ axis: 1 }} }}"""

    return (
        branch("loc", 4 * boxes)
        + branch("conf", CLASSES * boxes)
        + f'layer {{ name: "{bottom}_prior" type: "PriorBox" bottom: "{bottom}" bottom: "data"'
        f' top: "{bottom}_prior" prior_box_param {{ {prior} }} }}\n'
    )


VARIANCES = "variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2"


def ssd(output: str) -> str:
    def concat(what: str, axis: int) -> str:
        part = f"{what}" if what == "prior" else f"{what}_flat"
        return (
            f'layer {{ name: "{what}" type: "Concat" bottom: "n1_{part}" bottom: "c2_{part}" top: "{what}"'
            f" concat_param {{ axis: {axis} }} }}\n"
        )

    return net(
        {"data": (1, 3, 32, 48)},
        """
        layer { name: "c1" type: "Convolution" bottom: "data" top: "c1"
                convolution_param { num_output: 8 kernel_size: 3 stride: 4 pad: 1 } }
        layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
        layer { name: "c2" type: "Convolution" bottom: "c1" top: "c2"
                convolution_param { num_output: 8 kernel_size: 3 stride: 2 pad: 1 } }
        layer { name: "n1" type: "Normalize" bottom: "c1" top: "n1"
                norm_param { across_spatial: false channel_shared: false } }
        """
        + head("n1", 4, f"min_size: 8 max_size: 14 aspect_ratio: 2 clip: false {VARIANCES}")
        + head("c2", 3, f"min_size: 14 aspect_ratio: 2 aspect_ratio: 2 clip: true step: 8 {VARIANCES}")
        + concat("loc", 1)
        + concat("conf", 1)
        + concat("prior", 2)
        + f"""
        layer {{ name: "conf_rows" type: "Reshape" bottom: "conf" top: "conf_rows"
                reshape_param {{ shape {{ dim: 0 dim: -1 dim: {CLASSES} }} }} }}
        layer {{ name: "conf_soft" type: "Softmax" bottom: "conf_rows" top: "conf_soft"
                softmax_param {{ axis: 2 }} }}
        layer {{ name: "conf_all" type: "Flatten" bottom: "conf_soft" top: "conf_all" }}
        """
        + output,
    )


WEIGHTS = {
    "c1": [0.4 * numbers(8, 3, 3, 3), numbers(8)],
    "c2": [0.2 * numbers(8, 8, 3, 3), numbers(8, seed=1)],
    "n1": [np.abs(numbers(8)) + 1],
    "n1_loc": [0.3 * numbers(16, 8, 3, 3), numbers(16)],
    "n1_conf": [0.3 * numbers(12, 8, 3, 3), numbers(12)],
    "c2_loc": [0.1 * numbers(12, 8, 3, 3), numbers(12)],
    "c2_conf": [0.1 * numbers(9, 8, 3, 3), numbers(9)],
}


def detection(code: str = "CENTER_SIZE", keep: int = 20, limit: int = 15, threshold: float = 0.3) -> str:
    return f"""layer {{ name: "out" type: "DetectionOutput" top: "out"
        bottom: "loc" bottom: "conf_all" bottom: "prior"
        detection_output_param {{ num_classes: {CLASSES} share_location: true
        background_label_id: 0 code_type: {code}
        nms_param {{ nms_threshold: 0.45 top_k: {limit} }} keep_top_k: {keep}
        confidence_threshold: {threshold} }} }}"""


def overlap(a: Array, b: Array) -> float:
    """JaccardOverlap."""
    extent = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if min(extent) <= 0:
        return 0.0
    areas = [0.0 if min(box[2:] - box[:2]) < 0 else float(np.prod(box[2:] - box[:2])) for box in (a, b)]
    shared = float(np.prod(extent))
    return shared / (sum(areas) - shared)


def detected(
    loc: Array, conf: Array, prior: Array, code: str, keep: int, limit: int, threshold: float
) -> Array:
    """DetectionOutputLayer::Forward_cpu of one image."""
    loc, (box, variance) = loc.reshape(-1, 4), prior.reshape(2, -1, 4)
    size, move = box[:, 2:] - box[:, :2], variance * loc
    if code == "CORNER":
        boxes = box + move
    elif code == "CORNER_SIZE":
        boxes = box + move * np.tile(size, 2)
    else:
        centre = (box[:, :2] + box[:, 2:]) / 2 + move[:, :2] * size
        half = np.exp(move[:, 2:]) * size / 2
        boxes = np.concatenate([centre - half, centre + half], 1)
    rows = []
    for label in range(1, CLASSES):
        scores = conf.reshape(-1, CLASSES)[:, label]
        order = [i for i in np.argsort(-scores, kind="stable") if scores[i] > threshold][:limit]
        kept: list[int] = []
        for i in order:
            if all(overlap(boxes[i], boxes[k]) <= 0.45 for k in kept):
                kept.append(int(i))
        rows += [[0, label, scores[i], *boxes[i]] for i in kept]
    found = np.array(rows, np.float32).reshape(-1, 7)
    if len(found) > keep > -1:
        found = found[np.sort(np.argsort(-found[:, 2], kind="stable")[:keep])]
    return found


CASES = [(20, 15, 0.3), (100, 100, 0.2), (5, 3, 0.3), (200, 400, 0.01), (-1, 50, 0.5), (20, 20, 0.9999)]


@pytest.mark.parametrize("code", ["CENTER_SIZE", "CORNER", "CORNER_SIZE"])
@pytest.mark.parametrize(("keep", "limit", "threshold"), CASES)
def test_detections_by_caffes_steps(code: str, keep: int, limit: int, threshold: float) -> None:
    x = numbers(1, 3, 32, 48)
    inner = [read(ssd(f'layer {{ name: "s" type: "Split" bottom: "{name}" top: "y" }}'), WEIGHTS)
             for name in ("loc", "conf_all", "prior")]  # fmt: skip
    loc, conf, prior = (run(graph, {"data": x})["y"] for graph in inner)
    found = run(read(ssd(detection(code, keep, limit, threshold)), WEIGHTS), {"data": x})["out"]
    assert found.shape[:2] == (1, 1)
    expected = detected(loc, conf, prior, code, keep, limit, threshold)
    assert len(expected) or threshold > 0.99
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-5)


def test_detections_against_opencv() -> None:
    x, text = numbers(1, 3, 32, 48), ssd(detection())
    expected = run_opencv(text, WEIGHTS, {"data": x})[0].reshape(-1, 7)
    found = run(read(text, WEIGHTS), {"data": x})["out"].reshape(-1, 7)
    expected = expected[np.argsort(expected[:, 1], kind="stable")]  # OpenCV's labels are in no order
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_priors_against_opencv_are_constants() -> None:
    text = ssd(detection())
    graph = read(text, WEIGHTS)
    held = [graph.value(f"{name}_prior").constant for name in ("n1", "c2")]
    assert all(held)
    found = np.concatenate([c.array for c in held if c is not None], 2)
    expected = run_opencv(text, WEIGHTS, {"data": numbers(1, 3, 32, 48)}, ["prior"])[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_sizes_of_priors_are_whole_pixels() -> None:
    def priors(size: str) -> Array:
        reads = 'name: "p" type: "PriorBox" bottom: "f" bottom: "x" top: "p"'
        text = f"layer {{ {reads} prior_box_param {{ {size} }} }}"
        graph = read(net({"x": (1, 3, 20, 20), "f": (1, 3, 2, 2)}, text))
        return run(graph, {"x": numbers(1, 3, 20, 20), "f": numbers(1, 3, 2, 2)})["p"]

    np.testing.assert_array_equal(priors("min_size: 7.9"), priors("min_size: 7"))
    np.testing.assert_allclose(priors("min_size: 6")[0, 0, :4], [0.1, 0.1, 0.4, 0.4], rtol=1e-6)
    np.testing.assert_allclose(priors("min_size: 6")[0, 1], 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("share_location: true", "share_location: false"), "boxes for each class"),
        (("nms_threshold: 0.45", "nms_threshold: 0.45 eta: 0.9"), "adaptive threshold"),
        (("num_classes: 3", "num_classes: 4"), "456 priors and 4 classes"),
        (("dim: 1 dim: 3 dim: 32", "dim: 2 dim: 3 dim: 32"), "set the batch to 1"),
    ],
)
def test_what_onnx_cannot_say_is_refused(change: tuple[str, str], message: str) -> None:
    text = ssd(detection())
    assert change[0] in text
    with pytest.raises(ModelError, match=message) as error:
        read(text.replace(*change), WEIGHTS)
    assert "'out' (DetectionOutput)" in str(error.value)
