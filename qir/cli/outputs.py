"""Where `qir-opt` writes: what a file's name asks for, checks before the work, and the writing after it."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import click

from qir.backends import fake_quant
from qir.backends.ascend import deploy
from qir.cli.model_argument import ModelPath
from qir.frontends.onnx import check_writable, model_files, to_model
from qir.ir.atomic import written_aside
from qir.ir.dot import to_dot
from qir.ir.errors import ConfigError
from qir.ir.files import data_path
from qir.ir.graph import Graph
from qir.models import save

Format = Literal["qir", "onnx", "dot"]
Emit = Literal["qir", "onnx", "dot", "fake-quant", "ascend"]

STANDARD_STREAM = "-"
SPLIT_LINE = "// -----"
_SUFFIXES: dict[str, Format] = {".qir": "qir", ".onnx": "onnx", ".dot": "dot"}


def output_format(output: str, emit: Emit | None, split: bool) -> Format:
    """How to write: what the file's suffix says, on stdout what `emit` says; UsageError when they differ."""
    wanted: Format | None = None if emit == "fake-quant" or emit == "ascend" else emit
    if output == STANDARD_STREAM:
        named = wanted or "qir"
    elif Path(output).suffix in _SUFFIXES:
        named = _SUFFIXES[Path(output).suffix]
    else:
        raise click.UsageError(f"'{output}' must end in {', '.join(_SUFFIXES)}, or be '-' for stdout")
    if wanted not in (None, named):
        raise click.UsageError(f"--emit {wanted} does not fit the output file '{output}'")
    if split and (output != STANDARD_STREAM or named != "qir"):
        raise click.UsageError("--split-input writes IR text to stdout; leave out -o and --emit")
    return named


def check_output(output: str, model: ModelPath, data: str | None = None) -> None:
    """ConfigError unless `output` can be written without touching a file of the input `model`, or `data`."""
    if output == STANDARD_STREAM:
        return
    path = Path(output)
    check_writable(path)
    try:  # permissions alone do not tell: the file system may be read-only, or full
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise ConfigError(f"'{path.parent}' cannot be written to: {error.strerror}") from error
    written = [p for p in (path, Path(f"{path}.data"), data_path(path)) if p.exists()]
    read = [file for file in _files_read(model, data) if file.exists()] if written else []
    for old in written:
        if any(old.samefile(file) for file in read):
            raise ConfigError(
                f"writing '{path}' would overwrite '{old}', which the input is read from; "
                "an input is never overwritten, choose another output"
            )


def _files_read(model: ModelPath, data: str | None) -> list[Path]:
    """Files that these arguments of a command may stand for."""
    files = [] if data is None else [Path(data), Path(data.rpartition(":")[0])]
    if isinstance(model, tuple):
        files += map(Path, model)
    elif Path(model).is_file():
        files += [Path(model), data_path(model)]
        if Path(model).suffix == ".onnx":
            files += model_files(model)
    return files


def lowered(graph: Graph, emit: Emit | None, fake_quant_form: str) -> Graph:
    """The fake-quant or the deploy graph where that is asked for, otherwise the graph itself."""
    if emit == "fake-quant":
        return fake_quant.lower(graph, fake_quant_form)
    return deploy.lower(graph) if emit == "ascend" else graph


def write_graphs(graphs: Sequence[Graph], output: str, form: Format) -> None:
    """Write one graph to a file or stdout, or several as IR text with split lines between to stdout."""
    if output == STANDARD_STREAM:
        if form == "onnx":
            sys.stdout.buffer.write(to_model(graphs[0]).SerializeToString(deterministic=True))
        else:
            render = to_dot if form == "dot" else str
            sys.stdout.write(f"{SPLIT_LINE}\n".join(render(graph) for graph in graphs))
        sys.stdout.flush()
    elif form == "dot":
        with written_aside(Path(output)) as file:
            file.write(to_dot(graphs[0]).encode())
    else:
        save(graphs[0], output)
