"""Reads a text file of a user, or says why not."""

from __future__ import annotations

from pathlib import Path

from qir.ir.errors import ConfigError


def read_text(path: Path) -> str:
    """The text of a file; ConfigError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"'{path}' is not text in UTF-8: {error}") from error
