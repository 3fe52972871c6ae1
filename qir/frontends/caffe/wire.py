"""Takes a message of protobuf apart into its fields without decoding them."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.message import DecodeError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}
_LONGEST = 10  # bytes of a varint


def split_fields(data: bytes | memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of each field that holds bytes, in order; others are passed over.

    DecodeError where the message ends within a field, or is none.
    """
    view, place = memoryview(data), 0
    while place < len(view):
        tag, place = _varint(view, place)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            _, place = _varint(view, place)
            continue
        if kind == _BYTES:
            size, place = _varint(view, place)
        elif kind in _WIDTHS:
            size = _WIDTHS[kind]
        else:
            raise DecodeError(f"wire type {kind}")
        if number == 0 or place + size > len(view):
            raise DecodeError("the message ends within a field")
        if kind == _BYTES:
            yield number, view[place : place + size]
        place += size


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """The number at a place, and the place behind it."""
    found = 0
    for i, byte in enumerate(view[place : place + _LONGEST]):
        found |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return found, place + i + 1
    raise DecodeError("the message ends within a number")
