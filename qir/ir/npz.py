"""Constants in an `.npz`: deterministic bytes out, memory-mapped and checked data in.

The file is a plain zip of `.npy` files that `numpy.load` reads: `DIGEST.npy` per constant, and
`DIGEST-bf16-8x3.npy` (the raw bytes; element type and shape in the name) for types that numpy lacks. Its
bytes depend on the constants alone. Data start at multiples of 64 bytes, so that mapped arrays are aligned.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import ModelError

Bytes = npt.NDArray[np.uint8]

_ALIGNMENT = 64
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
_LARGE = 1 << 30  # members above get the 64-bit header, with 20 bytes of extra
_PADDING_ID = 0xD935  # "alignment" in the registry of zip extra fields
_LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, length of the name, length of the extra
_NPY_HEADER = 1 << 12  # no header of an array without fields is longer
# What numpy, zipfile and zlib raise on bytes that are not what they should be.
_DAMAGED = (OSError, ValueError, EOFError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile)
_MEMBER = re.compile(r"([0-9a-f]{16})(?:-(\w+)-((?:\d+(?:x\d+)*)?))?\.npy", re.ASCII)


def write_npz(file: IO[bytes], constants: Iterable[Constant]) -> None:
    """Write constants (none of strings) to an open file, each digest once."""
    members = {_member_name(c): c for c in constants}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            data = members[name].data
            array = data if data.flags.c_contiguous else data.copy(order="C")
            array = array.astype(array.dtype.newbyteorder("<"), copy=False)
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(array))
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system, info.external_attr = 3, 0o644 << 16  # the same on every system
            info.file_size = len(header.getvalue()) + array.nbytes
            large = info.file_size > _LARGE
            info.extra = _padding(file.tell() + _LOCAL_HEADER.size + len(name) + (20 if large else 0))
            with archive.open(info, "w", force_zip64=large) as member:
                member.write(header.getvalue())
                member.write(array.reshape(-1).view(np.uint8).data)


def _member_name(constant: Constant) -> str:
    if constant.dtype.numpy is not None:
        return f"{constant.digest}.npy"
    return f"{constant.digest}-{constant.dtype.value}-{'x'.join(map(str, constant.shape))}.npy"


def _padding(start: int) -> bytes:
    """An extra field that moves the data, which would begin at `start`, to a multiple of the alignment."""
    size = -(start + 4) % _ALIGNMENT
    return struct.pack("<HH", _PADDING_ID, size) + bytes(size)


def read_npz(path: Path) -> dict[str, Constant]:
    """The constants of a file by digest, mapped into memory; ModelError when the file is damaged."""
    try:
        mapped: Bytes = np.asarray(np.memmap(path, np.uint8, "r"))
        with zipfile.ZipFile(path) as archive:
            read = [_constant(archive, info, mapped) for info in archive.infolist()]
    except _DAMAGED as error:
        raise ModelError(f"'{path}' cannot be read: {error}; write it again with its .qir file") from error
    return {constant.digest: constant for constant in read}


def _constant(archive: zipfile.ZipFile, info: zipfile.ZipInfo, mapped: Bytes) -> Constant:
    match = _MEMBER.fullmatch(info.filename)
    if match is None:
        raise ValueError(f"'{info.filename}' in it is not named after a digest")
    array = _array(_content(archive, info, mapped))
    if match[2] is None:
        held = Constant(DType.of(array.dtype), array.shape, array)
    else:
        shape = tuple(int(d) for d in match[3].split("x") if d)
        held = Constant(DType(match[2]), shape, array)
    if held.digest != match[1]:
        raise ValueError(f"the data of #{match[1]} have the digest #{held.digest}: they were changed")
    return held


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, mapped: Bytes) -> Bytes:
    """The bytes of a member: mapped, or unpacked where another program compressed the file."""
    if info.compress_type != zipfile.ZIP_STORED:
        return np.frombuffer(archive.read(info), np.uint8)
    begin = info.header_offset
    signature, name, extra = _LOCAL_HEADER.unpack(mapped[begin : begin + _LOCAL_HEADER.size].tobytes())
    start = begin + _LOCAL_HEADER.size + name + extra
    if signature != b"PK\x03\x04" or start + info.file_size > mapped.size:
        raise ValueError(f"'{info.filename}' in it is cut off")
    return mapped[start : start + info.file_size]


def _array(content: Bytes) -> npt.NDArray[Any]:
    """The array of an `.npy` content, as a view where it is aligned."""
    head = io.BytesIO(content[:_NPY_HEADER].tobytes())
    if np.lib.format.read_magic(head) != (1, 0):
        raise ValueError("an array in it has another version of the npy format than 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
    data = content[head.tell() :]
    if dtype.hasobject or data.size != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array of type {dtype}{list(shape)} in it has {data.size} bytes")
    if data.ctypes.data % dtype.alignment:
        data = data.copy()
    array = data.view(dtype).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False)
