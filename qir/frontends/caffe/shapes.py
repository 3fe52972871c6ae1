"""Shapes as Caffe computes them; the batch, in front of all inputs alike, may be a symbol."""

from __future__ import annotations

from collections.abc import Sequence

Shape = tuple[int | str | None, ...]
BATCH = "N"
"""The symbol of the batch."""


class FixedBatchNeeded(Exception):
    """A layer computes with the size of the batch: the net is read again with the batch of the prototxt."""


def number(dim: int | str | None) -> int:
    """A dimension as a number; FixedBatchNeeded for a symbol."""
    if not isinstance(dim, int):
        raise FixedBatchNeeded
    return dim


def numbers(dims: Sequence[int | str | None]) -> tuple[int, ...]:
    """Dimensions as numbers; FixedBatchNeeded for a symbol among them."""
    return tuple(map(number, dims))


def size(dims: Sequence[int | str | None]) -> int:
    """The number of elements; FixedBatchNeeded for a symbol among the dimensions."""
    product = 1
    for dim in dims:
        product *= number(dim)
    return product


def squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    """A shape without its dimensions of 1, which blobs of old files have in front and new ones have not."""
    return tuple(d for d in shape if d != 1)


def text_of(shape: Shape) -> str:
    """A shape for messages."""
    return f"[{', '.join(str(d) for d in shape)}]"
