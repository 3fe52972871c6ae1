"""Immutable types of values; what is quantized, and by which numbers, is part of a tensor's type."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from qir.ir.dtypes import DType

Dim = int | str | None
"""One dimension: known, a symbol, or unknown."""


@dataclass(frozen=True, slots=True)
class QuantSpec:
    """How a tensor is to be quantized (open).

    `qtype` is the stored element type; `symmetric` forces zero point 0; `axis` is the channel axis, None for
    per tensor. `groups` > 1 is the layout of grouped ConvTranspose weights [Cin, Cout/groups, k…] with axis
    1: the first dimension falls into `groups` equal blocks, and channel `g * shape[axis] + j` is index j of
    block g.
    """

    qtype: DType
    symmetric: bool = True
    axis: int | None = None
    groups: int = 1

    def channels(self, shape: tuple[int, ...]) -> int:
        """Number of scales that a tensor of `shape` has under this spec."""
        return 1 if self.axis is None else shape[self.axis] * self.groups


@dataclass(frozen=True, slots=True)
class QuantParams:
    """A calibrated quantization (closed): real = (stored - zero_point) * scale.

    `scale` holds one float32-valued entry per channel along `spec.axis`, or a single one; `zero_point` has as
    many entries. float16 and float32 specs close with both empty: they are casts, not affine maps.
    """

    spec: QuantSpec
    scale: tuple[float, ...] = ()
    zero_point: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.scale) != len(self.zero_point):
            raise ValueError(f"{len(self.scale)} scales but {len(self.zero_point)} zero points")
        if self.scale:
            with np.errstate(over="ignore"):
                rounded = self.scale_array()
            if tuple(rounded.tolist()) != self.scale:
                raise ValueError("scales must be float32 numbers, not NaN; build them with QuantParams.of")

    @staticmethod
    def of(spec: QuantSpec, scale: npt.ArrayLike, zero_point: npt.ArrayLike = 0) -> QuantParams:
        """Close `spec` with arrays or numbers; scales become float32, one zero point serves all channels."""
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        zeros = np.broadcast_to(np.atleast_1d(np.asarray(zero_point)).astype(np.int64), scales.shape)
        return QuantParams(spec, tuple(scales.tolist()), tuple(zeros.tolist()))

    def scale_array(self) -> npt.NDArray[np.float32]:
        """The scales as a float32 vector."""
        return np.asarray(self.scale, np.float32)

    def zero_point_array(self) -> npt.NDArray[np.int64]:
        """The zero points as an int64 vector."""
        return np.asarray(self.zero_point, np.int64)


Quant = QuantSpec | QuantParams


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor: element type (None: unknown), shape (None: unknown rank) and quantization (None: none)."""

    dtype: DType | None = None
    shape: tuple[Dim, ...] | None = None
    quant: Quant | None = None

    def with_quant(self, quant: Quant | None) -> TensorType:
        """The same tensor with another quantization."""
        return replace(self, quant=quant)

    @property
    def is_static(self) -> bool:
        """True when every dimension is a known number."""
        return self.shape is not None and all(isinstance(d, int) for d in self.shape)

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape when every dimension is known, otherwise None."""
        if self.shape is None:
            return None
        known = tuple(d for d in self.shape if isinstance(d, int))
        return known if len(known) == len(self.shape) else None


@dataclass(frozen=True, slots=True)
class SparseTensorType:
    """A sparse tensor of ONNX; qir carries it and does not look inside."""

    dtype: DType | None = None
    shape: tuple[Dim, ...] | None = None


@dataclass(frozen=True, slots=True)
class SequenceType:
    """A sequence of values of one type."""

    element: Type


@dataclass(frozen=True, slots=True)
class OptionalType:
    """A value that may be absent."""

    element: Type


@dataclass(frozen=True, slots=True)
class MapType:
    """A map from integers or strings to values of one type."""

    key: DType
    value: Type


Type = TensorType | SparseTensorType | SequenceType | OptionalType | MapType

UNKNOWN = TensorType()
"""The type of a value about which nothing is known; prints as `?`."""


def tensor(dtype: DType, shape: Iterable[Dim]) -> TensorType:
    """A tensor type from any iterable of dimensions."""
    return TensorType(dtype, tuple(shape))


def spec_of(quant: Quant) -> QuantSpec:
    """The spec of an open or closed quantization."""
    return quant.spec if isinstance(quant, QuantParams) else quant
