"""Reads the elements of constants and the numbers of IR text, each rounded once to its type."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.lexer import Lexer

_FLOAT32, _FLOAT16 = struct.Struct("<f"), struct.Struct("<e")
_LARGEST = float(np.finfo(np.float32).max)
_LONGEST_INTEGER = 21
"""Characters of -2^63 and some more; longer ones are out of range of every type."""


class Item(NamedTuple):
    """A literal whose element type may not be known yet: the token and where it stands."""

    kind: str
    text: str
    start: int


def take_item(lexer: Lexer) -> Item:
    """Step over a number, string, hexadecimal string or word (true, false, inf, nan)."""
    item = Item(lexer.kind, lexer.text, lexer.start)
    if item.kind not in ("number", "string", "hex", "name"):
        raise lexer.unexpected("a number, true, false or a string")
    lexer.advance()
    return item


def read_float(lexer: Lexer, item: Item, dtype: DType) -> float:
    """A float of the width of `dtype`; ParseError when it is no number or out of range."""
    if item.kind != "number" and item.text not in ("inf", "nan"):
        raise lexer.error(f"expected a number, but found '{item.text}'", item.start)
    if dtype is DType.F32:
        x = round_float32(item.text)
    else:
        x = float(item.text) if dtype is DType.F64 else _round(float(item.text), _FLOAT16)
    if math.isinf(x) and "inf" not in item.text:
        raise lexer.error(f"{item.text} is out of range of {dtype.value}", item.start)
    return x


def round_float32(text: str) -> float:
    """The float32 nearest to a decimal, rounded once.

    Rounding to float64 first gives another number where that falls on the middle between two float32 numbers
    though the decimal does not; there the exact fractions decide.
    """
    x = float(text)
    near = _round(x, _FLOAT32)
    if near == x or not abs(near) < _LARGEST:
        return near
    other = float(np.nextafter(np.float32(near), np.float32(math.inf if x > near else -math.inf)))
    if x - near != other - x:
        return near
    exact, middle = Fraction(text), Fraction(x)
    if exact == middle:
        return near
    return max(near, other) if exact > middle else min(near, other)


def _round(x: float, storage: struct.Struct) -> float:
    """The nearest number of a narrower type; an infinity beyond its range."""
    try:
        (near,) = storage.unpack(storage.pack(x))
    except OverflowError:
        return math.copysign(math.inf, x)
    return float(near)


def read_constant(
    lexer: Lexer, items: Sequence[Item], is_list: bool, dtype: DType, shape: tuple[int, ...], start: int
) -> Constant:
    """The constant whose data stand in the text: a list, one element, or the bytes of an opaque type."""
    if dtype.numpy is None:
        if is_list or items[0].kind != "hex":
            raise lexer.error(f'{dtype.value} data are written as bytes: x"803f"', start)
        data = np.frombuffer(bytes.fromhex(items[0].text[2:-1]), np.uint8)
    else:
        size = math.prod(shape)
        if is_list == (shape == ()) or len(items) != size:
            wanted = "one element without brackets" if shape == () else f"a list of {size}"
            found = f"a list of {len(items)}" if is_list else "one element without brackets"
            raise lexer.error(f"the data of shape {list(shape)} are {wanted}, but here is {found}", start)
        data = np.empty(len(items), dtype.numpy)
        for i, item in enumerate(items):
            data[i] = _element(lexer, item, dtype)
        data = data.reshape(shape)
    try:
        return Constant(dtype, shape, data)
    except ValueError as error:
        raise lexer.error(str(error), start) from error


def _element(lexer: Lexer, item: Item, dtype: DType) -> float | int | bytes:
    text = item.text
    if dtype is DType.STR and item.kind == "string":
        try:
            return lexer.unquote(text, item.start).encode()
        except UnicodeEncodeError as error:
            raise lexer.error(f"{text} is not Unicode text: {error.reason}", item.start) from error
    if dtype is DType.STR and item.kind == "hex":
        return bytes.fromhex(text[2:-1])
    if dtype is DType.BOOL and text in ("true", "false"):
        return text == "true"
    if dtype.is_float:
        return read_float(lexer, item, dtype)
    if dtype.is_integer and text.lstrip("-").isdecimal() and len(text) < _LONGEST_INTEGER:
        low, high = dtype.integer_range
        if low <= int(text) <= high:
            return int(text)
    raise lexer.error(f"{text} is not an element of type {dtype.value}", item.start)
