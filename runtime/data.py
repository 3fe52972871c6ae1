"""Opens calibration data of any kind: feeds, arrays, files, folders, functions."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy.typing as npt

from qir.ir.errors import CalibrationError, QirError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.runtime.array_data import ArrayData
from qir.runtime.columns import (
    ArrayColumn,
    Column,
    FilesColumn,
    ZipColumn,
    folder_files,
    open_npy,
    zip_names,
)
from qir.runtime.feed_data import FeedData
from qir.runtime.feeds import as_array, check_names, data_inputs
from qir.runtime.units import Array, CalibrationData, Run, Unit

__all__ = ["CalibrationData", "DataSource", "Run", "Unit", "open_data"]

DataSource: TypeAlias = (
    "str | os.PathLike[str] | Mapping[str, npt.ArrayLike] | Iterable[Mapping[str, Array]] "
    "| Callable[[], Iterable[Mapping[str, Array]]] | CalibrationData"
)


def open_data(source: DataSource, graph: Graph) -> CalibrationData:
    """Calibration data for the inputs of `graph`.

    `source` is one of

    - an iterable of feeds, dicts from input name to array; one that can be read once only (a generator) is
      copied to a temporary file as it is read; or a function that returns such an iterable;
    - a dict from input name to an array whose first axis counts samples, or the path of an `.npz` file of
      such arrays (streamed, never loaded whole), or of an `.npy` file with that of the only input;
    - a folder with `NAME.npy` for each input, or `NAME/*.npy` in the order of the file names (shapes may
      vary);
    - `file.py:function`: a function without arguments that returns any of the first two.

    Everything that can be known is checked here: names (the nearest is suggested), element types (nothing
    is cast), shapes, numbers of samples. Arrays called `labels` or `y` may be there and are not read.
    """
    if isinstance(source, CalibrationData):
        return source
    inputs = data_inputs(graph)
    if isinstance(source, (str, os.PathLike)):
        return _open_path(os.fspath(source), inputs)
    return _open_object(source, inputs, "calibration data")


def _open_object(source: object, inputs: Sequence[Value], where: str) -> CalibrationData:
    if isinstance(source, Mapping):
        check_names((str(name) for name in source), inputs, where)
        columns: dict[str, Column] = {}
        for value in inputs:
            columns[value.name] = ArrayColumn(as_array(source[value.name], value.name, where))
        return ArrayData(columns, inputs, where)
    if isinstance(source, (list, tuple)):
        if not source:
            raise CalibrationError(f"{where}: there are no samples; calibration needs at least one")
        return FeedData.of_list(source, inputs, where)
    if isinstance(source, Iterator):
        return FeedData(source, inputs, where)
    if isinstance(source, Iterable):
        return FeedData(lambda: source, inputs, where)
    if callable(source):
        return FeedData(source, inputs, where)
    raise CalibrationError(
        f"{where}: a {type(source).__name__} holds no samples; give an iterable of dicts from input name "
        f"to array, a dict of arrays, or a path"
    )


def _open_path(text: str, inputs: Sequence[Value]) -> CalibrationData:
    file, colon, function = text.rpartition(":")
    if colon and file.endswith(".py"):
        return _open_function(Path(file), function, inputs)
    path = Path(text)
    if path.is_dir():
        ranks = {v.name: None if v.tensor.shape is None else len(v.tensor.shape) for v in inputs}
        files = folder_files(path, ranks)
        if not files:
            expected = " and ".join(f"{name}.npy" for name in ranks)
            raise CalibrationError(
                f"folder {text} holds no .npy files; expected {expected} "
                "or folders of that name with .npy files. Other formats, such as pictures, are read by a "
                "function of yours: file.py:function"
            )
        check_names(files, inputs, f"folder {text}")
        return ArrayData({name: FilesColumn(files[name], rank) for name, rank in ranks.items()}, inputs, text)
    if path.suffix == ".npz":
        check_names(zip_names(path), inputs, text)
        return ArrayData({v.name: ZipColumn(path, f"{v.name}.npy") for v in inputs}, inputs, text)
    if path.suffix == ".npy" and path.exists():
        if len(inputs) != 1:
            names = ", ".join(f"'{value.name}'" for value in inputs)
            raise CalibrationError(
                f"{text} holds one array, but the model has {len(inputs)} inputs: {names}; expected an .npz "
                "file or a folder with an array for each"
            )
        return ArrayData({inputs[0].name: ArrayColumn(open_npy(path))}, inputs, text)
    problem = "is no known kind of calibration data" if path.exists() else "does not exist"
    raise CalibrationError(
        f"{text} {problem}; expected an .npz or .npy file, a folder of .npy files, or file.py:function"
    )


def _open_function(path: Path, name: str, inputs: Sequence[Value]) -> CalibrationData:
    """Data from `path:name`; errors of the file or the function become CalibrationErrors."""
    where = f"{path}:{name}"
    function = _load_function(path, name)

    def call() -> object:
        try:
            return function()
        except QirError:
            raise
        except (Exception, SystemExit) as error:
            raise CalibrationError(f"{where} raised {type(error).__name__}: {error}") from error

    if inspect.isgeneratorfunction(function):
        return FeedData(function, inputs, where)
    return _open_object(call(), inputs, where)


def _load_function(path: Path, name: str) -> Callable[[], Iterable[object]]:
    if not path.is_file():
        raise CalibrationError(f"{path} does not exist; calibration data were asked for as {path}:{name}")
    spec = importlib.util.spec_from_file_location(f"qir_data_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CalibrationError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # the file may import its neighbours, as a script would
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise CalibrationError(
            f"{path} raised {type(error).__name__}: {error} (while it was imported)"
        ) from error
    finally:
        sys.path.pop(0)
    function = getattr(module, name, None)
    if not callable(function):
        names = [n for n, item in vars(module).items() if inspect.isfunction(item)]
        raise CalibrationError(f"{path} has no function '{name}'{did_you_mean(name, names)}")
    return function  # type: ignore[no-any-return]
