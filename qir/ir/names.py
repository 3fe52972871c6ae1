"""Scopes of unique names, nested as subgraphs are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from qir.ir.errors import QirError, did_you_mean

T = TypeVar("T")


class Namespace(Generic[T]):
    """Maps the names of one graph to their owners; generated names are unique over all nested graphs.

    Names that a model brings may repeat in sibling subgraphs; only names made by `unique` avoid all of them.
    """

    def __init__(self, parent: Namespace[T] | None = None) -> None:
        self._owners: dict[str, T] = {}
        self._taken: dict[str, int] = {} if parent is None else parent._taken  # name -> next suffix to try

    def __contains__(self, name: str) -> bool:
        return name in self._owners

    def __iter__(self) -> Iterator[T]:
        return iter(tuple(self._owners.values()))

    def get(self, name: str, kind: str) -> T:
        """The owner of `name`; QirError with the nearest names otherwise."""
        found = self._owners.get(name)
        if found is None:
            raise QirError(
                f"there is no {kind} named '{name}' in the graph{did_you_mean(name, self._owners)}"
            )
        return found

    def register(self, name: str, owner: T, kind: str) -> None:
        """Give `name` to `owner`; QirError when it is taken in this graph."""
        if name in self._owners:
            raise QirError(f"the {kind} name '{name}' is used twice in one graph; names must be unique")
        self._owners[name] = owner
        self._taken.setdefault(name, 1)

    def forget(self, name: str) -> None:
        """Take a name out of this graph; `unique` will still not hand it out again."""
        del self._owners[name]

    def unique(self, hint: str) -> str:
        """`hint` when free, else the first of `hint_1`, `hint_2`, … that is; reserves nothing."""
        if hint not in self._taken:
            return hint
        count = self._taken[hint]
        while f"{hint}_{count}" in self._taken:
            count += 1
        self._taken[hint] = count
        return f"{hint}_{count}"
