"""Files that functions write: whole or not at all, in folders that are made, never over an input."""

from __future__ import annotations

import os
from pathlib import Path

from qir.compat.common.errors import CompatRuntimeError, CompatValueError
from qir.ir.atomic import written_aside

_MODE = 0o640


def write_text(path: Path, text: str) -> None:
    """Write a text file; CompatRuntimeError when the place cannot be written."""
    make_folder(path)
    with written_aside(path) as file:
        file.write(text.encode())
    restrict(path)


def restrict(*paths: Path) -> None:
    """Keep files from others than their owner and group, as AMCT does (mode 640), where they exist."""
    for path in paths:
        if path.exists():
            path.chmod(path.stat().st_mode & _MODE)


def make_folder(path: Path) -> None:
    """Make the folder of a file, as AMCT does, for its owner and group; CompatRuntimeError if that fails."""
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise CompatRuntimeError(f"the folder '{path.parent}' cannot be made: {error.strerror}") from error


def absolute(path: str) -> str:
    """The same place, whatever the working directory becomes; a prefix that ends in `/` keeps it."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.abspath(folder), name)


def check_distinct(source: str, *written: str | None) -> None:
    """CompatValueError when a file to be written is the one that is read, or two of them are one."""
    seen = {os.path.realpath(source): "read from"}
    for path in written:
        if path is None:
            continue
        place = os.path.realpath(path)
        if place in seen:
            raise CompatValueError(
                f"'{path}' is {seen[place]} already in the same call; give another name to one of them"
            )
        seen[place] = "written to"
