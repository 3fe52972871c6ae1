"""Numbers on the page: looked up in a document, shown rounded, and marked with their place and value."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from qir.report.sources import Sources

Kind = Literal["cosine", "sqnr", "share", "bytes", "count", "scale", "plain"]
NONE = "–"
_WORDS = {math.inf: "∞", -math.inf: "−∞"}


@dataclass(frozen=True)
class Number:
    """A number of a document: its place (names and positions, joined by /), value, and the text shown."""

    at: str
    value: float
    text: str

    def __html__(self) -> str:
        """As HTML, with the exact value for sorting and for checks."""
        return Markup('<data value="{}" data-at="{}">{}</data>').format(
            value_text(self.value), self.at, self.text
        )

    def __str__(self) -> str:
        return self.text


def number_at(sources: Sources, *path: str | int, kind: Kind = "plain") -> Number | str:
    """The number at a place of the documents; a dash where there is none, and words as they are."""
    found = sources.get(*path)
    value = as_number(found)
    if value is None:
        return NONE if found is None else str(found)
    return Number(place(*path), value, shown(value, kind))


def length_at(sources: Sources, *path: str | int) -> Number | str:
    """How many entries a list or an object of the documents has."""
    found = sources.get(*path)
    if not isinstance(found, (list, dict)):
        return NONE
    return Number(place(*path), len(found), shown(len(found), "count"))


def as_number(found: object) -> float | None:
    """A JSON number, or one of the words for those that JSON lacks."""
    if isinstance(found, bool):
        return None
    if isinstance(found, (int, float)):
        return found
    return float(found) if isinstance(found, str) and found in ("inf", "-inf", "nan") else None


def place(*path: str | int) -> str:
    """A path as text, escaped as in a JSON pointer (RFC 6901)."""
    return "/".join(str(step).replace("~", "~0").replace("/", "~1") for step in path)


def value_text(value: float) -> str:
    """A number as JSON writes it."""
    return repr(value) if math.isfinite(value) else str(value)


def shown(value: float, kind: Kind) -> str:
    """A number for people."""
    if math.isnan(value):
        return "not finite"
    return _WORDS[value] if math.isinf(value) else _FORMATS[kind](value).replace("-", "−")


def _share(value: float) -> str:
    """In percent; what is almost nothing is not shown as nothing."""
    return f"{100 * value:.1f} %" if value == 0 or abs(value) >= 5e-4 else f"{100 * value:.1g} %"


def _plain(value: float) -> str:
    """4 digits, but whole numbers as they are."""
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def _bytes(value: float) -> str:
    return f"{value / 1e6:.2f} MB" if value >= 1e6 else f"{value / 1e3:.1f} kB"


_FORMATS: dict[str, Callable[[float], str]] = {
    "cosine": lambda value: f"{value:.6f}",
    "sqnr": lambda value: f"{value:.1f}",
    "share": _share,
    "bytes": _bytes,
    "count": lambda value: f"{value:,.0f}",
    "scale": lambda value: f"{value:.6g}",
    "plain": _plain,
}


def metric_kind(metric: str) -> Kind:
    """How scores of a metric are shown."""
    return "cosine" if metric == "cosine-similarity" else "sqnr" if metric == "sqnr" else "plain"
