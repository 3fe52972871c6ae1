"""Files that appear whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from qir.ir.errors import ConfigError


@contextmanager
def written_aside(target: Path) -> Iterator[IO[bytes]]:
    """A file to write that becomes `target` when the block ends without an error, and otherwise vanishes.

    It lies beside the target as `.NAME.tmp`. One that a killed process left there is written over. Who writes
    the same target at the same time waits. ConfigError when the place cannot be written.
    """
    if target.is_dir():
        raise ConfigError(f"'{target}' is a folder; name a file to write")
    if not target.parent.is_dir():
        raise ConfigError(f"the folder '{target.parent}' to write '{target.name}' into does not exist")
    aside = target.with_name(f".{target.name}.tmp")
    try:
        with _locked(aside) as lock:
            try:
                # closed before the move, for some file systems report a full disk only then
                with os.fdopen(os.dup(lock), "wb") as file:
                    yield file
                aside.replace(target)
            except BaseException:
                aside.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ConfigError(f"'{target}' cannot be written: {error.strerror or error}") from error


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The descriptor of an empty file of that name, which nobody else holds at the same time."""
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with suppress(OSError):  # a file system without locks: then nobody waits
                fcntl.flock(held, fcntl.LOCK_EX)
            if _is_at(held, path):
                os.truncate(held, 0)
                yield held
                return
        finally:
            os.close(held)


def _is_at(held: int, path: Path) -> bool:
    """Whether the name is still that of the file: who held it before has moved or removed it."""
    try:
        return os.path.samestat(os.fstat(held), path.stat())
    except FileNotFoundError:
        return False
