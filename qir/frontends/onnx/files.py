"""Saves a graph as an ONNX file, with large constants in a second file when one cannot hold all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
import onnx

from qir.frontends.onnx.external import location_of
from qir.frontends.onnx.order import subgraphs
from qir.frontends.onnx.streamed import Detached, write_model
from qir.frontends.onnx.tensors import describe_tensor, little_endian, write_tensor
from qir.frontends.onnx.writer import EXTERNAL_BYTES, Quants, Store, build_model, constant_bytes
from qir.frontends.onnx.written import WrittenNodes
from qir.ir.atomic import written_aside
from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError
from qir.ir.graph import Graph

_SMALL = 1024  # bytes; smaller constants stay in the model, where shape inference and people can see them
_PAGE = 4096  # large tensors start at pages, so that they can be mapped


def save_model(
    graph: Graph,
    path: str | Path,
    *,
    external_bytes: int = EXTERNAL_BYTES,
    quants: Quants = "refuse",
    taps: Sequence[str] = (),
    written: WrittenNodes | None = None,
) -> None:
    """Write `graph` as the ONNX file `path`; it appears whole or not at all.

    Where the constants take more than `external_bytes`, those over 1 KB go into `<path>.data`. `written` has
    the nodes of models like this one, and gets its own. Raises ConfigError when the folder is missing or not
    writable, and as `to_model` does.
    """
    target = Path(path)
    check_writable(target)
    beside = data_beside(target)
    with ExitStack() as files:
        # The stack closes in reverse: the data are in place before the model that needs them.
        file = files.enter_context(written_aside(target))
        detached = Detached(graph)
        store: Store = detached.store
        if constant_bytes(graph) > external_bytes:
            store = _External(files.enter_context(written_aside(beside)), beside.name).store
        write_model(build_model(graph, quants, taps, store, written), detached.data, file)


def check_writable(path: Path) -> None:
    """Raise ConfigError unless a file of that path can be written: before the work, not after it."""
    folder = path.parent
    if path.is_dir():
        raise ConfigError(f"'{path}' is a folder; name a file to write")
    if not folder.is_dir():
        raise ConfigError(
            f"the folder '{folder}' to write '{path.name}' into does not exist; create it first"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"the folder '{folder}' to write '{path.name}' into is read-only")


def model_files(path: str | Path) -> tuple[Path, ...]:
    """The files that make up the model `path`, itself first: what a command must not overwrite."""
    model = onnx.load(path, load_external_data=False)
    folder = Path(path).parent
    locations = dict.fromkeys(
        location_of(t) for t in _tensors(model.graph) if t.data_location == onnx.TensorProto.EXTERNAL
    )
    return (Path(path), *(folder / location for location in locations))


def saved_files(path: Path) -> tuple[Path, ...]:
    """The files that `save_model` has made of `path`: the model, and the data of a large one."""
    return model_files(path) if data_beside(path).exists() else (path,)


def data_beside(path: Path) -> Path:
    """Where `save_model` puts the constants of a large model."""
    return path.with_name(f"{path.name}.data")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for item in node.attribute:
            yield item.t
            yield from item.tensors
        for inner in subgraphs(node):
            yield from _tensors(inner)


class _External:
    """Appends the data of large constants to one file."""

    def __init__(self, file: IO[bytes], location: str) -> None:
        self._file, self._location = file, location
        self._written: dict[int, tuple[Constant, int]] = {}  # one constant may be held by several values

    def store(self, constant: Constant, proto: onnx.TensorProto, name: str) -> None:
        """Fill `proto`, with the data in the file unless they are small or strings."""
        if constant.dtype is DType.STR or constant.data.nbytes <= _SMALL:
            write_tensor(constant, proto, name)
            return
        describe_tensor(constant, proto, name)
        if id(constant) not in self._written:
            self._written[id(constant)] = (constant, self._append(constant))
        offset = self._written[id(constant)][1]
        proto.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (
            ("location", self._location),
            ("offset", str(offset)),
            ("length", str(constant.data.nbytes)),
        ):
            proto.external_data.add(key=key, value=value)

    def _append(self, constant: Constant) -> int:
        self._file.write(bytes(-self._file.tell() % _PAGE))
        offset = self._file.tell()
        np.ascontiguousarray(little_endian(constant)).tofile(self._file)
        return offset
