"""What a search has found out, kept line by line, so that it goes on where it was after any interruption.

`<prefix>_journal.jsonl` holds one JSON object per line and is only ever appended to; each line is written
before the search goes on. Lines carry the key of the inputs that they depend on: those of other inputs
are passed over, and count again when the inputs are as they were. A line that was cut short by a killed
process or a full disk is dropped. One process at a time may hold a journal.

    {"kind": "inputs", "weights": digest, "graph": …, "config": …, "data": …, "evaluator": …, …}
    {"kind": "ranking", "key": digest, "scores": {layer: score}}
    {"kind": "metric", "key": digest, "lowered": null or {rung: [layer]}, "metric": {…}, "seconds": 1.5,
     "kept": [digest of the evaluator, digest of what it had kept of models by then]}
    {"kind": "best", "key": digest, "lowered": {rung: [layer]}}

`lowered` says which layers are not INT8 (none: `{}`), and null stands for the original model.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from qir.search.errors import JournalError
from qir.search.fingerprints import Fingerprints
from qir.search.ranking import Ranking

Line = dict[str, object]


def journal_path(prefix: str | os.PathLike[str]) -> Path:
    """`<prefix>_journal.jsonl`; an empty prefix or one ending in `/` adds no name."""
    folder, name = os.path.split(os.fspath(prefix))
    return Path(folder, f"{name}_journal.jsonl" if name else "journal.jsonl")


class Journal:
    """An open journal; a context manager. JournalError when it cannot be read, locked or written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise JournalError(f"the journal '{path}' cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise JournalError(
                f"the journal '{path}' is in use by another search: wait, or choose another output prefix"
            ) from error
        try:
            self._lines, self._size = self._read()
        except BaseException:
            os.close(self._file)  # and with it the lock
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the journal free; one that nothing was written to vanishes."""
        if self._file >= 0:
            if not self._size:
                self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1

    def begin(self, inputs: Fingerprints, restart: bool) -> tuple[str, ...]:
        """Note what the search is of; returns which inputs changed since the journal was last used.

        JournalError when it belongs to another model. With `restart` all earlier lines no longer count, and
        any journal will do.
        """
        old = next((line for line in reversed(self._lines) if line.get("kind") == "inputs"), None)
        if restart and old is not None:
            self.append({"kind": "restart"})
            old = None
        changed = [] if old is None else inputs.changed(old)
        if {"weights", "graph"} & set(changed):
            what = " and ".join(name for name in changed if name in ("weights", "graph"))
            raise JournalError(
                f"the journal '{self.path}' belongs to another model (other {what}): choose another output "
                "prefix, or start anew with restart (--restart)"
            )
        if old is None or changed:
            self.append({"kind": "inputs", **inputs.to_dict()})
        return tuple(changed)

    def ranking(self, key: str) -> Ranking | None:
        """The ranking of the layers, if it is known."""
        line = self._last("ranking", key, None)
        scores = None if line is None else line.get("scores")
        if line is None or not isinstance(scores, dict):
            return None
        return Ranking({name: float(s) for name, s in scores.items()}, line.get("low_is_worse") is not False)

    def metric(self, key: str, lowered: Mapping[str, list[str]] | None) -> Line | None:
        """The line about one configuration (None: the original model), if it was evaluated."""
        return self._last("metric", key, lowered)

    def kept(self, evaluator: str) -> list[str]:
        """What an evaluator of that fingerprint had kept of models, after each of its evaluations."""
        notes = [line.get("kept") for line in self._lines if line.get("kind") == "metric"]
        return [str(note[1]) for note in notes if isinstance(note, list) and note[:1] == [evaluator]]

    def best(self, key: str) -> Line | None:
        """The line about the model whose files were put in place last."""
        return next(
            (li for li in reversed(self._lines) if li.get("kind") == "best" and li.get("key") == key), None
        )

    def append(self, line: Line) -> None:
        """Add a line; when it cannot be written, the journal is as before.

        A metric, which an evaluation was paid for, is on the disk then with all lines before it, and survives
        a power cut.
        """
        data = (json.dumps(line, ensure_ascii=False) + "\n").encode()
        try:
            done = 0
            while done < len(data):
                done += os.write(self._file, data[done:])
            if line.get("kind") == "metric":
                os.fdatasync(self._file)
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise JournalError(f"the journal '{self.path}' cannot be written: {error.strerror}") from error
        self._size += len(data)
        self._take(line)

    def _take(self, line: Line) -> None:
        self._lines = [] if line.get("kind") == "restart" else [*self._lines, line]

    def _last(self, kind: str, key: str, lowered: Mapping[str, list[str]] | None) -> Line | None:
        for line in reversed(self._lines):
            if line.get("kind") == kind and line.get("key") == key and line.get("lowered") == lowered:
                return line
        return None

    def _read(self) -> tuple[list[Line], int]:
        """All whole lines; what a killed process left of the last one is cut off."""
        self._lines = []
        data = self.path.read_bytes()
        size = data.rfind(b"\n") + 1
        if size < len(data):
            os.ftruncate(self._file, size)
        for number, text in enumerate(data[:size].splitlines(), 1):
            try:
                line = json.loads(text)
            except ValueError as error:
                raise JournalError(
                    f"line {number} of '{self.path}' is no JSON, so this is no journal: {error}; choose "
                    "another output prefix, or move the file away"
                ) from error
            if isinstance(line, dict):
                self._take(line)
        return self._lines, size
