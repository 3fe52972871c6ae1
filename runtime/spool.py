"""Lets a one-shot iterator of feeds be read again, from a temporary file instead of memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np

from qir.ir.errors import CalibrationError
from qir.runtime.units import Array, for_onnxruntime

Feed = dict[str, Array]


class Spool:
    """Every iteration starts at the first feed: what was read before comes from disk, then the source.

    The file has no name and vanishes with the object. An error of the source comes again at the same place.
    For one thread; two iterations may be under way at a time.
    """

    def __init__(self, source: Iterator[Feed]) -> None:
        self._source = source
        self._file = tempfile.TemporaryFile(prefix="qir-")  # noqa: SIM115 - lives as long as the object
        self._feeds: list[
            tuple[int, tuple[str, ...]]
        ] = []  # offset in the file and names of the arrays there
        self._end: CalibrationError | None = None

    def __iter__(self) -> Iterator[Feed]:
        position = 0
        while True:
            if position < len(self._feeds):
                feed: Feed | None = self._load(position)
            else:
                feed = self._next()
            if feed is None:
                return
            yield feed
            position += 1

    def _next(self) -> Feed | None:
        if self._end is not None:
            raise self._end
        try:
            feed = next(self._source, None)
        except CalibrationError as error:
            self._end = error
            raise
        if feed is not None:
            self._store(feed)
        return feed

    def _store(self, feed: Feed) -> None:
        offset = self._file.seek(0, 2)
        for array in feed.values():
            plain = array.astype(np.str_) if array.dtype == object else array
            np.save(self._file, plain, allow_pickle=False)
        self._feeds.append((offset, tuple(feed)))

    def _load(self, position: int) -> Feed:
        offset, names = self._feeds[position]
        self._file.seek(offset)
        return {name: for_onnxruntime(np.load(self._file, allow_pickle=False)) for name in names}
