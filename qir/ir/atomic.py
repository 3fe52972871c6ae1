"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from qir.ir.errors import ConfigError


@contextmanager
def written_aside(target: Path) -> Iterator[IO[bytes]]:
    """A file to write that becomes `target` when the block ends without an error, and otherwise vanishes.

    ConfigError when the place cannot be written.
    """
    if target.is_dir():
        raise ConfigError(f"'{target}' is a folder; name a file to write")
    if not target.parent.is_dir():
        raise ConfigError(f"the folder '{target.parent}' to write '{target.name}' into does not exist")
    aside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with aside.open("wb") as file:
            yield file
        aside.replace(target)
    except OSError as error:
        raise ConfigError(f"'{target}' cannot be written: {error.strerror or error}") from error
    finally:
        aside.unlink(missing_ok=True)
