"""The JSON files that a page is made of: whatever lies beside a prefix, and in a folder of `qir debug`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qir.ir.errors import ConfigError, did_you_mean
from qir.report.plain import beside

REPORT, RESOLVED, SENSITIVITY, JOURNAL = "report", "resolved", "sensitivity", "journal"
_BESIDE = {
    REPORT: "report.json",
    RESOLVED: "resolved_config.json",
    SENSITIVITY: "sensitivity.json",
    JOURNAL: "journal.jsonl",
}
DEBUG_FILES = (
    "sensitivity_node", "sensitivity_weight", "sensitivity_activation", "error", "distribution", "channels",
    "partial", "debug",
)  # fmt: skip
"""Stems of the JSON files of `qir debug`, which are also the names of these documents."""

FilePath = str | os.PathLike[str]


@dataclass(frozen=True)
class Sources:
    """Documents by name, where each of them was read, and sentences about files that could not be read."""

    documents: Mapping[str, Any]
    paths: Mapping[str, Path]
    problems: tuple[str, ...] = ()

    def get(self, *path: str | int) -> Any:  # noqa: ANN401 - whatever JSON holds
        """What a document holds at a place, None where there is nothing: a file may lack anything."""
        found: Any = self.documents
        for step in path:
            if isinstance(found, Mapping):
                found = found.get(step)
            elif isinstance(found, list) and isinstance(step, int) and step < len(found):
                found = found[step]
            else:
                return None
        return found

    def entries(self, *path: str | int) -> list[Any]:
        """A list of objects at a place; empty where there is none."""
        found = self.get(*path)
        is_list = isinstance(found, list) and all(isinstance(entry, dict) for entry in found)
        return found if is_list else []


def page_path(prefix: FilePath | None, debug: FilePath | None) -> Path:
    """`<prefix>_report.html`, or without a prefix `report.html` in the folder of `qir debug`.

    ConfigError with neither.
    """
    if prefix is not None:
        return beside(prefix, "report.html")
    if debug is None:
        raise ConfigError("a report needs the prefix of a quantized model, or a folder of `qir debug`")
    return Path(debug, "report.html")


def read_sources(prefix: FilePath | None, debug: FilePath | None = None) -> Sources:
    """All documents that are there. ConfigError when there is not a single one, with what was looked for."""
    wanted = {} if prefix is None else {name: beside(prefix, ending) for name, ending in _BESIDE.items()}
    folder = beside(prefix, "debug") if debug is None and prefix is not None else Path(debug or ".")
    if debug is not None and not folder.is_dir():
        raise ConfigError(f"the folder of `qir debug` '{folder}' does not exist")
    wanted |= {name: folder / f"{name}.json" for name in DEBUG_FILES}
    documents: dict[str, Any] = {}
    problems: list[str] = []
    for name, path in wanted.items():
        if path.is_file():
            try:
                documents[name] = _read(path)
            except (OSError, ValueError) as error:
                problems.append(f"'{path.name}' cannot be read: {error}")
    if not documents and not problems:
        raise ConfigError(_nothing(prefix, folder))
    return Sources(documents, {name: wanted[name] for name in documents}, tuple(problems))


def _nothing(prefix: FilePath | None, folder: Path) -> str:
    """What to say when there are no files."""
    if prefix is None:
        return f"there is nothing to report: '{folder}' has no files of `qir debug`"
    looked = beside(prefix, _BESIDE[REPORT])
    ending = f"_{_BESIDE[REPORT]}"
    others = [path.name.removesuffix(ending) for path in looked.parent.glob(f"*{ending}")]
    similar = did_you_mean(looked.name.removesuffix(ending), others)
    return (
        f"there is nothing to report: '{looked}' does not exist, nor any other file of that "
        f"prefix: quantize the model first (`qir quantize … -o PREFIX`){similar}"
    )


def _read(path: Path) -> object:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [*_whole_lines(text)]
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("it holds no JSON object")
    return document


def _whole_lines(text: str) -> Iterator[dict[str, Any]]:
    """The entries of a journal; a line that a killed process left incomplete is none."""
    for line in text.splitlines(keepends=True):
        entry = json.loads(line) if line.endswith("\n") else None
        if isinstance(entry, dict):
            yield entry
