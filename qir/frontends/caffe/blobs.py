"""Blobs as single assignments: which layer's result each bottom reads, and what each result is called.

A Caffe layer may write its result over a blob ("in place"). Here every writing makes a new version. The last
version of a blob has the blob's name, for that is what users fetch; an earlier one is called `BLOB/LAYER`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qir.frontends.caffe.prototxt import Layer
from qir.ir.errors import did_you_mean

INPUTS = ("Input", "Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "AnnotatedData", "DummyData")
"""Layer types that read no blob: what they make is the input of the net."""


@dataclass(eq=False)
class Version:
    """One writing of a blob: top `top` of layer `layer`, and the layers that read it."""

    blob: str
    layer: int
    top: int
    name: str = ""
    readers: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Blobs:
    """The versions that layer i reads and writes."""

    bottoms: tuple[tuple[Version, ...], ...]
    tops: tuple[tuple[Version, ...], ...]

    def unread(self) -> list[Version]:
        """The results of the net: what no layer reads, in the order in which it is made."""
        return [version for tops in self.tops for version in tops if not version.readers]


def resolve(layers: Sequence[Layer]) -> Blobs:
    """The versions of all blobs; ModelError for a bottom that no layer before it makes."""
    latest: dict[str, Version] = {}
    history: dict[str, list[Version]] = {}
    bottoms: list[tuple[Version, ...]] = []
    tops: list[tuple[Version, ...]] = []
    for i, layer in enumerate(layers):
        for name in layer.bottoms:
            if name not in latest:
                raise layer.error(_unknown(name, layers, i, latest))
            latest[name].readers.append(i)
        bottoms.append(tuple(latest[name] for name in layer.bottoms))
        for name in layer.tops:
            if name in latest and name not in layer.bottoms:
                raise layer.error(
                    f"makes blob '{name}' again, which it does not read; name its top differently"
                )
        made = tuple(Version(name, i, k) for k, name in enumerate(layer.tops))
        for version in made:
            latest[version.blob] = version
            history.setdefault(version.blob, []).append(version)
        tops.append(made)
    for versions in history.values():
        _name(versions, layers)
    return Blobs(tuple(bottoms), tuple(tops))


def _unknown(name: str, layers: Sequence[Layer], reader: int, known: dict[str, Version]) -> str:
    later = next((x.name for x in layers[reader:] if name in x.tops), None)
    if later is not None:
        return f"reads blob '{name}', which layer '{later}' makes only later; put the layers in running order"
    return f"reads blob '{name}', which no layer makes{did_you_mean(name, known)}"


def _name(versions: Sequence[Version], layers: Sequence[Layer]) -> None:
    """An input of the net keeps its name, for users feed by it; otherwise the last version has it."""
    keeper = versions[0] if layers[versions[0].layer].type in INPUTS else versions[-1]
    for version in versions:
        plain = version is keeper
        version.name = version.blob if plain else f"{version.blob}/{layers[version.layer].name}"
