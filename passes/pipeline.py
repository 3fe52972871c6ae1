"""Pipelines as text: `fuse-bn{ops=Conv},insert-quant{skip="head 1",tail},calibrate{method=ifmr}`.

    pipeline := [ pass { "," pass } ]
    pass     := name [ "{" { option "=" [ word { "," word } ] } "}" ]
    word     := bare word | double-quoted text

White space may stand between any two of these, except that a value follows its `=` at once. `options.py`
says what the words of an option mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from qir.ir.errors import ParseError, QirError, did_you_mean
from qir.passes.base import Pass
from qir.passes.options import BARE_WORD, Option, OptionError, OptionValue, Word, chosen, options_of
from qir.passes.registry import PASSES

_NAME = re.compile(r"[^\s,{}=\"]+")
_SPACE = re.compile(r"\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPE = re.compile(r'\\([\\"])')
_Span = tuple[int, int]
V = TypeVar("V")


def parse_pipeline(
    text: str,
    passes: Mapping[str, type[Pass]] = PASSES,
    named: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Pass, ...]:
    """The passes that a pipeline text names, in order; ParseError points at the place of a mistake.

    `passes` maps names to classes (all passes of qir by default), `named` maps the names of ready
    pipelines, a target's for instance, to their texts: such a name may stand in place of a text.
    """
    word = text.strip()
    if word in named:
        return _Parser(named[word], passes, ()).pipeline()
    return _Parser(text, passes, tuple(named)).pipeline()


def print_pipeline(passes: Iterable[Pass]) -> str:
    """The canonical text of a pipeline, defaults left out; `parse_pipeline` gives back equal passes."""
    return ",".join(str(item) for item in passes)


class _Words(NamedTuple):
    """An option in the text: where its name stands, its words and where they stand."""

    span: _Span
    words: tuple[Word, ...]
    spans: tuple[_Span, ...]


class _Parser:
    """Reads one text from left to right; `at` is the position of the next character."""

    def __init__(self, text: str, passes: Mapping[str, type[Pass]], pipelines: Sequence[str]) -> None:
        self.text, self.passes, self.pipelines, self.at = text, passes, pipelines, 0

    def pipeline(self) -> tuple[Pass, ...]:
        found: list[Pass] = []
        self.skip_space()
        while self.at < len(self.text):
            if found:
                self.expect(",", "a comma between two passes")
            found.append(self.one_pass())
            self.skip_space()
        return tuple(found)

    def one_pass(self) -> Pass:
        name, span = self.name("the name of a pass")
        kind = self.passes.get(name)
        if kind is None:
            raise self.unknown_pass(name, span)
        self.skip_space()
        values = self.options(kind, span) if self.peek() == "{" else {}
        for option in options_of(kind).values():
            if option.is_required and option.field not in values:
                raise self.error(f"'{name}' needs the option '{option}'", span)
        try:
            return kind(**values)
        except QirError as error:
            raise self.error(f"'{name}': {error}", span) from error

    def unknown_pass(self, name: str, span: _Span) -> ParseError:
        alone = name == self.text.strip()
        pipelines = self.pipelines if alone else ()
        hint = did_you_mean(name, (*self.passes, *pipelines)) or "; qir-opt --list-passes shows them all"
        what = "pass or pipeline" if pipelines else "pass"
        return self.error(f"there is no {what} named '{name}'{hint}", span)

    def options(self, kind: type[Pass], span: _Span) -> dict[str, OptionValue]:
        """The values of a pass's fields; what belongs to a chosen dataclass goes into that."""
        own = options_of(kind)
        given = self.given(kind, own)
        choosing = next((option for option in own.values() if option.choices is not None), None)
        inner: Mapping[str, Option] = {}
        if choosing is not None:
            words = given.pop(choosing.name, None)
            choice = type(choosing.default) if words is None else self.converted(choosing, words, chosen)
            assert isinstance(choice, type)
            inner = {name: option for name, option in options_of(choice).items() if name not in own}
        values: dict[str, OptionValue] = {}
        inside: dict[str, OptionValue] = {}
        for name, words in given.items():
            option = own.get(name) or inner.get(name)
            if option is None:
                raise self.unknown_option(kind.name, name, words.span, (*own, *inner))
            (values if name in own else inside)[option.field] = self.converted(option, words, Option.parse)
        if choosing is not None:
            values[choosing.field] = self.built(choice, inside, kind.name, span)
        return values

    def built(self, choice: type, values: Mapping[str, OptionValue], name: str, span: _Span) -> object:
        """A dataclass in an option."""
        for option in options_of(choice).values():
            if option.is_required and option.field not in values:
                raise self.error(f"'{name}' needs the option '{option}'", span)
        try:
            return choice(**values)
        except QirError as error:
            raise self.error(f"'{name}': {error}", span) from error

    def unknown_option(self, name: str, option: str, span: _Span, known: Sequence[str]) -> ParseError:
        hint = did_you_mean(option, known) or f"; its options: {', '.join(known) or 'none'}"
        return self.error(f"'{name}' has no option '{option}'{hint}", span)

    def given(self, kind: type[Pass], own: Mapping[str, Option]) -> dict[str, _Words]:
        """The words of each option, in the order of the text."""
        found: dict[str, _Words] = {}
        self.expect("{", "options")
        self.skip_space()
        while self.peek() != "}":
            name, span = self.name(f"an option of '{kind.name}' or '}}'")
            if name in found:
                raise self.error(f"option '{name}' is given twice", span)
            self.skip_space()
            self.expect("=", f"'=' and the value of option '{name}'")
            found[name] = self.words(span)
            if name in own and own[name].choices is None:
                self.converted(own[name], found[name], Option.parse)  # the first mistake in the text counts
            self.skip_space()
        self.at += 1
        return found

    def words(self, name: _Span) -> _Words:
        words: list[Word] = []
        spans: list[_Span] = []
        start = self.at
        if not self.ends_value():
            while True:
                word, span = self.word()
                words.append(word)
                spans.append(span)
                if self.peek() != ",":
                    break
                self.at += 1
                self.skip_space()
        return _Words(name, tuple(words), tuple(spans) or ((start - 1, start),))

    def converted(self, option: Option, given: _Words, convert: Callable[[Option, tuple[Word, ...]], V]) -> V:
        try:
            return convert(option, given.words)
        except OptionError as error:
            raise self.error(str(error), given.spans[min(error.item, len(given.spans) - 1)]) from None

    def word(self) -> tuple[Word, _Span]:
        start = self.at
        match = _QUOTED.match(self.text, start)
        if match is not None:
            self.at = match.end()
            return Word(_ESCAPE.sub(r"\1", match[1]), quoted=True), match.span()
        if self.peek() == '"':
            raise self.error("this text has no closing quote", (start, start + 1))
        match = BARE_WORD.match(self.text, start)
        if match is None:
            raise self.error("a value is missing here", (start, start + 1))
        self.at = match.end()
        if self.peek() == "=":
            message = "a value with '=', space, comma, quote or brace stands in double quotes"
            raise self.error(message, (start, self.at + 1))
        return Word(match[0], quoted=False), match.span()

    def name(self, what: str) -> tuple[str, _Span]:
        match = _NAME.match(self.text, self.at)
        if match is None:
            raise self.error(f"expected {what}, found {self.found()}", (self.at, self.at + 1))
        self.at = match.end()
        return match[0], match.span()

    def expect(self, character: str, what: str) -> None:
        if self.peek() != character:
            raise self.error(f"expected {what}, found {self.found()}", (self.at, self.at + 1))
        self.at += 1
        if character != "=":
            self.skip_space()

    def peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def found(self) -> str:
        return f"'{self.peek()}'" if self.peek() else "the end"

    def ends_value(self) -> bool:
        return self.peek() == "}" or not self.peek() or self.peek().isspace()

    def skip_space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def error(self, message: str, span: _Span) -> ParseError:
        """An error whose text shows the line of the pipeline with the span underlined."""
        start, end = span
        first = self.text.rfind("\n", 0, start) + 1
        last = self.text.find("\n", start)
        line = self.text[first : len(self.text) if last < 0 else last]
        marks = "^" * max(1, min(end, first + len(line)) - start)
        indent = "".join("\t" if c == "\t" else " " for c in line[: start - first])
        return ParseError(f"in the pipeline: {message}\n  {line}\n  {indent}{marks}")
