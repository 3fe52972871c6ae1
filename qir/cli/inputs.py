"""What commands read: a model file, several graphs in one text, either from stdin; and data."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click

from qir.cli.model_argument import ModelPath
from qir.cli.outputs import SPLIT_LINE, STANDARD_STREAM
from qir.ir.constant import Constant
from qir.ir.errors import ConfigError, ModelError
from qir.ir.files import data_path
from qir.ir.graph import Graph
from qir.ir.npz import read_npz
from qir.ir.parser import parse_graph
from qir.models import load
from qir.samples import PREFIX, Sample, sample_named

_TEXT_CONTROLS = frozenset("\t\n\r\f")


def read_graphs(model: ModelPath, split: bool) -> list[Graph]:
    """The graphs of a model file or of stdin (`-`): one, or with `split` those between split lines.

    ModelError for what is no model, UsageError for `split` of what is no text.
    """
    if model == STANDARD_STREAM:
        data = sys.stdin.buffer.read()
        text = _as_text(data)
        if not data:
            raise ModelError("stdin is empty; give IR text or the bytes of an ONNX model")
        if text is not None:
            return _parse(text, None, "<stdin>", split)
        if split:
            raise click.UsageError("--split-input needs IR text, not an ONNX model")
        return [load(data)]
    if not split:
        return [load(model)]
    path = Path(model if isinstance(model, str) else model[0])
    if path.suffix != ".qir" or not path.is_file():
        raise click.UsageError(f"--split-input needs a file of IR text (.qir), not '{path}'")
    text = _as_text(path.read_bytes())
    if text is None:
        raise ModelError(f"'{path}' is not IR text")
    beside = data_path(path)
    return _parse(text, read_npz(beside) if beside.exists() else {}, str(path), split)


def _as_text(data: bytes) -> str | None:
    """Bytes as text; None for a model: the first field of its protobuf is a control character."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if any(c < " " and c not in _TEXT_CONTROLS for c in text[:1000]) else text


def _parse(text: str, constants: Mapping[str, Constant] | None, file: str, split: bool) -> list[Graph]:
    if not split:
        return [parse_graph(text, constants, file)]
    lines = text.split("\n")
    ends = [i for i, line in enumerate(lines) if line.rstrip() == SPLIT_LINE] + [len(lines)]
    starts = [0, *(end + 1 for end in ends[:-1])]
    # Empty lines in front keep the line numbers of the file in error messages.
    parts = ["\n" * a + "\n".join(lines[a:b]) for a, b in zip(starts, ends, strict=True)]
    return [parse_graph(part, constants, file) for part in parts]


def sample_of(model: ModelPath) -> Sample | None:
    """The packaged sample that a model argument names, if it does."""
    return sample_named(model) if isinstance(model, str) and model.startswith(PREFIX) else None


def data_source(model: ModelPath, data: str | None) -> str:
    """Where data come from: what the user says, or what a packaged sample brings; ConfigError otherwise."""
    if data is not None:
        return data
    sample = sample_of(model)
    if sample is not None:
        return str(sample.calibration)
    raise ConfigError(
        "no data; give --data DATA (.npz, .npy of the only input, folder of .npy per input, or "
        "file.py:function)"
    )
