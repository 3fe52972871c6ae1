"""The message classes of a prototxt, built from the table of fields; no generated code is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from qir.frontends.caffe.fields import ENUMS, MESSAGES

_Field = descriptor_pb2.FieldDescriptorProto
_PACKAGE = "qir.caffe"
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "float": _Field.TYPE_FLOAT,
    "int": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
    "uint": _Field.TYPE_UINT64,
}
_FIELD = re.compile(r"(\w+)(\*?)(?:=(\S+))?")
_WORDS = "Words"  # an enum stands in a message of its name: the words of two enums may be the same


@cache
def message_class(name: str) -> type[message.Message]:
    """The class of a message of the table."""
    made: type[message.Message] = message_factory.GetMessageClass(
        _pool().FindMessageTypeByName(f"{_PACKAGE}.{name}")
    )
    return made


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="qir/caffe.proto", package=_PACKAGE)
    for name, words in ENUMS.items():
        kind = file.message_type.add(name=name).enum_type.add(name=_WORDS)
        number = -1
        for word in words.split():
            text, _, stated = word.partition("=")
            number = int(stated) if stated else number + 1
            kind.value.add(name=text, number=number)
    for name, text in MESSAGES.items():
        made = file.message_type.add(name=name)
        for number, (kind_name, field, repeated, default) in enumerate(_fields(text), 1):
            _add_field(made, number, kind_name, field, repeated, default)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _fields(text: str) -> Iterator[tuple[str, str, bool, str]]:
    """Kind, name, repeated, default of each field of a message."""
    for line in re.split(r"[;\n]", text):
        kind, *names = line.split() or [""]
        for item in names:
            found = _FIELD.fullmatch(item)
            assert found is not None, item
            yield kind, found[1], bool(found[2]), found[3] or ""


def _add_field(
    made: descriptor_pb2.DescriptorProto, number: int, kind: str, field: str, repeated: bool, default: str
) -> None:
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    added = made.field.add(name=field, number=number, label=label)
    if default:
        added.default_value = default
    if kind in _SCALARS:
        added.type = _SCALARS[kind]
    elif kind in ENUMS:
        added.type, added.type_name = _Field.TYPE_ENUM, f".{_PACKAGE}.{kind}.{_WORDS}"
    else:
        added.type, added.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
