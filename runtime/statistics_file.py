"""Statistics as an artefact: what they were taken from, and one file that holds them.

The file is an `.npz` (a zip of arrays, see `TensorStatistics.to_arrays`) with a description in `qir.json`.
Equal statistics give equal bytes.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from qir import __version__
from qir.ir.atomic import written_aside
from qir.ir.errors import CalibrationError, did_you_mean
from qir.ir.fingerprint import Fingerprint, changes, listed
from qir.runtime.measured import Measured, packed
from qir.runtime.statistics import TensorStatistics

FORMAT = 1
_HEADER = "qir.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
# What zipfile, json and numpy raise on bytes that are not what they should be.
_DAMAGED = (OSError, ValueError, TypeError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile)
_AGAIN = "take them again with `qir calibrate`"
_ALIKE = f"{_AGAIN}, the same --target and the same --pipeline"


@dataclass(frozen=True)
class Origin:
    """What statistics were taken from: the float graph, its number of runs, and the weights.

    `weights` is None for float weights, otherwise how the weight of each layer was quantized, as text.
    `version` is that of the qir which took them; it is not compared.
    """

    graph: Fingerprint
    units: int
    weights: Mapping[str, str] | None = None
    version: str = field(default=__version__, compare=False)


@dataclass(frozen=True)
class Statistics(Mapping[str, TensorStatistics]):
    """Statistics of the values of a graph by name, in running order; read-only.

    `problems` says of the other values that were measured why they have none. `where` names the statistics
    in messages.
    """

    tensors: Mapping[str, TensorStatistics]
    problems: Mapping[str, str]
    origin: Origin
    where: str = field(default="the statistics", compare=False)

    @staticmethod
    def of(measured: Measured, graph: Fingerprint, weights: Mapping[str, str] | None) -> Statistics:
        """What was measured in a graph."""
        problems = {name: problem.message for name, problem in sorted(measured.problems.items())}
        return Statistics(dict(measured.tensors), problems, Origin(graph, measured.units, weights))

    def __getitem__(self, name: str) -> TensorStatistics:
        """The statistics of a value; CalibrationError where there are none, with the reason."""
        if name in self.problems:
            raise CalibrationError(f"{self.where}: {self.problems[name]}")
        if name not in self.tensors:
            raise CalibrationError(
                f"{self.where} have nothing about tensor '{name}'{did_you_mean(name, self.tensors)}; {_ALIKE}"
            )
        return self.tensors[name]

    def __contains__(self, name: object) -> bool:
        return name in self.tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def check(self, graph: Fingerprint, weights: Mapping[str, str] | None) -> None:
        """CalibrationError that says what differs when they are from another graph or other weights."""
        found = changes(self.origin.graph, graph)
        if found:
            written = (
                "" if self.origin.version == __version__ else f" (they are by qir {self.origin.version})"
            )
            raise CalibrationError(
                f"{self.where} are of another model{written}: {'; '.join(found)}; {_ALIKE}"
            )
        reason = _other_weights(self.origin.weights, weights)
        if reason is not None:
            raise CalibrationError(f"{self.where} {reason}; {_ALIKE}")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an `.npz`, whole or not at all; ConfigError when the place cannot be written."""
        with written_aside(Path(path)) as file:
            _write(file, self)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Statistics:
        """The statistics of a file; CalibrationError that says what is wrong with it."""
        place = Path(path)
        if not place.is_file():
            what = "is a folder" if place.is_dir() else "does not exist"
            raise CalibrationError(f"'{place}' {what}; give a file that `qir calibrate` wrote")
        try:
            with zipfile.ZipFile(place) as archive:
                if _HEADER not in archive.namelist():
                    raise CalibrationError(
                        f"'{place}' holds no statistics, it was not written by `qir calibrate`; calibration "
                        f"data go to --data"
                    )
                return _read(archive, place)
        except _DAMAGED as error:
            raise CalibrationError(
                f"'{place}' is no file of statistics, or is damaged ({error}); {_AGAIN}"
            ) from error


def _other_weights(before: Mapping[str, str] | None, after: Mapping[str, str] | None) -> str | None:
    """How the weights of statistics differ from those of a pipeline, or None."""
    if before == after:
        return None
    if before is None:
        return "were taken with float weights, but this pipeline calibrates with weights=quantized"
    if after is None:
        return "were taken with weights=quantized, but this pipeline calibrates with float weights"
    names = [n for n in dict.fromkeys((*before, *after)) if before.get(n) != after.get(n)]
    told = [f"'{n}' was {before.get(n, 'float')}, is {after.get(n, 'float')}" for n in names]
    return f"were taken with other quantized weights: {listed(told)}"


def _write(file: IO[bytes], statistics: Statistics) -> None:
    origin = statistics.origin
    header = {
        "format": FORMAT,
        "qir": origin.version,
        "units": origin.units,
        "weights": None if origin.weights is None else dict(origin.weights),
        "graph": origin.graph.to_json(),
        "tensors": list(statistics.tensors),
        "problems": dict(statistics.problems),
    }
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, _HEADER, json.dumps(header, sort_keys=True, ensure_ascii=True).encode())
        for i, tensor in enumerate(statistics.tensors.values()):
            for name, array in sorted(packed(tensor).items()):
                content = io.BytesIO()
                plain = array.astype(array.dtype.newbyteorder("<"), copy=False)
                np.lib.format.write_array(content, plain, version=(1, 0), allow_pickle=False)
                _add(archive, f"{i}.{name}.npy", content.getvalue())


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every system
    archive.writestr(info, content)


def _read(archive: zipfile.ZipFile, place: Path) -> Statistics:
    header: dict[str, Any] = json.loads(archive.read(_HEADER))
    if header["format"] != FORMAT:
        raise CalibrationError(
            f"'{place}' has format {header['format']} of statistics (qir {header['qir']}), this qir reads "
            f"{FORMAT}; {_AGAIN}"
        )
    parts: dict[int, dict[str, npt.NDArray[Any]]] = {}
    for member in archive.namelist():
        if member != _HEADER:
            number, name, _ = member.split(".")
            array = np.lib.format.read_array(io.BytesIO(archive.read(member)), allow_pickle=False)
            parts.setdefault(int(number), {})[name] = array
    tensors = {str(name): TensorStatistics.from_arrays(parts[i]) for i, name in enumerate(header["tensors"])}
    weights = None if header["weights"] is None else {str(k): str(v) for k, v in header["weights"].items()}
    origin = Origin(Fingerprint.of_json(header["graph"]), int(header["units"]), weights, str(header["qir"]))
    return Statistics(tensors, dict(header["problems"]), origin, f"the statistics in '{place}'")
