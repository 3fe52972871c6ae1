"""The nodes of a graph by the prefixes of their names, so that a large graph can be shown in parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LARGEST = 48
"""Boxes that one drawing has at most, more or less."""
_SEPARATORS = ("/", ".")


@dataclass
class Scope:
    """Nodes of one prefix: `members` are their places; `parts` are drawn as one box each, or are empty."""

    title: str
    members: list[int]
    parts: list[Scope]


def scopes_of(names: Sequence[str], title: str) -> Scope:
    """The whole graph as a scope, divided as long as a drawing of it would be too large."""
    separator = _separator(names)
    parts = [tuple(p for p in name.split(separator) if p) if separator else (name,) for name in names]
    return _divided(Scope(title, list(range(len(names))), []), parts, 0, separator)


def _separator(names: Sequence[str]) -> str:
    """What divides most of the names; nothing where names have no parts."""
    counts = {mark: sum(mark in name.strip(mark) for name in names) for mark in _SEPARATORS}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] * 2 > len(names) else ""


def _divided(scope: Scope, parts: Sequence[Sequence[str]], depth: int, separator: str) -> Scope:
    if len(scope.members) <= LARGEST:
        return scope
    while _have_prefix_in_common(scope.members, parts, depth):
        depth += 1
    groups: dict[str, list[int]] = {}
    for member in scope.members:
        path = parts[member]
        key = separator.join(path[: depth + 1]) if len(path) > depth + 1 else ""
        groups.setdefault(key, []).append(member)
    loose = groups.pop("", [])
    named = [(key, members) for key, members in groups.items() if len(members) > 1]
    loose = sorted([*loose, *(m for members in groups.values() if len(members) == 1 for m in members)])
    children = [_divided(Scope(key, members, []), parts, depth + 1, separator) for key, members in named]
    if len(children) + len(loose) > LARGEST:
        children, loose = _in_running_order(scope, children, loose), []
    scope.parts = sorted([*children, *(Scope("", [m], []) for m in loose)], key=lambda part: part.members[0])
    return scope


def _have_prefix_in_common(members: Sequence[int], parts: Sequence[Sequence[str]], depth: int) -> bool:
    heads = {tuple(parts[m][: depth + 1]) for m in members}
    return len(heads) == 1 and all(len(parts[m]) > depth + 1 for m in members)


def _in_running_order(scope: Scope, children: Sequence[Scope], loose: Sequence[int]) -> list[Scope]:
    """Too many boxes side by side: stretches of the running order, each of which can be drawn."""
    units = sorted([*children, *(Scope("", [m], []) for m in loose)], key=lambda part: part.members[0])
    stretches = []
    for start in range(0, len(units), LARGEST):
        chunk = units[start : start + LARGEST]
        members = sorted(m for unit in chunk for m in unit.members)
        ends = (chunk[0].title, chunk[-1].title)
        whole = Scope(" … ".join(ends) if all(ends) else scope.title, members, [])
        if len(members) > LARGEST:
            whole.parts = chunk
        stretches.append(whole)
    return stretches if len(stretches) > 1 else list(units)
