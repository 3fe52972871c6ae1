"""The scores of a search of methods as a JSON file beside the files of a quantized model."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from qir.backends.files import output_paths
from qir.ir.atomic import written_aside
from qir.ir.errors import ConfigError


def scores_path(output: str | os.PathLike[str]) -> Path:
    """`<prefix>_method_scores.json`; ConfigError where a folder lies."""
    record = output_paths(output).record
    path = record.with_name(f"{record.name.removesuffix('record.txt')}method_scores.json")
    if path.is_dir():
        raise ConfigError(f"'{path}' is to be written but is a folder; choose another output prefix")
    return path


def write_scores(scores: Mapping[str, object], path: Path) -> None:
    """Write a table of `qir.passes.searching.scores.method_scores`, whole or not at all."""
    with written_aside(path) as file:
        file.write((json.dumps(scores, indent=1) + "\n").encode())
