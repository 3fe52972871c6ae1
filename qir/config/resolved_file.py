"""The resolved table as a JSON file beside the files of a quantized model."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from qir.backends.files import output_paths
from qir.config.levels.file import Levels
from qir.config.open import ConfigSource
from qir.config.table import Row
from qir.ir.atomic import written_aside
from qir.ir.errors import ConfigError


def path_beside(output: str | os.PathLike[str], config: ConfigSource | None) -> Path:
    """`<prefix>_resolved_config.json`; ConfigError where the configuration itself lies, or a folder."""
    record = output_paths(output).record
    path = record.with_name(f"{record.name.removesuffix('record.txt')}resolved_config.json")
    if path.is_dir():
        raise ConfigError(f"'{path}' is to be written but is a folder; choose another output prefix")
    if isinstance(config, (str, os.PathLike)):
        check_not_config(path, config)
    return path


def check_not_config(path: Path, config: str | os.PathLike[str]) -> None:
    """ConfigError when writing `path` would overwrite the configuration that was read."""
    if path.exists() and Path(config).exists() and path.samefile(config):
        raise ConfigError(
            f"'{path}' is the configuration itself, which is never overwritten; choose another output"
        )


def resolved_text(config: Levels | None, rows: Sequence[Row]) -> str:
    """The table as JSON, with the quant_config from which it follows, if it does from one."""
    asked = {} if config is None else {"quant_config": config.fields()}
    entries = {**asked, "resolved": [row.fields() for row in rows]}
    return json.dumps(entries, indent=2, ensure_ascii=False) + "\n"


def write_resolved(config: Levels | None, rows: Sequence[Row], path: Path) -> None:
    """Write the table, whole or not at all."""
    with written_aside(path) as file:
        file.write(resolved_text(config, rows).encode())
