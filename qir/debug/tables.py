"""What the debug functions measure as tables: sensitivity, accumulated error, partial quantization."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qir.report.plain import Entries, Json, json_text, plain
from qir.runtime.metrics import Metric
from qir.runtime.switches import Operands

FORMAT = 1
"""The version of the JSON files."""
NODE_TYPES: Mapping[str, Operands] = {"node": "all", "weight": "weight", "activation": "activation"}
"""What a sensitivity table may rank, and which operands are quantized for that."""


@dataclass(frozen=True)
class SensitivityRow:
    """Nodes quantized together, alone in the model, and the score of each metric.

    `node` is their label. For an activation it is the tensor, with `threshold`, the largest magnitude that is
    not clipped, and `bits`.
    """

    node: str
    nodes: tuple[str, ...]
    op: str
    scores: Mapping[str, float]
    tensor: str | None = None
    threshold: float | None = None
    bits: int | None = None


@dataclass(frozen=True)
class SensitivityTable:
    """The rows, worst first by the first of `metrics`; `outputs` names the values that were compared."""

    model: str | None
    node_type: str
    metrics: tuple[Metric, ...]
    samples: int
    outputs: tuple[str, ...]
    rows: tuple[SensitivityRow, ...]

    @property
    def stem(self) -> str:
        """The name of its files."""
        return f"sensitivity_{self.node_type}"

    @property
    def scores(self) -> dict[str, dict[str, float]]:
        """Node -> metric -> score, worst first."""
        return {row.node: dict(row.scores) for row in self.rows}

    def to_json(self, picture: str | None = None) -> str:
        """The table as JSON."""
        rows: list[Json] = [
            {
                "rank": rank,
                "node": row.node,
                "nodes": [*row.nodes],
                "op": row.op,
                "scores": {name: plain(score) for name, score in row.scores.items()},
                "tensor": row.tensor,
                "threshold": row.threshold,
                "bits": row.bits,
            }
            for rank, row in enumerate(self.rows, 1)
        ]
        return json_text(
            {
                **_head("sensitivity", self.model, self.samples),
                "node_type": self.node_type,
                "metrics": [metric_entry(metric) for metric in self.metrics],
                "outputs": [*self.outputs],
                "picture": picture,
                "rows": rows,
            }
        )

    def to_csv(self) -> str:
        """A line per row: rank, node, op, a column per metric, and of activations threshold and bits."""
        names = [metric.name for metric in self.metrics]
        is_activation = self.node_type == "activation"
        more = ("threshold", "bits") if is_activation else ()
        lines = [
            (rank, row.node, row.op, *(row.scores[name] for name in names))
            + ((row.threshold, row.bits) if is_activation else ())
            for rank, row in enumerate(self.rows, 1)
        ]
        return csv_text(("rank", "node", "op", *names, *more), lines)


@dataclass(frozen=True)
class GraphNode:
    """A node along the graph, and the name of the result that is compared."""

    node: str
    op: str
    output: str


@dataclass(frozen=True)
class ErrorCurve:
    """One variant: which operands of which nodes are quantized, and the score of each node's result.

    A score is None where the result is not made of finite floats.
    """

    label: str
    quantized: tuple[str, ...]
    operands: Operands
    scores: tuple[float | None, ...]


@dataclass(frozen=True)
class ErrorTable:
    """The score of every node's result along the graph, in running order, for each variant.

    With `average_mode`, that of a node is the mean over all nodes up to it.
    """

    model: str | None
    metric: Metric
    average_mode: bool
    samples: int
    nodes: tuple[GraphNode, ...]
    curves: tuple[ErrorCurve, ...]

    stem = "error"

    def to_json(self, picture: str | None = None) -> str:
        """The table as JSON."""
        curves: list[Json] = [
            {
                "label": curve.label,
                "quantized": [*curve.quantized],
                "operands": curve.operands,
                "scores": [None if score is None else plain(score) for score in curve.scores],
            }
            for curve in self.curves
        ]
        return json_text(
            {
                **_head(self.stem, self.model, self.samples),
                "metric": metric_entry(self.metric),
                "average_mode": self.average_mode,
                "nodes": [{"node": n.node, "op": n.op, "output": n.output} for n in self.nodes],
                "picture": picture,
                "curves": curves,
            }
        )

    def to_csv(self) -> str:
        """A line per node: its place, node, op, output, and the score of each variant."""
        lines = [
            (place, item.node, item.op, item.output, *(curve.scores[place - 1] for curve in self.curves))
            for place, item in enumerate(self.nodes, 1)
        ]
        labels = [curve.label for curve in self.curves]
        return csv_text(("place", "node", "op", "output", *labels), lines)


@dataclass(frozen=True)
class PartialRow:
    """A node: the score with it alone quantized, and without it and all rows above quantized."""

    node: str
    op: str
    alone: float
    without: float


@dataclass(frozen=True)
class PartialTable:
    """Nodes worst first. `picked` says how they were chosen: "threshold", "worst" or "given".

    `all_quantized` is the score of the model with every node quantized.
    """

    model: str | None
    metric: Metric
    samples: int
    pick_threshold: float
    picked: str
    all_quantized: float
    rows: tuple[PartialRow, ...]

    stem = "partial"

    @property
    def saturates_at(self) -> int | None:
        """The rank from which on raising more nodes brings less than 1 % of what raising all rows brings.

        None when raising them brings nothing, or when the last row `still_gains`.
        """
        return None if self.still_gains else self._nearly_best

    @property
    def still_gains(self) -> bool:
        """Whether raising the last row brings more than 1 % of what raising all brings, and no float model.

        What nodes behind it would bring is not known then.
        """
        rank = self._nearly_best
        return rank == len(self.rows) and self.rows[-1].without != self.metric.worst(())

    @property
    def _nearly_best(self) -> int | None:
        """The first rank with 99 % of the most that any brings; None when none brings anything."""
        sign = 1 if self.metric.low_is_worse else -1
        gains = [sign * (row.without - self.all_quantized) for row in self.rows]
        best = max(gains, default=0.0)
        if not best > 0:
            return None
        if math.isinf(best):
            return gains.index(best) + 1
        return next(rank for rank, gain in enumerate(gains, 1) if gain >= best * 0.99)

    def to_json(self, picture: str | None = None) -> str:
        """The table as JSON."""
        rows: list[Json] = [
            {
                "rank": rank,
                "node": row.node,
                "op": row.op,
                "alone": plain(row.alone),
                "without": plain(row.without),
            }
            for rank, row in enumerate(self.rows, 1)
        ]
        return json_text(
            {
                **_head(self.stem, self.model, self.samples),
                "metric": metric_entry(self.metric),
                "pick_threshold": self.pick_threshold,
                "picked": self.picked,
                "all_quantized": plain(self.all_quantized),
                "saturates_at": self.saturates_at,
                "still_gains": self.still_gains,
                "picture": picture,
                "rows": rows,
            }
        )

    def to_csv(self) -> str:
        """A line per node: rank, node, op, alone, without."""
        lines = [(rank, r.node, r.op, r.alone, r.without) for rank, r in enumerate(self.rows, 1)]
        return csv_text(("rank", "node", "op", "alone", "without"), lines)


def _head(kind: str, model: str | None, samples: int) -> Entries:
    return {"format": FORMAT, "kind": kind, "model": model, "samples": samples}


def metric_entry(metric: Metric) -> Entries:
    """A metric in JSON."""
    return {"name": metric.name, "worse": "low" if metric.low_is_worse else "high"}


def csv_text(header: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    """Lines as CSV; what is unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()
