"""Splits IR text into tokens and reports mistakes with file, line, column and a caret."""

from __future__ import annotations

import re

from qir.ir.errors import ParseError

_PLAIN = r"[A-Za-z_][\w.]*(?:/(?!/)[\w.]*)*"
_STRING = r'"[^"\\\n]*(?:\\.[^"\\\n]*)*"'
_TOKENS = re.compile(
    rf"""[ \t\r\n]*
    (?:(?P<comment>//[^\n]*)
    |(?P<value>%(?:{_PLAIN}|{_STRING}))
    |(?P<hex>x"[0-9a-fA-F]*")
    |(?P<name>{_PLAIN})
    |(?P<string>{_STRING})
    |(?P<number>-?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|inf\b|nan\b))
    |(?P<digest>\#[0-9a-f]+)
    |(?P<mark>[@=(){{}}\[\],:<>!?.-])
    |(?P<end>\Z)
    |(?P<bad>.))""",
    re.VERBOSE | re.ASCII,
)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"'}
_WIDTH = 100


class Lexer:
    """One text and the token at which a parser stands: its `kind`, its `text` and the `start` position.

    Kinds: value (`%x`), name (a plain word), string, hex (`x"00ff"`), number, digest (`#1f3a`), mark
    (punctuation) and end. Comments and white space are skipped.
    """

    def __init__(self, source: str, filename: str) -> None:
        self.source, self.filename = source, filename
        self.jump(0)

    def advance(self) -> None:
        """Go to the next token."""
        self.jump(self._end)

    def jump(self, position: int) -> None:
        """Go to the first token at or after a position."""
        while True:
            match = _TOKENS.match(self.source, position)
            assert match is not None  # the last alternatives match anything
            kind, position = match.lastgroup or "", match.end()
            if kind != "comment":
                break
        self.kind, self.text, self.start, self._end = kind, match[kind], match.start(kind), position
        if kind == "bad":
            what = "this string is not closed" if self.text == '"' else f"unexpected {self.text!r}"
            if self.text == "%":
                what = "a value needs a name right after '%'; quote names that are not plain words"
            raise self.error(what)

    def at(self, mark: str) -> bool:
        """True when the token is this punctuation mark."""
        return self.text == mark and self.kind == "mark"

    def accept(self, mark: str) -> bool:
        """Step over this punctuation mark if it is the token."""
        if self.text != mark or self.kind != "mark":
            return False
        self.advance()
        return True

    def expect(self, mark: str, purpose: str) -> None:
        """Step over this punctuation mark; ParseError naming its purpose otherwise."""
        if not self.accept(mark):
            raise self.unexpected(f"'{mark}' {purpose}")

    def take(self, kind: str, what: str) -> str:
        """The text of the token of that kind, stepping over it; ParseError saying `what` was expected."""
        if self.kind != kind:
            raise self.unexpected(what)
        text = self.text
        self.advance()
        return text

    def keyword(self, word: str) -> bool:
        """Step over a plain word if it is the token."""
        if self.kind != "name" or self.text != word:
            return False
        self.advance()
        return True

    def name(self, what: str) -> str:
        """A name, plain or quoted."""
        if self.kind == "string":
            return self.string(what)
        return self.take("name", what)

    def string(self, what: str) -> str:
        """The content of a quoted string."""
        start = self.start
        return self.unquote(self.take("string", what), start)

    def value_name(self) -> str:
        """The name in a `%name` token, stepping over it."""
        start = self.start
        text = self.take("value", "a value such as %x")
        return self.unquote(text[1:], start + 1) if text[1] == '"' else text[1:]

    def integer(self, what: str) -> int:
        """A whole number."""
        start = self.start
        text = self.take("number", what)
        try:
            return int(text)
        except ValueError:
            raise self.error(f"expected {what}, a whole number, but found {text}", start) from None

    def unquote(self, text: str, start: int) -> str:
        """The content of a quoted string that stands at `start`."""
        body = text[1:-1]
        if "\\" not in body:
            return body

        def meant(match: re.Match[str]) -> str:
            code, letter = match[1] or match[2], match[3]
            if code and int(code, 16) < 0x110000:
                return chr(int(code, 16))
            if letter not in _LETTERS:
                where = start + 1 + match.start()
                raise self.error(f'unknown escape {match[0]}; known: \\n \\t \\r \\\\ \\" \\uXXXX', where)
            return _LETTERS[letter]

        return _ESCAPE.sub(meant, body)

    def unexpected(self, what: str) -> ParseError:
        """The error that something else was expected than the token."""
        found = "the end of the text" if self.kind == "end" else f"'{_shorten(self.text)}'"
        return self.error(f"expected {what}, but found {found}")

    def error(self, message: str, start: int | None = None) -> ParseError:
        """`file:line:col: message`, the source line and a caret under `start` (the token)."""
        where = self.start if start is None else start
        line = self.source.count("\n", 0, where) + 1
        begin = self.source.rfind("\n", 0, where) + 1
        end = self.source.find("\n", where)
        left = max(begin, where - _WIDTH)  # of a very long line a window is enough
        right = min(len(self.source) if end < 0 else end, where + _WIDTH)
        head, tail = "…" if left > begin else "", self.source[left:right].rstrip("\r")
        pad = "".join("\t" if c == "\t" else " " for c in head + self.source[left:where])
        place = f"{self.filename}:{line}:{where - begin + 1}"
        return ParseError(f"{place}: {message}\n{head}{tail}\n{pad}^")


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"
