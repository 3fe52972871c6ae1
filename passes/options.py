"""Options of a pass as text and back: the fields of its dataclass, converted by their type hints.

An option may be int, float, str, bool, a Literal of strings, a string Enum, a tuple of any length of one of
these, or any of them optional. In text it is `kebab-case-name=value`; a tuple is `a,b,c` (empty: nothing
after the `=`), an absent value `none`, a truth value `true` or `false`. A value stands in double quotes
when it is not a plain word; there `\\"` and `\\\\` are escapes and every other backslash is itself, so that
regular expressions stay readable.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Annotated, Literal, NamedTuple, get_args, get_origin, get_type_hints

from qir.ir.errors import did_you_mean

Scalar = bool | int | float | str | enum.Enum
Configured = object
"""An instance of a dataclass whose fields are options."""
OptionValue = Scalar | tuple[Scalar, ...] | Configured | None

BARE_WORD = re.compile(r'[^\s,{}="]+')
"""Values that need no quotes."""
_NONE = "none"


class Word(NamedTuple):
    """One value in the text; `"none"` in quotes is a string, the bare word is the absent value."""

    text: str
    quoted: bool


class OptionError(ValueError):
    """A word is no value of an option; `item` is its place in a list. The pipeline parser adds the rest."""

    def __init__(self, message: str, item: int = 0) -> None:
        super().__init__(message)
        self.item = item


@dataclass(frozen=True)
class Option:
    """One option of a pass: its name in text, its field, and how words become values.

    `kind` describes one element, `element` converts one word (ValueError when it does not fit).
    """

    name: str
    field: str
    kind: str
    element: Callable[[str], Scalar]
    is_list: bool
    is_optional: bool
    is_required: bool
    default: OptionValue
    choices: Mapping[str, type] | None = None
    """The dataclasses among which the option chooses, with options of their own."""

    def parse(self, words: tuple[Word, ...]) -> OptionValue:
        """The value that words between commas stand for; OptionError says what was expected."""
        if self.is_optional and words == (Word(_NONE, quoted=False),):
            return None
        if self.is_list:
            return tuple(self._element(word, i) for i, word in enumerate(words))
        if not words:
            raise OptionError(f"option '{self.name}' has no value; it takes {self.kind}")
        if len(words) > 1:
            raise OptionError(f"option '{self.name}' takes one value, not a list", 1)
        return self._element(words[0], 0)

    def _element(self, word: Word, item: int) -> Scalar:
        try:
            return self.element(word.text)
        except OptionError as error:
            raise OptionError(f"option '{self.name}' takes {self.kind}, {error}", item) from None
        except ValueError:
            raise OptionError(f"option '{self.name}' takes {self.kind}, not '{word.text}'", item) from None

    def __str__(self) -> str:
        """`bits: an integer = 8`: name, kind and default, for lists of passes."""
        if self.choices is not None:
            return f"{self.name}: one of {', '.join(self.choices)} = {_name_in(self.choices, self.default)}"
        kind = f"list of: {self.kind}" if self.is_list else self.kind
        kind += f", or {_NONE}" if self.is_optional else ""
        return f"{self.name}: {kind}" + (" (required)" if self.is_required else f" = {_print(self.default)}")


@cache
def options_of(kind: type) -> Mapping[str, Option]:
    """The options of a pass class, or of a dataclass in an option, by name in text, in the order of fields.

    A field of a type that has no text is a mistake in the class: TypeError.
    """
    hints = get_type_hints(kind, include_extras=True)
    found = (_option(kind, f, hints[f.name]) for f in dataclasses.fields(kind) if f.init)
    return {option.name: option for option in found}


def _option(kind: type, field: dataclasses.Field[OptionValue], hint: object) -> Option:
    if get_origin(hint) is Annotated:
        return _choosing_option(field, get_args(hint)[1])
    element, is_optional = _without_none(hint)
    is_list = get_origin(element) is tuple and get_args(element)[1:] == (...,)
    converted = _converter(get_args(element)[0] if is_list else element)
    if converted is None:
        raise TypeError(
            f"option '{field.name}' of {kind.__name__} has type {hint}, which has no pipeline text"
        )
    default: OptionValue = None
    if field.default is not dataclasses.MISSING:
        default = field.default
    elif field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    name = field.name.replace("_", "-")
    return Option(name, field.name, *converted, is_list, is_optional, required, default)


def _choosing_option(field: dataclasses.Field[OptionValue], choices: Mapping[str, type]) -> Option:
    """An option that chooses among dataclasses; its field must have a default."""
    name = field.name.replace("_", "-")
    return Option(name, field.name, "a name", str, False, False, False, field.default, choices)


def chosen(option: Option, words: tuple[Word, ...]) -> type:
    """The dataclass that the words of a choosing option name; OptionError with the nearest names."""
    assert option.choices is not None
    if len(words) != 1:
        raise OptionError(
            f"option '{option.name}' takes one of {', '.join(option.choices)}", min(len(words), 1)
        )
    if words[0].text not in option.choices:
        hint = did_you_mean(words[0].text, option.choices)
        raise OptionError(
            f"option '{option.name}' takes one of {', '.join(option.choices)}, not '{words[0].text}'{hint}"
        )
    return option.choices[words[0].text]


def _without_none(hint: object) -> tuple[object, bool]:
    """The hint without `None`, and whether there was one."""
    if get_origin(hint) not in (types.UnionType, typing.Union):
        return hint, False
    rest = [a for a in get_args(hint) if a is not types.NoneType]
    return (rest[0] if len(rest) == 1 else hint), len(rest) < len(get_args(hint))


def _converter(hint: object) -> tuple[str, Callable[[str], Scalar]] | None:
    """What one element is called, and how a word becomes one."""
    if get_origin(hint) is Literal:
        return _choice_of({str(choice): choice for choice in get_args(hint)})
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _choice_of({str(member.value): member for member in hint})
    return next((found for kind, found in _PLAIN if kind is hint), None)


def _choice_of(choices: Mapping[str, Scalar]) -> tuple[str, Callable[[str], Scalar]]:
    return "one of " + ", ".join(choices), partial(_choice, choices)


def _choice(choices: Mapping[str, Scalar], text: str) -> Scalar:
    if text not in choices:
        raise OptionError(f"not '{text}'{did_you_mean(text, choices)}")
    return choices[text]


def _float(text: str) -> float:
    value = float(text)
    if math.isnan(value):
        raise ValueError(text)
    return value


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


_PLAIN: tuple[tuple[type, tuple[str, Callable[[str], Scalar]]], ...] = (
    (bool, ("true or false", _bool)),
    (int, ("an integer", int)),
    (float, ("a number", _float)),
    (str, ("a text", str)),
)


def print_options(item: object) -> str:
    """`{bits=4 ops=Conv,Gemm}`: the options that differ from their defaults, or nothing when none does."""
    parts = _differing(item)
    return "{" + " ".join(parts) + "}" if parts else ""


def _differing(item: object) -> list[str]:
    parts: list[str] = []
    kind: type = type(item)
    for option in options_of(kind).values():
        value: OptionValue = getattr(item, option.field)
        if not option.is_required and value == option.default:
            continue
        if option.choices is None:
            parts.append(f"{option.name}={_print(value)}")
        else:
            parts += [f"{option.name}={_name_in(option.choices, value)}", *_differing(value)]
    return parts


def _name_in(choices: Mapping[str, type], value: OptionValue) -> str:
    """The name of a dataclass in an option; its class must be among the choices."""
    return _print_text(next(name for name, kind in choices.items() if kind is type(value)))


def _print(value: OptionValue) -> str:
    if isinstance(value, tuple):
        return ",".join(_print(v) for v in value)
    if value is None:
        return _NONE
    if isinstance(value, enum.Enum):
        return _print_text(str(value.value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return _print_text(value) if isinstance(value, str) else repr(value)


def _print_text(text: str) -> str:
    if BARE_WORD.fullmatch(text) and text != _NONE:
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
