"""What a model's inputs accept: names, element types and shapes of calibration data are checked here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType
from qir.ir.errors import CalibrationError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.printer import print_type
from qir.ir.types import TensorType
from qir.runtime.units import Array

LABELS = ("labels", "y")
"""Arrays of these names may stand beside the inputs in a data file; calibration does not read them."""


def data_inputs(graph: Graph) -> tuple[Value, ...]:
    """The inputs that need data; CalibrationError when one is no tensor or of a type that numpy lacks."""
    found = tuple(v for v in graph.inputs if v.constant is None)
    for value in found:
        dtype = value.tensor.dtype
        if not isinstance(value.type, TensorType) or (dtype is not None and dtype.numpy is None):
            raise CalibrationError(
                f"input '{value.name}' is {print_type(value.type)}: calibration data are numpy arrays and "
                f"cannot feed it; give the model another input"
            )
    return found


def check_names(names: Iterable[str], inputs: Iterable[Value], where: str) -> None:
    """CalibrationError when a name is no input (LABELS excepted) or an input is missing."""
    expected = [v.name for v in inputs]
    given = list(names)
    for name in given:
        if name not in expected and name not in LABELS:
            raise CalibrationError(
                f"{where}: '{name}' is not an input of the model{did_you_mean(name, expected)} "
                f"(inputs: {', '.join(expected)})"
            )
    for name in expected:
        if name not in given:
            raise CalibrationError(
                f"{where}: no data for input '{name}' (given: {', '.join(given) or 'none'})"
            )


def as_array(data: npt.ArrayLike, name: str, where: str) -> Array:
    """`data` as a numpy array; CalibrationError when it is ragged or holds objects other than strings."""
    try:
        array = np.asarray(data)
    except (ValueError, TypeError) as error:
        raise CalibrationError(f"{where}: input '{name}' is not an array: {error}") from error
    if array.dtype == object and not all(isinstance(item, (str, bytes)) for item in array.ravel().tolist()):
        raise CalibrationError(f"{where}: input '{name}' holds Python objects, expected numbers or strings")
    return array


def check_dtype(value: Value, dtype: np.dtype[Any], where: str) -> None:
    """CalibrationError when an array of `dtype` cannot be fed to input `value`. Nothing is cast silently."""
    expected = value.tensor.dtype
    if expected is None or expected.numpy is None:
        return
    fits = dtype.kind in "USO" if expected is DType.STR else dtype.newbyteorder("=") == expected.numpy
    if not fits:
        wanted = "strings" if expected is DType.STR else expected.numpy.name
        cure = (
            ""
            if expected is DType.STR
            else f"; convert it with .astype(np.{wanted.replace('bool', 'bool_')})"
        )
        raise CalibrationError(f"{where}: input '{value.name}' expects {wanted}, got {dtype.name}{cure}")


def check_shape(
    value: Value, shape: tuple[int, ...], where: str, given: tuple[int, ...] | None = None
) -> None:
    """CalibrationError when `shape` contradicts the rank or a fixed dimension of input `value`.

    `given` is the shape of the user's array where `shape` is that of a part of it; the message shows it.
    """
    expected = value.tensor.shape
    if expected is None:
        return
    fits = len(shape) == len(expected) and all(
        not isinstance(wanted, int) or wanted == got for wanted, got in zip(expected, shape, strict=True)
    )
    if not fits:
        wanted_text = print_type(TensorType(value.tensor.dtype, expected))
        raise CalibrationError(
            f"{where}: input '{value.name}' expects {wanted_text}, got shape "
            f"[{','.join(map(str, shape if given is None else given))}]"
        )


def checked_feed(feed: object, inputs: tuple[Value, ...], where: str) -> dict[str, Array]:
    """One set of inputs, labels dropped: names and element types are checked, shapes are not.

    CalibrationError, which begins with `where`, for what does not fit.
    """
    if not isinstance(feed, Mapping):
        raise CalibrationError(
            f"{where} is a {type(feed).__name__}, expected a dict from input name to array, for example "
            f"{{'{inputs[0].name if inputs else 'input'}': array}}"
        )
    check_names((str(name) for name in feed), inputs, where)
    arrays: dict[str, Array] = {}
    for value in inputs:
        arrays[value.name] = as_array(feed[value.name], value.name, where)
        check_dtype(value, arrays[value.name].dtype, where)
    return arrays
