"""Lowers layers of a mixture again: rung by rung from the highest, in groups that are halved when they fail.

What a ranking says of single layers need not hold for many: among the layers that were raised are some that
are not needed there. A group goes one rung down at a time, of the rungs that help its layers; first those
that cost least below. A group with which the model still satisfies stays there; another one is halved, down
to single layers. It ends when 1 + log2(layers) mixtures have failed.
"""

from __future__ import annotations

from collections.abc import Callable

from qir.search.configurations import Configuration
from qir.search.tuning.ladder import BASE, Ladder, height
from qir.search.tuning.way import Information, moves_of

Satisfies = Callable[[Configuration], bool | None]
"""Whether a configuration satisfies; None when it was known beforehand that it does not."""


def give_back(
    configuration: Configuration, ladder: Ladder, information: Information, satisfies: Satisfies
) -> Configuration:
    """The lowest configuration that was found to satisfy, from one that does."""
    left = len(ladder.layers).bit_length()
    for rung in reversed(ladder.available):
        below = {
            name: _below(name, rung, ladder, information)
            for name, own in configuration.items()
            if own == rung and name in ladder.steps
        }
        ordered = sorted(below, key=lambda name: information(below[name])[name], reverse=True)
        groups = [ordered] if ordered else []
        while groups and left:
            group = groups.pop()
            found = satisfies(lowered := _with(configuration, {name: below[name] for name in group}))
            left -= found is False
            if found:
                configuration = lowered
            elif len(group) > 1:
                half = (len(group) + 1) // 2
                groups += [group[half:], group[:half]]
    return configuration


def _below(layer: str, rung: str, ladder: Ladder, information: Information) -> str:
    """The highest of the rungs that help a layer below one."""
    moves = moves_of(layer, BASE, rung, ladder, information)
    return max((m.rung for m in moves if m.rung != rung), key=height, default=BASE)


def _with(configuration: Configuration, changed: Configuration) -> Configuration:
    return {name: rung for name, rung in {**configuration, **changed}.items() if rung != BASE}
