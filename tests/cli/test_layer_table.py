"""What jobs print of layers: counts, reasons, and names as they are."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress

from qir.cli.layer_table import print_layers, print_line
from qir.cli.progress import RichTask
from qir.console import plain_console
from qir.report import LayerReport

LONG = "model/backbone/very/long/path/" * 6


def layer(name: str, op: str = "MatMul", reason: str = "", macs: int | None = 1) -> LayerReport:
    return LayerReport(name, op, "float32" if reason else "int8", reason, macs)


def printed(capsys: pytest.CaptureFixture[str], *layers: LayerReport) -> list[str]:
    print_layers(plain_console(), layers)
    return capsys.readouterr().out.splitlines()


def test_layers_are_counted_and_reasons_named_by_weight(capsys: pytest.CaptureFixture[str]) -> None:
    small = [layer(f"p{i}", "Pool", "not pooling", 0) for i in range(8)]
    large = layer(LONG, "MatMul", "both computed at run time, which takes two lines of a narrow terminal", 25)
    lines = printed(capsys, *small, large, layer("c1", "Conv", macs=75), layer("c2", "Conv", macs=0))
    rows = [re.findall(r"[\w.]+", line) for line in lines if line.startswith("│")]
    assert rows == [
        ["2", "Conv", "int8", "75.0"],
        ["8", "Pool", "float32", "0.0"],
        ["1", "MatMul", "float32", "25.0"],
    ]
    assert lines[-9:-6] == [
        f"1 MatMul in float32, 25.0 % of the MACs: {large.reason}",
        f"    {LONG}",
        "8 Pool in float32, 0.0 % of the MACs: not pooling",
    ]
    assert lines[-6:] == ["    p0", "    p1", "    p2", "    p3", "    p4", "    and 3 more"]


def test_unknown_shares(capsys: pytest.CaptureFixture[str]) -> None:
    assert "1 MatMul in float32, ? of the MACs: why" in printed(capsys, layer("m", reason="why", macs=None))


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[bold]x[/b]:smile:"
    assert f"    {name}" in printed(capsys, layer(name, reason="[/why]"))


def test_programs_get_tables_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    op = "AnOpWithANameThatIsLongerThanTheTerminalIsWide"
    assert any(f"│ {op} │ int8 " in line for line in printed(capsys, layer("x", op)))


def test_people_get_lines_that_fit_their_terminal() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=40)
    print_line(console, "word " * 20)
    assert max(map(len, console.file.getvalue().splitlines())) <= 40


def test_a_task_without_steps_is_finished_too() -> None:
    display = Progress(disable=True)
    seconds: dict[str, float] = {}
    with RichTask(display, "prove", None, seconds):
        pass
    with RichTask(display, "calibrate", None, seconds) as task:
        task.advance(7)
    assert [(task.completed, task.total, task.finished) for task in display.tasks] == [
        (1, 1, True),
        (7, 7, True),
    ]
    assert list(seconds) == ["prove", "calibrate"]
