"""Where the debug functions write: a folder with tables as CSV and JSON, and pictures as PNG."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, TypeAlias, TypeVar

from qir.debug.spreads import ChannelTable, DistributionTable
from qir.ir.atomic import written_aside
from qir.ir.errors import ConfigError
from qir.sensitivity_plot import check_plots

FilePath: TypeAlias = "str | os.PathLike[str]"
_LONGEST = 80


class Table(Protocol):
    """A table with one picture."""

    @property
    def stem(self) -> str:
        """The name of its files."""

    def to_json(self, picture: str | None = None) -> str:
        """The table as JSON."""

    def to_csv(self) -> str:
        """The table as CSV."""


T = TypeVar("T", bound=Table)
N = TypeVar("N", bound=DistributionTable | ChannelTable)


def prepare(save_dir: FilePath, *, plot: bool) -> Path:
    """The folder, which is made when it is missing; ConfigError, before any work, when it cannot be used."""
    folder = Path(save_dir)
    if plot:
        check_plots()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"'{folder}' is a file; name a folder to write into")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder '{folder}' cannot be made: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"the folder '{folder}' is read-only; choose another one")
    return folder


def write_table(table: T, folder: FilePath, plot: Callable[[T], bytes] | None) -> list[Path]:
    """Write STEM.csv, STEM.json and, with `plot`, STEM.png; none of them half-written."""
    picture = None if plot is None else f"{table.stem}.png"
    contents = {f"{table.stem}.csv": table.to_csv().encode(), f"{table.stem}.json": b""}
    if picture is not None and plot is not None:
        contents[picture] = plot(table)
    contents[f"{table.stem}.json"] = table.to_json(picture).encode()
    return _write(Path(folder), contents)


def write_nodes(table: N, folder: FilePath, plot: Callable[[N, int], bytes] | None) -> list[Path]:
    """Write STEM.csv, STEM.json and, with `plot`, STEM_NODE.png for each node; none of them half-written."""
    names = _file_names(table.stem, [node.node for node in table.nodes])
    pictures: Sequence[str | None] = [None] * len(names) if plot is None else names
    contents = {
        f"{table.stem}.csv": table.to_csv().encode(),
        f"{table.stem}.json": table.to_json(pictures).encode(),
    }
    if plot is not None:
        contents |= {name: plot(table, place) for place, name in enumerate(names)}
    return _write(Path(folder), contents)


def _file_names(stem: str, nodes: Sequence[str]) -> list[str]:
    """A name for the picture of each node, made of what any file system takes; no two alike."""
    found: dict[str, str] = {}  # by the name in lower case, for file systems that do not tell
    for node in nodes:
        word = re.sub(r"[^A-Za-z0-9._-]+", "_", node).strip("_.")[:_LONGEST] or "node"
        name, number = f"{stem}_{word}.png", 1
        while name.lower() in found:
            number += 1
            name = f"{stem}_{word}_{number}.png"
        found[name.lower()] = name
    return [*found.values()]


def _write(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    paths = [folder / name for name in contents]
    with ExitStack() as files:
        for path, content in zip(paths, contents.values(), strict=True):
            files.enter_context(written_aside(path)).write(content)
    return paths
