"""The inputs of a net: layers of type Input, and data layers, whose place the user's data take."""

from __future__ import annotations

from collections.abc import Iterator

from qir.frontends.caffe.params import Params
from qir.frontends.caffe.prototxt import Layer, Net
from qir.frontends.caffe.scope import LayerScope
from qir.frontends.caffe.shapes import BATCH, Shape

_DATA_PARAMETERS = {
    "AnnotatedData": "data_param",
    "Data": "data_param",
    "HDF5Data": "hdf5_data_param",
    "ImageData": "image_data_param",
    "WindowData": "window_data_param",
}


def common_batch(net: Net) -> str | None:
    """The symbol for the batch where all inputs have the same first dimension, otherwise None."""
    found = set()
    for layer in net.layers:
        if layer.type == "Input":
            found |= {shape[0] if len(shape) > 1 else None for shape in _stated_shapes(layer)}
    return BATCH if len(found) < 2 and None not in found else None


def read_input(layer: LayerScope) -> None:
    """Input: one shape for all tops, or one for each."""
    shapes = _stated_shapes(layer.layer)
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if len(shapes) != len(layer.tops):
        raise layer.error(
            f"states {len(shapes)} shapes for {len(layer.tops)} tops, in input_param {{ shape {{ }} }}"
        )
    for top, shape in zip(layer.tops, shapes, strict=True):
        if any(d < 1 for d in shape):
            raise layer.error(f"has shape {list(shape)}; every dimension must be at least 1")
        layer.make_input(top, _with_batch(shape, layer))


def read_data(layer: LayerScope) -> None:
    """A data layer: its first top is an input with the shape of the data after its transformation.

    That shape follows from crop_size (or new_height and new_width) and the convolution that reads it. Labels
    are inputs only where a layer reads them.
    """
    if not layer.tops:
        raise layer.error("has no top")
    layer.make_input(layer.tops[0], _with_batch(_image_shape(layer), layer))
    for label in layer.tops[1:]:
        if label.readers:
            layer.make_input(label, _with_batch((1,), layer))


def read_memory_data(layer: LayerScope) -> None:
    """MemoryData: states the shape of its data."""
    params = layer.params("memory_data_param")
    shape = tuple(params.integer(name) for name in ("batch_size", "channels", "height", "width"))
    if any(d < 1 for d in shape):
        raise layer.error("does not state batch_size, channels, height and width")
    layer.make_input(layer.tops[0], _with_batch(shape, layer))
    for label in layer.tops[1:]:
        if label.readers:
            layer.make_input(label, _with_batch((shape[0],), layer))


def read_dummy_data(layer: LayerScope) -> None:
    """DummyData: its place is taken by the user's data."""
    params = layer.params("dummy_data_param")
    shapes = [part.integers("dim") for part in params.parts("shape")]
    if not shapes:
        names = ("num", "channels", "height", "width")
        shapes = list(zip(*(params.integers(name) for name in names), strict=False))
    if len(shapes) == 1:
        shapes *= len(layer.tops)
    if len(shapes) != len(layer.tops):
        raise layer.error(f"states {len(shapes)} shapes for {len(layer.tops)} tops")
    for top, shape in zip(layer.tops, shapes, strict=True):
        layer.make_input(top, _with_batch(shape, layer))


def _stated_shapes(layer: Layer) -> list[tuple[int, ...]]:
    return [part.integers("dim") for part in layer.params.part("input_param").parts("shape")]


def _with_batch(shape: tuple[int, ...], layer: LayerScope) -> Shape:
    return shape if layer.batch is None or not shape else (layer.batch, *shape[1:])


def _image_shape(layer: LayerScope) -> tuple[int, ...]:
    transform = layer.params("transform_param")
    own = layer.params(_DATA_PARAMETERS[layer.type])
    height = transform.integer("crop_h") or transform.integer("crop_size") or _integer(own, "crop_size")
    width = transform.integer("crop_w") or transform.integer("crop_size") or _integer(own, "crop_size")
    resized = transform.part("resize_param")
    height = height or _integer(own, "new_height") or resized.integer("height")
    width = width or _integer(own, "new_width") or resized.integer("width")
    channels = next(_channels(layer, transform), 0)
    if not (height and width and channels):
        raise layer.error(
            "does not say the shape of its data (crop_size); put a layer of type Input with their shape in "
            "its place"
        )
    return (max(_integer(own, "batch_size"), 1), channels, height, width)


def _integer(params: Params, name: str) -> int:
    """An integer that not every kind of data layer has."""
    return params.integer(name) if name in params.message.DESCRIPTOR.fields_by_name else 0


def _channels(layer: LayerScope, transform: Params) -> Iterator[int]:
    """What says how many channels the data have, best first."""
    if transform.flag("force_gray"):
        yield 1
    if transform.flag("force_color"):
        yield 3
    for reader in layer.readers(layer.tops[0]):
        held = reader.blobs()
        if reader.type == "Convolution" and held and held[0].ndim > 1:
            yield held[0].shape[1] * reader.params("convolution_param").integer("group")
    if len(transform.reals("mean_value")) > 1:
        yield len(transform.reals("mean_value"))
    if layer.type == "ImageData":
        yield 3 if layer.params("image_data_param").flag("is_color") else 1
