"""Reads the text of a net: its layers in running order, each with the line where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format

from qir.frontends.caffe.fields import V1_TYPES
from qir.frontends.caffe.params import Params
from qir.frontends.caffe.phases import is_included
from qir.frontends.caffe.schema import message_class
from qir.ir.errors import ModelError, did_you_mean

_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[{}<>]|[A-Za-z_]\w*|\n""")
_NO_FIELD = re.compile(r'(\w+) has no field named "(\w+)"')
_OUR_NAME = re.compile(r'Message type "qir\.caffe\.(\w+)"')
_PLACE = re.compile(r"^\d+:\d+ ?:? ?")


@dataclass(frozen=True)
class Layer:
    """One layer of a net; `line` counts from 1, and is 0 for the inputs that stand outside of layers."""

    name: str
    type: str
    line: int
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    params: Params
    file: str

    def error(self, text: str) -> ModelError:
        """An error that says which layer it is about, and where that stands."""
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: "
        return ModelError(f"{place}layer '{self.name}' ({self.type}) {text}")


@dataclass(frozen=True)
class Net:
    """A net in the test phase: the layers that run then."""

    name: str
    layers: tuple[Layer, ...]


def parse_net(text: str, file: str) -> Net:
    """The net of a prototxt; ModelError with line and column for what is not one.

    The old forms are brought into the new one: `layers` with types in capitals, and inputs outside of layers
    (`input` with `input_dim` or `input_shape`).
    """
    book: Any = message_class("NetParameter")()
    try:
        text_format.Parse(text, book)
    except text_format.ParseError as error:
        raise _parse_error(error, text, file) from None
    if len(book.layer) and len(book.layers):
        raise ModelError(f"{file} mixes `layer` and the old form `layers`; write all layers in one form")
    messages = book.layer or [_upgraded(old, file) for old in book.layers]
    state = Params(book.state)
    layers = [*_outer_inputs(book, file)]
    for message, line in zip(messages, _layer_lines(text), strict=True):
        params = Params(message)
        if is_included(params, state):
            layers.append(_layer(params, line, file))
    if not layers:
        raise ModelError(f"{file} has no layers; give the prototxt of a net")
    return Net(str(book.name), tuple(layers))


def _parse_error(error: text_format.ParseError, text: str, file: str) -> ModelError:
    message = _OUR_NAME.sub(r"\1", _PLACE.sub("", str(error)))
    line, column = error.GetLine(), error.GetColumn()
    place = file if line is None else f"{file}:{line}:{column}"
    unknown = _NO_FIELD.search(message)
    if unknown is not None:
        fields = message_class(unknown[1]).DESCRIPTOR.fields_by_name
        message = f"{unknown[1]} has no field '{unknown[2]}'{did_you_mean(unknown[2], fields)}"
        message += _enclosing(text, line or 0)
    return ModelError(f"{place}: the prototxt cannot be parsed: {message}")


def _enclosing(text: str, line: int) -> str:
    """Which layer a line belongs to, in words; nothing when the text says no more."""
    book: Any = message_class("NetParameter")()
    try:
        text_format.Parse(text, book, allow_unknown_field=True)
    except text_format.ParseError:
        return ""
    starts = [(start, layer) for start, layer in zip(_layer_lines(text), book.layer, strict=False)]
    around = [(start, layer) for start, layer in starts if start <= line]
    if not around:
        return ""
    start, layer = around[-1]
    return f" (in layer '{layer.name}' of type '{layer.type}', line {start})"


def _layer(params: Params, line: int, file: str) -> Layer:
    name, kind = params.text("name"), params.text("type")
    layer = Layer(name, kind, line, params.texts("bottom"), params.texts("top"), params, file)
    if not name:
        raise ModelError(f"{file}:{line}: a layer of type '{kind}' has no name; name it")
    if not kind:
        raise ModelError(f"{file}:{line}: layer '{name}' has no type")
    return layer


def _upgraded(old: Any, file: str) -> Any:  # noqa: ANN401, classes that protobuf makes at run time
    """A layer of the old form in the new one."""
    kind = Params(old).word("type")
    if kind not in V1_TYPES:
        raise ModelError(f"{file}: layer '{old.name}' has no type")
    new: Any = message_class("LayerParameter")(name=old.name, type=V1_TYPES[kind])
    for field, value in old.ListFields():
        if field.name.endswith("_param"):
            getattr(new, field.name).CopyFrom(value)
        elif field.name in ("bottom", "top", "include", "exclude"):
            getattr(new, field.name).extend(value)
    return new


def _outer_inputs(book: Any, file: str) -> Iterator[Layer]:  # noqa: ANN401
    """A layer of type Input for each of the inputs that stand outside of layers."""
    names, dims = tuple(book.input), tuple(book.input_dim)
    shapes: Sequence[Sequence[int]] = [tuple(shape.dim) for shape in book.input_shape]
    if dims:
        shapes = [dims[i : i + 4] for i in range(0, len(dims), 4)]
    if len(shapes) != len(names) or len(dims) % 4:
        what = f"{len(dims)} input_dim" if dims else f"{len(shapes)} input_shape"
        wanted = "four input_dim, or one input_shape, for each input"
        raise ModelError(f"{file} has {len(names)} input but {what}; it needs {wanted}")
    for name, shape in zip(names, shapes, strict=True):
        message: Any = message_class("LayerParameter")(name=name, type="Input", top=[name])
        message.input_param.shape.add(dim=shape)
        yield _layer(Params(message), 0, file)


def _layer_lines(text: str) -> list[int]:
    """The line of each layer, in the order of the text: where its field begins."""
    found: list[int] = []
    line, depth, field, start = 1, 0, "", 0
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token in "{<":
            if depth == 0 and field in ("layer", "layers"):
                found.append(start)
            depth, start = depth + 1, line
        elif token in "}>":
            depth, start = depth - 1, line
        elif depth == 0 and token[0] not in "#\"'":
            field, start = token, line
    return found
