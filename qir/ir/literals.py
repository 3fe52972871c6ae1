"""Parses types, quantizations and constants of IR text; the grammar stands in `parser.py`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import did_you_mean
from qir.ir.lexer import Lexer
from qir.ir.numerals import Item, read_constant, read_float, take_item
from qir.ir.printer import print_type
from qir.ir.types import (
    UNKNOWN,
    Dim,
    MapType,
    OptionalType,
    Quant,
    QuantParams,
    QuantSpec,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
)

T = TypeVar("T")
_DTYPES = {dtype.value: dtype for dtype in DType}
_NESTED = ("map", "optional", "seq", "sparse")
_DEPTH = 64
_PLAIN_TENSOR = re.compile(r"\w+\[[\w,? -]*\](?![ \t\r\n]*[!/])", re.ASCII)


class Literals:
    """Parses types and constants; `constants` maps the digests of data that live beside the text."""

    def __init__(self, lexer: Lexer, constants: Mapping[str, Constant] | None) -> None:
        self.lexer, self.constants = lexer, constants
        self._depth = 0
        self._types: dict[str, TensorType] = {}

    def type(self) -> Type:
        """`f32[N,3]!i8<…>`, `?`, `seq(…)`, `optional(…)`, `map(key, …)` or `sparse(…)`."""
        lexer = self.lexer
        if lexer.kind != "name" or lexer.text not in _NESTED:
            return self._repeated() or self._tensor()
        start, word = lexer.start, lexer.text
        lexer.advance()
        lexer.expect("(", f"after '{word}'")
        self._depth += 1
        if self._depth > _DEPTH:
            raise lexer.error(f"a type is nested more than {_DEPTH} deep", start)
        found = self._nested(word, start)
        self._depth -= 1
        lexer.expect(")", f"that closes '{word}('")
        return found

    def _nested(self, word: str, start: int) -> Type:
        if word == "map":
            key = self.dtype()
            self.lexer.expect(",", "between the key and the value of a map")
            return MapType(key, self.type())
        element = self.type()
        if word == "seq":
            return SequenceType(element)
        if word == "optional":
            return OptionalType(element)
        if not isinstance(element, TensorType) or element.quant is not None:
            raise self.lexer.error("a sparse tensor has an element type and a shape, nothing else", start)
        return SparseTensorType(element.dtype, element.shape)

    def _repeated(self) -> TensorType | None:
        """A tensor type that the text has had before, found by its spelling: most types repeat."""
        match = _PLAIN_TENSOR.match(self.lexer.source, self.lexer.start)
        if match is None:
            return None
        spelling = match.group()
        found = self._types.get(spelling)
        if found is None:
            found = self._types[spelling] = self._tensor()
        else:
            self.lexer.jump(match.end())
        return found

    def _tensor(self) -> TensorType:
        lexer = self.lexer
        unknown = lexer.accept("?")
        dtype = None if unknown else self.dtype()
        shape: tuple[Dim, ...] | None = None
        if lexer.accept("["):
            shape = tuple(self.sequence("]", self._dim))
        elif not lexer.accept("?"):
            if unknown:
                return UNKNOWN
            raise lexer.unexpected("'[' and the dimensions, or '?' for an unknown rank,")
        return TensorType(dtype, shape, self._quant() if lexer.accept("!") else None)

    def sequence(self, close: str, element: Callable[[], T]) -> Iterator[T]:
        """The elements up to the closing mark, commas between them; the opening mark has been read."""
        if self.lexer.accept(close):
            return
        while True:
            yield element()
            if self.lexer.accept(close):
                return
            self.lexer.expect(",", f"or '{close}' after an element")

    def _dim(self) -> Dim:
        lexer = self.lexer
        if lexer.accept("?"):
            return None
        if lexer.kind == "number":
            return lexer.integer("a dimension")
        return lexer.name("a dimension: a number, a symbol or '?'")

    def dtype(self) -> DType:
        """An element type such as `f32`; ParseError with the nearest names otherwise."""
        lexer = self.lexer
        if lexer.kind != "name":
            raise lexer.unexpected("an element type such as f32")
        found = _DTYPES.get(lexer.text)
        if found is None:
            hint = did_you_mean(lexer.text, [*_DTYPES, *_NESTED])
            raise lexer.error(f"there is no element type '{lexer.text}'{hint}")
        lexer.advance()
        return found

    def _quant(self) -> Quant:
        lexer = self.lexer
        start, options = lexer.start, _QuantOptions()
        qtype = self.dtype()
        if lexer.accept("<"):
            while not lexer.accept(">"):
                self._quant_option(options)
        try:
            spec = QuantSpec(qtype, not options.asym, options.axis, options.groups)
            if options.scale is None and not options.closed:
                if options.zero is not None:
                    raise ValueError("a zero point without a scale")
                return spec
            scale, zero = options.scale or (), options.zero or (0,)
            return QuantParams(spec, scale, zero * len(scale) if len(zero) == 1 else zero)
        except ValueError as error:
            raise lexer.error(f"malformed quantization: {error}", start) from error

    def _quant_option(self, options: _QuantOptions) -> None:
        lexer = self.lexer
        start, word = lexer.start, lexer.take("name", "an option of the quantization or '>'")
        if word in options.given:
            raise lexer.error(f"'{word}' is given twice", start)
        options.given.append(word)
        if word == "asym":
            options.asym = True
        elif word == "closed":
            options.closed = True
        elif word not in ("axis", "groups", "scale", "zero"):
            known = ("asym", "axis", "groups", "scale", "zero", "closed")
            hint = did_you_mean(word, known) or f"; known: {', '.join(known)}"
            raise lexer.error(f"a quantization has no option '{word}'{hint}", start)
        else:
            lexer.expect("=", f"after '{word}'")
            if word == "axis":
                options.axis = lexer.integer("an axis")
            elif word == "groups":
                options.groups = lexer.integer("a number of groups")
            elif word == "scale":
                options.scale = self._vector(DType.F32, self.float32)
            else:
                options.zero = self._vector(DType.I64, lambda: lexer.integer("a zero point"))

    def _vector(self, dtype: DType, element: Callable[[], T]) -> tuple[T, ...]:
        """One number, a list of them, or the digest of a vector beside the text."""
        lexer = self.lexer
        if lexer.accept("["):
            return tuple(self.sequence("]", element))
        if lexer.kind != "digest":
            return (element(),)
        start = lexer.start
        held = self._beside()
        if held.dtype is not dtype or len(held.shape) != 1:
            raise lexer.error(f"data {held} cannot be a {dtype.value} vector", start)
        return tuple(held.array.tolist())

    def float32(self) -> float:
        """A float32 number; ParseError when it is out of range."""
        return read_float(self.lexer, take_item(self.lexer), DType.F32)

    def constant(self) -> Constant:
        """What follows `const`: inline data or a digest, then `: type`."""
        lexer = self.lexer
        start = lexer.start
        held: Constant | None = None
        items: list[Item] = []
        is_list = False
        if lexer.kind == "digest":
            held = self._beside()
        else:
            is_list = lexer.accept("[")
            items = [*self.sequence("]", lambda: take_item(lexer))] if is_list else [take_item(lexer)]
        lexer.expect(":", "and the type of the constant")
        where = lexer.start
        kind = self.type()
        shape = kind.static_shape if isinstance(kind, TensorType) else None
        if not isinstance(kind, TensorType) or kind.dtype is None or shape is None or kind.quant is not None:
            raise lexer.error("the type of a constant is an element type and a known shape", where)
        if held is None:
            return read_constant(lexer, items, is_list, kind.dtype, shape, start)
        if (held.dtype, held.shape) != (kind.dtype, shape):
            found = print_type(held.type)
            raise lexer.error(f"the data have the type {found}, not {print_type(kind)}", where)
        return held

    def _beside(self) -> Constant:
        """The constant of a digest token."""
        start, digest = self.lexer.start, self.lexer.take("digest", "a digest")[1:]
        found = None if self.constants is None else self.constants.get(digest)
        if found is not None:
            return found
        why = "the .npz file beside the text is missing or does not fit it"
        if self.constants is None:
            why = "this text stands alone, but such data live in an .npz file beside it: load the .qir file"
        raise self.lexer.error(f"there are no data for #{digest}: {why}", start)


class _QuantOptions:
    """What has been read of the options of one quantization."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.asym = self.closed = False
        self.axis: int | None = None
        self.groups = 1
        self.scale: tuple[float, ...] | None = None
        self.zero: tuple[int, ...] | None = None
