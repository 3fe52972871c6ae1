"""The table of `--report` on a terminal: names stay whole however narrow it is."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from qir.cli.similarity_table import print_similarity
from qir.ir.graph import Graph
from qir.report import LayerReport
from qir.report.similarity import LayerSimilarity
from qir.runtime.compare import OutputComparison

NAME = "/backbone/stages.3/layers.11/attention/query/ConvTranspose"


@pytest.mark.parametrize("width", [72, 80, 200])
def test_names_are_folded_and_not_cut(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    layers = [LayerReport(name, "ConvTranspose", "float16", "", 1) for name in (NAME, "short")]
    found = {layer.name: OutputComparison(layer.name, 0.999, 30.0, 0.1, 0.1, 0.1, 8) for layer in layers}
    print_similarity(console, layers, Graph("g", {"": 17}), LayerSimilarity(8, found, found))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    rule = next(i for i, line in enumerate(lines) if "─" in line)
    end = next(i for i, line in enumerate(lines) if line.split()[:1] == ["short"])
    assert max(map(len, lines[:end])) <= width
    assert "".join(line.split()[0] for line in lines[rule + 1 : end]) == NAME
    if width == 80:
        assert len(lines[rule + 1].split()[0]) >= 18
