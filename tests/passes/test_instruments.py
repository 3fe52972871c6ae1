"""Instruments: what they tell, and that they catch a pass that lies or breaks the graph."""

from __future__ import annotations

import io
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from qir.ir.errors import PassError, QirError, VerifyError
from qir.ir.files import load_graph
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.instruments import PrintIr, Reproducer, RewriteStatistics, Timing, VerifyEach
from qir.passes.instruments.print_ir import When
from qir.passes.manager import PassCrash, PassManager

TEXT = """\
graph @net(%x: f32[2]) {
  opsets {onnx=17}
  %y = Relu(%x) : f32[2]
  return %y
}
"""


@dataclass(frozen=True)
class Relabel(Pass):
    """Rename the output, and tell the truth about it or not."""

    name: ClassVar[str] = "relabel"
    word: str = "z"
    says: Literal["truth", "no-change"] = "truth"

    def run(self, graph: Graph, context: Context) -> bool:
        value = graph.outputs[0]
        if value.name == self.word:
            context.rewrites.refused(self.name, value.name, "it has that name")
            return False
        graph.rename(value, self.word)
        context.rewrites.applied(self.name, self.word)
        return self.says == "truth"


@dataclass(frozen=True)
class Tangle(Pass):
    """Leave an invalid graph: a node that reads its own output. Or raise when it is done."""

    name: ClassVar[str] = "tangle"
    crash: bool = False

    def run(self, graph: Graph, context: Context) -> bool:
        node = graph.nodes[0]
        node.set_input(0, node.output)
        if self.crash:
            raise ZeroDivisionError("half done")
        return True


def net() -> Graph:
    return parse_graph(TEXT)


def test_verify_each_accepts_honest_passes() -> None:
    assert PassManager([Relabel(), Relabel(), Relabel("w")], [VerifyEach()]).run(net())


def test_verify_each_catches_a_pass_that_hides_a_change() -> None:
    with pytest.raises(PassError) as caught:
        PassManager([Relabel(says="no-change")], [VerifyEach()]).run(net())
    message = str(caught.value)
    assert "pass 'relabel' said that it changed nothing" in message
    assert "-  return %y" in message
    assert "+  return %z" in message
    assert PassManager([Relabel(says="no-change")]).run(net()) is False


def test_verify_each_catches_an_invalid_graph_and_names_the_pass() -> None:
    with pytest.raises(VerifyError, match=r"in pass 2 of 2, 'tangle', after relabel"):
        PassManager([Relabel(), Tangle()], [VerifyEach()]).run(net())


def test_verify_each_blames_no_pass_for_its_input() -> None:
    graph = net()
    Tangle().run(graph, Context())
    with pytest.raises(VerifyError) as caught:
        PassManager([Relabel()], [VerifyEach()]).run(graph)
    assert "in pass" not in str(caught.value)


@pytest.mark.parametrize(
    ("when", "titles"),
    [
        ("after-change", ["after relabel"]),
        ("after-all", ["after relabel", "after relabel (no change)"]),
        ("on-failure", ["after tangle{crash=true} failed"]),
    ],
)
def test_print_ir(when: When, titles: list[str]) -> None:
    stream = io.StringIO()
    with pytest.raises(PassCrash):
        PassManager([Relabel(), Relabel(), Tangle(crash=True)], [PrintIr(when, stream)]).run(net())
    printed = stream.getvalue()
    assert [line[9:] for line in printed.split("\n") if line.startswith("// ----- ")] == titles
    assert printed.count("graph @net(%x: f32[2]) {") == len(titles)
    # What a pass left half done is what one wants to see after a failure.
    assert ('%z = Relu "y"(%z)' in printed) == (when == "on-failure")


def test_timing_counts_the_seconds_of_each_pass() -> None:
    ticks = iter([0.0, 2.0, 10.0, 11.0, 20.0, 21.0])
    timing = Timing(clock=lambda: next(ticks))
    with pytest.raises(PassCrash):
        PassManager([Relabel(), Relabel(), Tangle(crash=True)], [timing]).run(net())
    assert [line.split() for line in timing.report().splitlines()] == [
        ["seconds", "share", "outcome", "pass"],
        ["2.000", "50.0%", "changed", "relabel"],
        ["1.000", "25.0%", "no", "change", "relabel"],
        ["1.000", "25.0%", "failed", "tangle{crash=true}"],
        ["4.000", "100.0%", "total"],
    ]


def test_rewrite_statistics_show_rewrites_and_reasons_by_pass() -> None:
    statistics = RewriteStatistics()
    with pytest.raises(PassCrash):
        PassManager([Relabel(), Relabel(), Tangle(crash=True)], [statistics]).run(net())
    assert statistics.report() == (
        "relabel: 1 relabel\n"
        "relabel: no rewrites\n"
        "  refused relabel at 'z': it has that name\n"
        "tangle{crash=true} (failed): no rewrites\n"
    )


def test_reproducer_saves_the_graph_before_the_pass_that_failed(tmp_path: Path) -> None:
    reproducer = Reproducer(tmp_path / "new", arguments=("--data", "my data.npz"))
    with pytest.raises(PassCrash):
        PassManager([Relabel(), Tangle(crash=True)], [reproducer]).run(net())
    (path,) = reproducer.paths
    assert path == tmp_path / "new" / "reproducer-tangle.qir"
    first, rest = path.read_text().split("\n", 1)
    command = ["qir-opt", path.name, "--data", "my data.npz", "-p", "tangle{crash=true}"]
    assert first == f"// RUN: {shlex.join(command)}"
    assert rest == TEXT.replace("%y", "%z").replace("= Relu(", '= Relu "y"(')
    assert str(load_graph(path)) == rest


def test_reproducer_is_written_when_an_instrument_objects(tmp_path: Path) -> None:
    reproducer = Reproducer(tmp_path)
    with pytest.raises(QirError):
        PassManager([Relabel(says="no-change")], [reproducer, VerifyEach()]).run(net())
    assert str(load_graph(reproducer.paths[0])) == TEXT


def test_a_reproducer_that_cannot_be_written_does_not_hide_the_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    reproducer = Reproducer(tmp_path / "file" / "folder")
    with pytest.raises(PassCrash, match="half done"):
        PassManager([Tangle(crash=True)], [reproducer]).run(net())
    assert reproducer.paths == []
    assert "could not be written" in caplog.text
