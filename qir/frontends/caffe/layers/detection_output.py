"""DetectionOutput of SSD: boxes decoded from priors, the best of each class by non-maximum suppression.

ONNX can say this for one image whose boxes all classes share, and for a constant overlap threshold. Where
nothing is found the result has no rows; Caffe has one then, of -1.
"""

from __future__ import annotations

import numpy as np

from qir.frontends.caffe.params import Params
from qir.frontends.caffe.scope import LayerScope, Tensor
from qir.frontends.caffe.shapes import Shape, number, size
from qir.ir.dtypes import DType

_LOWEST = float(np.finfo(np.float32).min)


def detection_output(layer: LayerScope) -> None:
    """[1, 1, found, 7] of location [1, P * 4], confidence [1, P * classes] and priors [1, 2, P * 4].

    A row is (image, label, score, xmin, ymin, xmax, ymax); rows are ordered by label, then by score.
    """
    layer.check_counts(3, 4)
    params = layer.params("detection_output_param")
    confidence, prior = layer.bottoms[1:3]
    boxes, classes = size(prior.shape[2:]) // 4, params.integer("num_classes")
    _check(layer, params, boxes, classes)
    corners = _decoded(layer, params, boxes)
    background = params.integer("background_label_id")
    labels = [c for c in range(classes) if c != background]
    scores = _scores(layer, confidence, boxes, classes, labels)
    limit = params.part("nms_param").integer("top_k") if params.part("nms_param").has("top_k") else -1
    candidates = scores if limit < 0 or limit >= boxes else _best(layer, scores, limit)
    areas = corners if params.word("code_type") == "CENTER_SIZE" else _upright(layer, corners)
    selected = _suppressed(layer, params, areas, candidates, boxes)
    rows = _rows(layer, selected, corners, scores, labels)
    if params.integer("keep_top_k") > -1:
        rows = _kept(layer, rows, params.integer("keep_top_k"))
    axes = layer.indices((0, 1), "axes")
    layer.add("Unsqueeze", [rows[0], axes], (1, 1, None, 7), top=layer.tops[0])


def _check(layer: LayerScope, params: Params, boxes: int, classes: int) -> None:
    location, confidence = layer.bottoms[0].shape, layer.bottoms[1].shape
    if number(location[0]) != 1:
        raise layer.error(
            f"is for a batch of {location[0]}; ONNX can say it for one image: set the batch to 1"
        )
    if not params.flag("share_location"):
        raise layer.error("has boxes for each class (share_location: false), which ONNX cannot say")
    if params.part("nms_param").real("eta") != 1:
        raise layer.error("has an adaptive threshold (eta), which ONNX does not have")
    if classes < 1:
        raise layer.error("has no num_classes")
    if size(location) != 4 * boxes or size(confidence) != classes * boxes:
        raise layer.error(
            f"has {boxes} priors and {classes} classes, but {size(location)} location and {size(confidence)} "
            "confidence numbers"
        )


def _decoded(layer: LayerScope, params: Params, boxes: int) -> Tensor:
    """[1, boxes, 4]: what location says of the priors, as corners."""
    whole = (1, boxes, 4)
    location = _shaped(layer, layer.bottoms[0], whole, "location")
    pair = _shaped(layer, layer.bottoms[2], (2, boxes, 4), "priors")
    halves = layer.indices((1, 1), "halves")
    prior, variance = layer.add_many(
        "Split", [pair, halves], [(whole, DType.F32, None)] * 2, {"axis": 0}, part="priors_split"
    )
    if not params.flag("variance_encoded_in_target"):
        location = layer.add("Mul", [location, variance], whole, part="offsets")
    code = params.word("code_type")
    if code == "CORNER":
        return layer.add("Add", [prior, location], whole, part="boxes")
    first, second = _split(layer, prior, "corners")
    offset, growth = _split(layer, location, "offsets_split")
    half: Shape = (1, boxes, 2)
    extent = layer.add("Sub", [second, first], half, part="extent")
    moved = layer.add("Mul", [offset, extent], half, part="moved")
    if code == "CORNER_SIZE":
        grown = layer.add("Mul", [growth, extent], half, part="grown")
        low = layer.add("Add", [first, moved], half, part="low")
        high = layer.add("Add", [second, grown], half, part="high")
    else:
        low, high = _around_centre(layer, first, second, extent, moved, growth)
    return layer.add("Concat", [low, high], whole, {"axis": 2}, part="boxes")


def _upright(layer: LayerScope, corners: Tensor) -> Tensor:
    """Boxes whose corners are the wrong way round, made empty: Caffe lets them overlap with nothing."""
    low, high = _split(layer, corners, "areas_split")
    high = layer.add("Max", [low, high], high.shape, part="areas_high")
    return layer.add("Concat", [low, high], corners.shape, {"axis": 2}, part="areas")


def _around_centre(
    layer: LayerScope, first: Tensor, second: Tensor, extent: Tensor, moved: Tensor, growth: Tensor
) -> tuple[Tensor, Tensor]:
    """Corners of boxes whose centres are moved and whose extents grow by exp(growth)."""
    half, two = first.shape, layer.constant(np.float32(2), "two")
    both = layer.add("Add", [first, second], half, part="corner_sum")
    centre = layer.add("Div", [both, two], half, part="prior_centre")
    centre = layer.add("Add", [moved, centre], half, part="centre")
    grown = layer.add("Mul", [layer.add("Exp", [growth], half, part="growth"), extent], half, part="size")
    reach = layer.add("Div", [grown, two], half, part="reach")
    low = layer.add("Sub", [centre, reach], half, part="low")
    return low, layer.add("Add", [centre, reach], half, part="high")


def _split(layer: LayerScope, x: Tensor, part: str) -> tuple[Tensor, Tensor]:
    half: Shape = (*x.shape[:2], 2)
    sizes = layer.indices((2, 2), f"{part}_sizes")
    low, high = layer.add_many("Split", [x, sizes], [(half, DType.F32, None)] * 2, {"axis": 2}, part=part)
    return low, high


def _shaped(layer: LayerScope, x: Tensor, shape: tuple[int, ...], part: str) -> Tensor:
    return layer.add("Reshape", [x, layer.indices(shape, f"{part}_shape")], shape, part=part)


def _scores(layer: LayerScope, confidence: Tensor, boxes: int, classes: int, labels: list[int]) -> Tensor:
    """[1, labels, boxes]: the confidence of every class but the background."""
    by_box = _shaped(layer, confidence, (1, boxes, classes), "confidence")
    scores = layer.add(
        "Transpose", [by_box], (1, classes, boxes), {"perm": (0, 2, 1)}, part="confidence_by_class"
    )
    if len(labels) == classes:
        return scores
    wanted = layer.indices(labels, "classes")
    return layer.add("Gather", [scores, wanted], (1, len(labels), boxes), {"axis": 1}, part="scores")


def _best(layer: LayerScope, scores: Tensor, limit: int) -> Tensor:
    """The scores, with all but the `limit` best of each class pushed below any threshold."""
    rows: Shape = (*scores.shape[:2], limit)
    results = [(rows, DType.F32, None), (rows, DType.I64, None)]
    attributes = {"axis": 2, "largest": 1, "sorted": 1}
    best, _ = layer.add_many(
        "TopK", [scores, layer.indices([limit], "top_k")], results, attributes, part="best"
    )
    last: Shape = (*scores.shape[:2], 1)
    least = layer.add("Gather", [best, layer.indices([limit - 1], "last")], last, {"axis": 2}, part="least")
    inside = layer.add("GreaterOrEqual", [scores, least], scores.shape, part="is_candidate", dtype=DType.BOOL)
    lowest = layer.constant(np.float32(_LOWEST), "lowest")
    return layer.add("Where", [inside, scores, lowest], scores.shape, part="candidates")


def _suppressed(layer: LayerScope, params: Params, corners: Tensor, scores: Tensor, boxes: int) -> Tensor:
    """[found, 3] of image, class and box."""
    nms = params.part("nms_param")
    threshold = params.real("confidence_threshold") if params.has("confidence_threshold") else _LOWEST
    operands = [
        layer.indices([boxes], "most"),
        layer.constant(np.array([nms.real("nms_threshold")], np.float32), "nms_threshold"),
        layer.constant(np.array([threshold], np.float32), "confidence_threshold"),
    ]
    return layer.add(
        "NonMaxSuppression", [corners, scores, *operands], (None, 3), part="selected", dtype=DType.I64
    )


def _rows(
    layer: LayerScope, selected: Tensor, corners: Tensor, scores: Tensor, labels: list[int]
) -> tuple[Tensor, Tensor]:
    """[found, 7] of everything about each box that was selected, and [found] of the scores."""
    boxes, column, single = number(corners.shape[1]), (None,), (None, 1)
    kind = layer.add(
        "Gather", [selected, layer.constant(np.int64(1), "class_column")], column, {"axis": 1},
        part="class", dtype=DType.I64,
    )  # fmt: skip
    box = layer.add(
        "Gather", [selected, layer.constant(np.int64(2), "box_column")], column, {"axis": 1},
        part="box", dtype=DType.I64,
    )  # fmt: skip
    row = layer.add(
        "Mul", [kind, layer.constant(np.int64(boxes), "boxes")], column, part="row", dtype=DType.I64
    )
    place = layer.add("Add", [row, box], column, part="place", dtype=DType.I64)
    flat = _shaped(layer, scores, (len(labels) * boxes,), "flat")
    score = layer.add("Gather", [flat, place], column, {"axis": 0}, part="score")
    table = _shaped(layer, corners, (boxes, 4), "table")
    found = layer.add("Gather", [table, box], (None, 4), {"axis": 0}, part="found")
    names = layer.constant(np.array(labels, np.float32), "labels")
    label = layer.add("Gather", [names, kind], column, {"axis": 0}, part="label")
    image = layer.add("Mul", [label, layer.constant(np.float32(0), "zero")], column, part="image")
    axis = layer.indices([1], "column")
    columns = [
        layer.add("Unsqueeze", [value, axis], single, part=part)
        for value, part in ((image, "image_column"), (label, "label_column"), (score, "score_column"))
    ]
    return layer.add("Concat", [*columns, found], (None, 7), {"axis": 1}, part="rows"), score


def _kept(layer: LayerScope, rows: tuple[Tensor, Tensor], limit: int) -> tuple[Tensor, Tensor]:
    """The `limit` rows of the best scores, in the order they had."""
    table, score = rows
    vector: Shape = (None,)
    count = layer.add("Shape", [score], (1,), part="count", dtype=DType.I64)
    most = layer.add("Min", [count, layer.indices([limit], "keep_top_k")], (1,), part="kept", dtype=DType.I64)
    results = [(vector, DType.F32, None), (vector, DType.I64, None)]
    highest = {"axis": 0, "largest": 1, "sorted": 1}
    kept, places = layer.add_many("TopK", [score, most], results, highest, part="best_rows")
    results = [(vector, DType.I64, None), (vector, DType.I64, None)]
    lowest = {"axis": 0, "largest": 0, "sorted": 1}
    order, _ = layer.add_many("TopK", [places, most], results, lowest, part="order")
    return layer.add("Gather", [table, order], (None, 7), {"axis": 0}, part="kept_rows"), kept
