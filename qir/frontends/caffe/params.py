"""Typed reading of the fields of a protobuf message whose class is made at run time."""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message


class Params:
    """The fields of one message; where one does not stand in the text, its default."""

    def __init__(self, message: Message) -> None:
        self.message = message

    def has(self, name: str) -> bool:
        """True when an optional field stands in the text."""
        return bool(self.message.HasField(name))

    def integer(self, name: str) -> int:
        """An integer."""
        return int(getattr(self.message, name))

    def integers(self, name: str) -> tuple[int, ...]:
        """A repeated field of integers."""
        return tuple(map(int, getattr(self.message, name)))

    def real(self, name: str) -> float:
        """A float32 number."""
        return float(getattr(self.message, name))

    def reals(self, name: str) -> tuple[float, ...]:
        """A repeated field of float32 numbers."""
        return tuple(map(float, getattr(self.message, name)))

    def flag(self, name: str) -> bool:
        """A bool."""
        return bool(getattr(self.message, name))

    def text(self, name: str) -> str:
        """A string."""
        return str(getattr(self.message, name))

    def texts(self, name: str) -> tuple[str, ...]:
        """A repeated field of strings."""
        return tuple(map(str, getattr(self.message, name)))

    def word(self, name: str) -> str:
        """The word of an enum."""
        field: FieldDescriptor = self.message.DESCRIPTOR.fields_by_name[name]
        return str(field.enum_type.values_by_number[self.integer(name)].name)

    def part(self, name: str) -> Params:
        """A message within this one; all defaults where it does not stand in the text."""
        return Params(getattr(self.message, name))

    def parts(self, name: str) -> Iterator[Params]:
        """A repeated field of messages."""
        return (Params(item) for item in getattr(self.message, name))
