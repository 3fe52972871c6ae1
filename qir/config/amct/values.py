"""Values of JSON with their place in the file: each is of the type asked for, or an error names the place."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from qir.config.amct.errors import AmctTypeError, AmctValueError
from qir.config.amct.file import JsonValue
from qir.ir.errors import did_you_mean


def parse_json(text: str, filename: str) -> Table:
    """The object that a JSON text holds; keys that stand twice anywhere are an error, as in AMCT."""

    def unique(pairs: Sequence[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
        found: dict[str, JsonValue] = {}
        for key, value in pairs:
            if key in found:
                raise AmctValueError(
                    f"Please delete repeated items in {filename}: '{key}' stands there twice"
                )
            found[key] = value
        return found

    try:
        root = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise AmctValueError(
            f"{filename}:{error.lineno}:{error.colno}: this is not JSON: {error.msg}"
        ) from error
    except RecursionError:
        raise AmctValueError(f"{filename}: the JSON is nested too deeply") from None
    return Entry(root, filename, ()).table()


@dataclass(frozen=True)
class Entry:
    """One value, and the keys that lead to it."""

    value: JsonValue
    filename: str
    path: tuple[str, ...]

    @property
    def place(self) -> str:
        """`layer conv1: activation_quant_params.num_bits`, in words of the file."""
        return ".".join(self.path) or f"'{self.filename}'"

    def wrong_type(self, expected: str) -> AmctTypeError:
        """The error for a value of another JSON type."""
        return AmctTypeError(f"{self.place} must be {expected}, not {_shown(self.value)}")

    def invalid(self, expected: str) -> AmctValueError:
        """The error for a value out of its range."""
        return AmctValueError(f"{self.place} must be {expected}, not {_shown(self.value)}")

    def boolean(self) -> bool:
        """true or false."""
        if not isinstance(self.value, bool):
            raise self.wrong_type("true or false")
        return self.value

    def integer(self) -> int:
        """A whole number."""
        if isinstance(self.value, bool) or not isinstance(self.value, int):
            raise self.wrong_type("an integer")
        return self.value

    def number(self) -> float:
        """A finite number."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self.wrong_type("a number")
        if not math.isfinite(self.value):
            raise self.invalid("a finite number")
        return float(self.value)

    def string(self) -> str:
        """A text."""
        if not isinstance(self.value, str):
            raise self.wrong_type("a string")
        return self.value

    def one_of(self, choices: Collection[str]) -> str:
        """One of some texts."""
        found = self.string()
        if found not in choices:
            listed = " or ".join(f"'{c}'" for c in choices)
            raise AmctValueError(
                f"{self.place} must be {listed}, not '{found}'{did_you_mean(found, choices)}"
            )
        return found

    def among(self, choices: Collection[int]) -> int:
        """One of some integers."""
        found = self.integer()
        if found not in choices:
            raise self.invalid("one of " + ", ".join(str(c) for c in choices))
        return found

    def pair(self) -> tuple[float, float]:
        """A list of two numbers."""
        items = self.items()
        if len(items) != 2:
            raise self.wrong_type("a list of two numbers")
        return items[0].number(), items[1].number()

    def items(self) -> list[Entry]:
        """The elements of a list."""
        if not isinstance(self.value, list):
            raise self.wrong_type("a list")
        return [Entry(v, self.filename, (*self.path, f"[{i}]")) for i, v in enumerate(self.value)]

    def table(self) -> Table:
        """An object."""
        if not isinstance(self.value, dict):
            raise self.wrong_type("an object {…}")
        return Table(self.value, self.filename, self.path)


@dataclass(frozen=True)
class Table:
    """An object of JSON, whose keys are taken by name."""

    values: Mapping[str, JsonValue]
    filename: str
    path: tuple[str, ...]

    def get(self, key: str) -> Entry | None:
        """The value of a key, or None where it is missing."""
        return self[key] if key in self.values else None

    def __getitem__(self, key: str) -> Entry:
        return Entry(self.values[key], self.filename, (*self.path, key))

    def __contains__(self, key: object) -> bool:
        return key in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def check_keys(self, known: Collection[str]) -> None:
        """AmctValueError for a key that is none of the known ones."""
        for key in self.values:
            if key not in known:
                place = ".".join((*self.path, key))
                raise AmctValueError(
                    f"{place} is an invalid parameter{did_you_mean(key, known) or _listed(known)}"
                )


def _listed(known: Collection[str]) -> str:
    return f"; known here: {', '.join(known)}"


def _shown(value: JsonValue) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "…"
