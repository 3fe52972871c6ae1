"""What the debug functions tell of distributions: histograms of tensors, and spreads of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qir.debug.tables import FORMAT, csv_text
from qir.report.plain import Json, json_text


@dataclass(frozen=True)
class Bars:
    """A histogram: `counts[i]` elements lie in [left + i step, left + (i + 1) step).

    `series` is activation, weight, weight quantized, output, output quantized or error. `low` and `high` are
    the range of the integers, None for a tensor that is not quantized; `outside_share` lies beyond it.
    """

    series: str
    tensor: str
    left: float
    step: float
    counts: tuple[int, ...]
    count: int
    least: float
    greatest: float
    zero_share: float
    low: float | None = None
    high: float | None = None
    outside_share: float | None = None

    def entry(self) -> Json:
        """As in JSON."""
        return {
            "series": self.series,
            "tensor": self.tensor,
            "left": self.left,
            "step": self.step,
            "counts": [*self.counts],
            "count": self.count,
            "least": self.least,
            "greatest": self.greatest,
            "zero_share": self.zero_share,
            "low": self.low,
            "high": self.high,
            "outside_share": self.outside_share,
        }


@dataclass(frozen=True)
class NodeBars:
    """The histograms of one node."""

    node: str
    op: str
    histograms: tuple[Bars, ...]


@dataclass(frozen=True)
class DistributionTable:
    """The nodes that were asked for, in this order."""

    model: str | None
    samples: int
    nodes: tuple[NodeBars, ...]

    stem = "distribution"

    def to_json(self, pictures: Sequence[str | None]) -> str:
        """The table as JSON, with the picture of each node."""
        nodes: list[Json] = [
            {"node": n.node, "op": n.op, "picture": picture, "histograms": [h.entry() for h in n.histograms]}
            for n, picture in zip(self.nodes, pictures, strict=True)
        ]
        return _text(self.stem, self.model, self.samples, nodes)

    def to_csv(self) -> str:
        """A line per bin: node, series, tensor, from, to, count."""
        lines = [
            (node.node, h.series, h.tensor, h.left + i * h.step, h.left + (i + 1) * h.step, count)
            for node in self.nodes
            for h in node.histograms
            for i, count in enumerate(h.counts)
        ]
        return csv_text(("node", "series", "tensor", "from", "to", "count"), lines)


@dataclass(frozen=True)
class Boxes:
    """How the values of each channel spread: least, lower quartile, median, upper quartile, greatest.

    `of` is activation, weight or output; `axis` that of the channels. Quartiles of tensors that come with the
    data are right to 1/1024 of the channel's range.
    """

    of: str
    tensor: str
    axis: int
    least: tuple[float, ...]
    lower: tuple[float, ...]
    median: tuple[float, ...]
    upper: tuple[float, ...]
    greatest: tuple[float, ...]

    def entry(self) -> Json:
        """As in JSON."""
        return {
            "of": self.of,
            "tensor": self.tensor,
            "axis": self.axis,
            "least": [*self.least],
            "lower": [*self.lower],
            "median": [*self.median],
            "upper": [*self.upper],
            "greatest": [*self.greatest],
        }


@dataclass(frozen=True)
class NodeBoxes:
    """The tensors of one node, channel by channel."""

    node: str
    op: str
    boxes: tuple[Boxes, ...]


@dataclass(frozen=True)
class ChannelTable:
    """The nodes that were asked for, in this order."""

    model: str | None
    samples: int
    nodes: tuple[NodeBoxes, ...]

    stem = "channels"

    def to_json(self, pictures: Sequence[str | None]) -> str:
        """The table as JSON, with the picture of each node."""
        nodes: list[Json] = [
            {"node": n.node, "op": n.op, "picture": picture, "boxes": [b.entry() for b in n.boxes]}
            for n, picture in zip(self.nodes, pictures, strict=True)
        ]
        return _text(self.stem, self.model, self.samples, nodes)

    def to_csv(self) -> str:
        """A line per channel: node, of, tensor, channel, least, lower, median, upper, greatest."""
        lines = [
            (node.node, b.of, b.tensor, channel, *numbers)
            for node in self.nodes
            for b in node.boxes
            for channel, numbers in enumerate(
                zip(b.least, b.lower, b.median, b.upper, b.greatest, strict=True)
            )
        ]
        names = ("least", "lower", "median", "upper", "greatest")
        return csv_text(("node", "of", "tensor", "channel", *names), lines)


def _text(kind: str, model: str | None, samples: int, nodes: list[Json]) -> str:
    return json_text({"format": FORMAT, "kind": kind, "model": model, "samples": samples, "nodes": nodes})
