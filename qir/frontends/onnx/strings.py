"""Finds text in a model that is not UTF-8: protobuf hands it out as bytes, where later code wants text."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from qir.ir.errors import ModelError

_TENSOR_TEXTS = ("name", "doc_string", "external_data")  # fetching all fields would copy the data


def check_strings(message: Message, origin: str) -> None:
    """Raise ModelError when a name or another text within `message` is not UTF-8: the file is damaged."""
    _check(message, origin, set())


def _check(message: Message, origin: str, seen: set[bytes]) -> None:
    """As `check_strings`; `seen` are types that were looked at, for most values share a few."""
    kind = message.DESCRIPTOR.name
    if kind == "TypeProto":
        text = message.SerializeToString()
        if text in seen:
            return
        seen.add(text)
    if kind == "TensorProto":
        values = [getattr(message, name) for name in _TENSOR_TEXTS]
    else:
        values = [value for field, value in message.ListFields() if field.type in _TEXTS]
    for value in values:
        for item in (value,) if isinstance(value, (str, bytes, Message)) else value:
            if isinstance(item, Message):
                _check(item, origin, seen)
            elif not isinstance(item, str):
                raise ModelError(f"{origin} is damaged: the text {item!r} in a {kind} is not UTF-8")


_TEXTS = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE)
