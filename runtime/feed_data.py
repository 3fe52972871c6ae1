"""Calibration data as feeds: dicts from input name to array, from a list, an iterable or a function."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

from qir.ir.errors import CalibrationError, QirError
from qir.ir.node import Value
from qir.runtime.feeds import check_shape, checked_feed
from qir.runtime.splitting import is_separable, rows_of
from qir.runtime.spool import Feed, Spool
from qir.runtime.units import CalibrationData, Run, Unit, for_onnxruntime

logger = logging.getLogger(__name__)

Source = Callable[[], Iterable[object]]
"""Starts the stream of feeds anew."""


class FeedData(CalibrationData):
    """Feeds of one or more samples; the units are single samples wherever the model allows it.

    A feed is cut along axis 0 of the inputs whose first dimension is not fixed, when they all have the same
    length and the model gives for the first two samples together what it gives for each alone. Where the
    first dimension of every input is fixed at 1, feeds of several samples are cut without asking. Other
    feeds run as they are.
    """

    def __init__(self, source: Source | Iterator[object], inputs: Sequence[Value], where: str) -> None:
        self._inputs = tuple(inputs)
        self._where = where
        single = all(isinstance(v.tensor.shape, tuple) and v.tensor.shape[:1] == (1,) for v in inputs)
        self._separable: bool | None = True if single else None
        self._sizes: list[int] | None = None
        self._feeds: Iterable[Feed] | None = None
        if isinstance(source, Iterator):
            self._feeds = Spool(self._checked(source))
        else:
            self._source = source

    @staticmethod
    def of_list(feeds: Sequence[object], inputs: Sequence[Value], where: str) -> FeedData:
        """Data of a known list: all of it is checked at once, before anything runs."""
        data = FeedData(lambda: feeds, inputs, where)
        data._sizes = [rows_of(feed, inputs)[0] for feed in data._checked(feeds)]
        return data

    @property
    def total(self) -> int | None:
        """Number of units; known for a list, once it is known whether its feeds are cut."""
        if self._sizes is None or (self._separable is None and any(size > 1 for size in self._sizes)):
            return None
        return len(self._sizes) if self._separable is False else sum(self._sizes)

    def units(self, run: Run) -> Iterator[Unit]:
        """One unit per sample, or per feed that cannot be cut."""
        count = 0
        for number, feed in enumerate(self._stream()):
            rows, names = rows_of(feed, self._inputs)
            if rows > 1 and not self._may_cut(feed, names, run):
                rows, names = 1, ()
            for row in range(rows):
                part = f" (row {row} of feed {number})" if rows > 1 else ""
                cut = {n: a[row : row + 1] if n in names else a for n, a in feed.items()}
                yield Unit(count, f"sample {count}{part}", cut)
                count += 1
        if count == 0:
            raise CalibrationError(f"{self._where}: there are no samples; calibration needs at least one")

    def _stream(self) -> Iterable[Feed]:
        return self._checked(self._started()) if self._feeds is None else self._feeds

    def _started(self) -> Iterable[object]:
        try:
            started = self._source()
        except QirError:
            raise
        except (Exception, SystemExit) as error:
            raise CalibrationError(_raised(self._where, error, "when it was called")) from error
        if not isinstance(started, Iterable) or isinstance(started, (str, bytes)):
            raise CalibrationError(
                f"{self._where} gave a {type(started).__name__}, expected an iterable of dicts from input "
                f"name to array"
            )
        return started

    def _checked(self, source: Iterable[object]) -> Iterator[Feed]:
        """The feeds of `source` as arrays that fit the model; its own errors become CalibrationErrors."""
        number = 0
        feeds = iter(source)
        while True:
            try:
                feed = next(feeds)
            except StopIteration:
                return
            except QirError:
                raise
            except (Exception, SystemExit) as error:
                raise CalibrationError(_raised(self._where, error, f"after {number} feeds")) from error
            yield self._fitting(feed, f"{self._where}: feed {number}")
            number += 1

    def _fitting(self, feed: object, where: str) -> Feed:
        arrays = checked_feed(feed, self._inputs, where)
        rows, names = rows_of(arrays, self._inputs)
        if rows == 0:
            raise CalibrationError(f"{where} has no samples: its arrays are empty along axis 0")
        for value in self._inputs:
            shape = arrays[value.name].shape
            check_shape(value, (1, *shape[1:]) if value.name in names else shape, where, shape)
        return {name: for_onnxruntime(array) for name, array in arrays.items()}

    def _may_cut(self, feed: Feed, names: Sequence[str], run: Run) -> bool:
        """Whether feeds of several samples mean the same cut up; asked of the model once, on two samples."""
        if self._separable is None:
            self._separable = is_separable(feed, names, run)
            if not self._separable:
                logger.warning(
                    "the model does not give for two samples together what it gives for each alone: feeds "
                    "run as they are, and the result depends on how samples are batched"
                )
        return self._separable


def _raised(where: str, error: BaseException, when: str) -> str:
    return f"{where} raised {type(error).__name__}: {error} ({when})"
