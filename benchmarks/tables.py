"""Markdown tables, as benchmarks print them and the README shows them."""

from __future__ import annotations

from collections.abc import Sequence


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table with its columns lined up; the first `left` columns are text, the others numbers."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        columns = enumerate(zip(cells, widths, strict=True))
        padded = (c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in columns)
        return "| " + " | ".join(padded) + " |"

    rule = [("-" * w) if i < left else ("-" * (w - 1) + ":") for i, w in enumerate(widths)]
    return "\n".join((line(header), line(rule), *(line(row) for row in rows)))
