"""Scopes of unique names, nested as subgraphs are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from qir.ir.errors import QirError, did_you_mean

T = TypeVar("T")


class Namespace(Generic[T]):
    """Maps the names of one graph to their owners; generated names are unique over all nested graphs.

    Names that a model brings may repeat in sibling subgraphs; only names made by `unique` avoid all of them.
    What `unique` answers depends on the names in use alone, not on names that came and went: a pipeline that
    stops, is saved and goes on later makes the same names.
    """

    def __init__(self, parent: Namespace[T] | None = None) -> None:
        self._owners: dict[str, T] = {}
        # Shared by all nested graphs. The second is a lower bound that keeps `unique` linear: every name from
        # `hint_1` to one below the number is in use.
        self._counts: dict[str, int] = {} if parent is None else parent._counts
        self._next: dict[str, int] = {} if parent is None else parent._next

    def __contains__(self, name: str) -> bool:
        return name in self._owners

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._owners.values()))

    def find(self, name: str) -> T | None:
        """The owner of `name`, or None."""
        return self._owners.get(name)

    def get(self, name: str, kind: str) -> T:
        """The owner of `name`; QirError with the nearest names otherwise."""
        found = self._owners.get(name)
        if found is None:
            raise QirError(
                f"there is no {kind} named '{name}' in the graph{did_you_mean(name, self._owners)}"
            )
        return found

    def check_free(self, names: Sequence[str | None], kind: str) -> None:
        """QirError when one of `names` (None: no name) is taken in this graph or stands twice among them."""
        for i, name in enumerate(names):
            if name is not None and (name in self._owners or name in names[:i]):
                raise _taken(name, kind)

    def register(self, name: str, owner: T, kind: str) -> None:
        """Give `name` to `owner`; QirError when it is taken in this graph."""
        if name in self._owners:
            raise _taken(name, kind)
        self._owners[name] = owner
        self._counts[name] = self._counts.get(name, 0) + 1

    def forget(self, name: str) -> None:
        """Take a name out of this graph; it is free again when no nested graph uses it either."""
        del self._owners[name]
        self._counts[name] -= 1
        if self._counts[name]:
            return
        del self._counts[name]
        hint, _, suffix = name.rpartition("_")
        if hint in self._next and suffix.isdecimal() and len(suffix) < 20:
            self._next[hint] = min(self._next[hint], max(1, int(suffix)))

    def unique(self, hint: str) -> str:
        """`hint` when free, else the first of `hint_1`, `hint_2`, … that is; reserves nothing."""
        if hint not in self._counts:
            return hint
        count = self._next.get(hint, 1)
        while f"{hint}_{count}" in self._counts:
            count += 1
        self._next[hint] = count
        return f"{hint}_{count}"


def _taken(name: str, kind: str) -> QirError:
    return QirError(f"the {kind} name '{name}' is used twice in one graph; names must be unique")
