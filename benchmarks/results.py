"""Results of long benchmarks in a JSON file, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

Result = dict[str, float | str]
REASON = 300
"""Characters of an error message that are kept."""


class Results:
    """Results by key, written to a file whenever there is a new one; without a file they are forgotten.

    `resume` keeps what the file has from before; otherwise it is begun anew.
    """

    def __init__(self, path: str | None, *, resume: bool) -> None:
        self._path = None if path is None else Path(path)
        self._known: dict[str, Result] = {}
        if self._path is not None and resume and self._path.exists():
            self._known = json.loads(self._path.read_text(encoding="utf-8"))

    def get(self, key: str, compute: Callable[[], Result]) -> Result:
        """The result kept under `key`, otherwise that of `compute`."""
        if key not in self._known:
            self._known[key] = compute()
            self._write()
        return self._known[key]

    def _write(self) -> None:
        if self._path is None:
            return
        aside = self._path.with_name(f"{self._path.name}.part")
        aside.write_text(json.dumps(self._known, indent=1), encoding="utf-8")
        os.replace(aside, self._path)
