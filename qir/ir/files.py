"""Graphs as files: IR text in `model.qir`, large constants and scale lists in `model.qir.npz` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from qir.ir.atomic import written_aside
from qir.ir.constant import Constant
from qir.ir.errors import ConfigError, ModelError
from qir.ir.graph import Graph
from qir.ir.node import Attribute, Node
from qir.ir.npz import read_npz, write_npz
from qir.ir.parser import parse_graph
from qir.ir.printer import external_constants, is_inline, print_graph
from qir.ir.types import MapType, OptionalType, SequenceType, TensorType, Type
from qir.ir.walk import walk_graphs


def data_path(path: str | Path) -> Path:
    """Where the large constants of a `.qir` file live: `model.qir.npz` beside `model.qir`."""
    return Path(f"{path}.npz")


def save_graph(graph: Graph, path: str | Path, header: str = "") -> None:
    """Write `path` and, if there is anything to put into it, `path.npz`: whole or not at all.

    The same graph gives the same bytes. `header` becomes comment lines at the top. An `.npz` that is no
    longer needed is removed. ConfigError when the place cannot be written.
    """
    target, beside = Path(path), data_path(path)
    comment = "".join(f"// {line}\n" for line in header.splitlines())
    constants = data_beside(graph)
    with ExitStack() as files:
        # The stack closes in reverse: the data are in place before the text that needs them.
        text = files.enter_context(written_aside(target))
        if constants:
            write_npz(files.enter_context(written_aside(beside)), constants.values())
        text.write((comment + print_graph(graph)).encode())
    if not constants:
        try:
            beside.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"the old '{beside}' cannot be removed: {error.strerror}") from error


def load_graph(path: str | Path) -> Graph:
    """The graph of a `.qir` file; its large constants are mapped from the `.npz` beside it, not copied.

    ModelError when a file is missing or damaged, ParseError when the text is malformed or its data lack.
    """
    source, beside = Path(path), data_path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"'{source}' is not a .qir file: it is not text ({error.reason})") from error
    except OSError as error:
        raise ModelError(f"'{source}' cannot be read: {error.strerror}") from error
    constants = read_npz(beside) if beside.exists() else {}
    return parse_graph(text, constants, str(source))


def data_beside(graph: Graph) -> dict[str, Constant]:
    """Everything that the text of a graph names by digest: what `parse_graph` needs to read it back."""
    return {constant.digest: constant for constant in _external(graph)}


def _external(graph: Graph) -> Iterator[Constant]:
    for each in walk_graphs(graph):
        for value in each.values():
            yield from _of_type(value.type)
            if value.constant is not None and not is_inline(value.constant):
                yield value.constant
        for node in each.nodes:
            yield from _of_attributes(node)


def _of_attributes(node: Node) -> Iterator[Constant]:
    for attribute in node.attributes.values():
        items: tuple[Attribute, ...] = attribute if isinstance(attribute, tuple) else (attribute,)
        for item in items:
            if isinstance(item, Constant):
                if not is_inline(item):
                    yield item
            elif isinstance(item, (TensorType, SequenceType, OptionalType, MapType)):
                yield from _of_type(item)


def _of_type(kind: Type) -> Iterator[Constant]:
    if isinstance(kind, TensorType):
        yield from external_constants(kind.quant)
    elif isinstance(kind, (SequenceType, OptionalType)):
        yield from _of_type(kind.element)
    elif isinstance(kind, MapType):
        yield from _of_type(kind.value)
