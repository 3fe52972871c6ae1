"""Calibration data in arrays, one per input: a dict of arrays, an .npz file, or a folder of .npy files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from qir.ir.errors import CalibrationError
from qir.ir.node import Value
from qir.runtime.columns import Column
from qir.runtime.feeds import check_dtype, check_shape
from qir.runtime.units import Array, CalibrationData, Run, Unit, for_onnxruntime

logger = logging.getLogger(__name__)


class Layout(NamedTuple):
    """How a column falls into units: `rows` at a time (0: all in every unit), with axis 0 or without."""

    rows: int
    keep_axis: bool


class ArrayData(CalibrationData):
    """One column of data per input, cut along axis 0.

    A unit takes one row of a column, with axis 0 kept as a batch of one; B rows where the model fixes its
    first dimension at B (rows that do not fill a batch at the end are left out, with a warning). A column
    with one more dimension than its input is a stack of samples: a unit takes one of them, without the
    axis. A scalar given for a scalar input goes with every unit.
    """

    def __init__(self, columns: Mapping[str, Column], inputs: Sequence[Value], where: str) -> None:
        self._inputs = tuple(inputs)
        self._columns = {v.name: columns[v.name] for v in inputs}
        self._layouts = {v.name: _layout(v, self._columns[v.name], where) for v in inputs}
        self._count = self._common_count(where)

    @property
    def total(self) -> int:
        """Number of units."""
        return self._count

    def _common_count(self, where: str) -> int:
        counts: dict[str, int] = {}
        for name, (rows, _) in self._layouts.items():
            size = len(self._columns[name])
            if rows and size // rows == 0:
                raise CalibrationError(
                    f"{where}: input '{name}' has {size} rows, but the model takes batches of {rows}; "
                    f"calibration needs at least {rows}"
                )
            if rows:
                counts[name] = size // rows
                if size % rows:
                    logger.warning(
                        "%s: the last %d rows of '%s' do not fill a batch of %d and are left out",
                        where, size % rows, name, rows,
                    )  # fmt: skip
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"'{name}' {count}" for name, count in counts.items())
            raise CalibrationError(f"{where}: the inputs have different numbers of samples: {listed}")
        return next(iter(counts.values()), 1)

    def units(self, run: Run) -> Iterator[Unit]:  # noqa: ARG002 - arrays are cut by their shapes alone
        """One unit per sample (or fixed batch), read when it is its turn."""
        streams = {name: self._blocks(name) for name in self._columns}
        rows = max((layout.rows for layout in self._layouts.values()), default=1)
        for i in range(self._count):
            where = f"sample {i}" if rows <= 1 else f"samples {i * rows} to {i * rows + rows - 1}"
            feeds: dict[str, Array] = {}
            for value in self._inputs:
                array = next(streams[value.name])
                check_shape(value, array.shape, where)
                feeds[value.name] = for_onnxruntime(array)
            yield Unit(i, where, feeds)

    def _blocks(self, name: str) -> Iterator[Array]:
        column, (rows, keep_axis) = self._columns[name], self._layouts[name]
        if rows == 0:
            whole = next(column.blocks(0))
            for _ in range(self._count):
                yield whole
        for block in column.blocks(rows):
            yield block if keep_axis else block[0, ...]  # an array of a scalar, too


def _layout(value: Value, column: Column, where: str) -> Layout:
    """How the column falls into units; CalibrationError when its type or a shape does not fit."""
    check_dtype(value, column.dtype, where)
    expected, rank = value.tensor.shape, len(column.shapes[0])
    if rank == 0:
        check_shape(value, (), where)
        return Layout(0, True)
    if len(column) == 0:
        raise CalibrationError(
            f"{where}: input '{value.name}' has no samples; calibration needs at least one"
        )
    keep_axis = expected is None or rank != len(expected) + 1
    first = expected[0] if keep_axis and expected else None
    rows = first if isinstance(first, int) and first > 0 else 1
    for shape in dict.fromkeys(column.shapes):
        check_shape(value, (rows, *shape[1:]) if keep_axis else shape[1:], where, shape)
    return Layout(rows, keep_axis)
