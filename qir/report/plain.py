"""Plain JSON of what the project computes: numbers that JSON cannot hold are words."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from qir.backends.files import output_paths

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
Entries: TypeAlias = "dict[str, Json]"


def plain(number: float) -> float | str:
    """A number for JSON; "inf", "-inf" and "nan" are words there."""
    return number if math.isfinite(number) else str(number)


def cleaned(found: object) -> Json:
    """What JSON parsing gave, with words for the numbers that JSON lacks."""
    if isinstance(found, Mapping):
        return {str(key): cleaned(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [cleaned(value) for value in found]
    if isinstance(found, float):
        return plain(found)
    return found if isinstance(found, (str, int)) or found is None else str(found)


def json_text(entries: Mapping[str, Json]) -> str:
    """The text of a file; the same entries give the same text."""
    return json.dumps(entries, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def beside(prefix: str | os.PathLike[str], ending: str) -> Path:
    """`<prefix>_<ending>`; an empty prefix or one ending in `/` adds no name."""
    record = output_paths(prefix).record
    return record.with_name(record.name.removesuffix("record.txt") + ending)
