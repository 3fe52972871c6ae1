"""PassManager: order, the changed flag, and what becomes of errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from qir.ir.errors import CalibrationError, PassError, QirError
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.context import Applied, Context, Refused
from qir.passes.instruments import Instrument
from qir.passes.manager import PassCrash, PassManager


@dataclass(frozen=True)
class Mark(Pass):
    """Write a word into the graph's metadata."""

    name: ClassVar[str] = "mark"
    word: str = "x"

    def run(self, graph: Graph, context: Context) -> bool:
        changed = graph.metadata.get("mark") != self.word
        graph.metadata["mark"] = self.word
        if changed:
            context.rewrites.applied(self.name, self.word)
        else:
            context.rewrites.refused(self.name, self.word, "it is marked already")
        return changed


@dataclass(frozen=True)
class Break(Pass):
    """Raise an error of a chosen kind."""

    name: ClassVar[str] = "break"
    crash: bool = False

    def run(self, graph: Graph, context: Context) -> bool:
        if self.crash:
            raise KeyError("scale")
        raise CalibrationError("tensor 'x' has no data; give --data")


class Recorder(Instrument):
    def __init__(self, name: str, events: list[str]) -> None:
        self.name, self.events = name, events

    def before(self, item: Pass, graph: Graph, context: Context) -> None:
        self.events.append(f"{self.name} before {item}")

    def after(self, item: Pass, graph: Graph, context: Context, changed: bool) -> None:
        self.events.append(f"{self.name} after {item} {changed}")

    def failed(self, item: Pass, graph: Graph, context: Context, error: Exception) -> None:
        self.events.append(f"{self.name} failed {item} {type(error).__name__}")


def test_passes_run_in_order_and_say_whether_anything_changed() -> None:
    graph = Graph("g")
    assert PassManager([Mark("a"), Mark("b")]).run(graph)
    assert graph.metadata == {"mark": "b"}
    assert not PassManager([Mark("b")]).run(graph)
    assert not PassManager([]).run(graph)


def test_a_change_counts_also_when_a_later_pass_changes_nothing() -> None:
    assert PassManager([Mark("a"), Mark("a")]).run(Graph("g"))


def test_a_pipeline_may_be_a_text() -> None:
    manager = PassManager("eliminate-dead , eliminate-dead{}")
    assert str(manager) == "eliminate-dead,eliminate-dead"


def test_instruments_nest_like_a_stack() -> None:
    events: list[str] = []
    PassManager([Mark("a")], [Recorder("outer", events), Recorder("inner", events)]).run(Graph("g"))
    assert events == [
        "outer before mark{word=a}",
        "inner before mark{word=a}",
        "inner after mark{word=a} True",
        "outer after mark{word=a} True",
    ]


def test_an_error_of_a_pass_keeps_its_type_and_names_the_pass_and_those_before() -> None:
    events: list[str] = []
    manager = PassManager([Mark("a"), Mark("b"), Break(), Mark("c")], [Recorder("r", events)])
    with pytest.raises(CalibrationError) as caught:
        manager.run(Graph("g"))
    assert str(caught.value).split("\n") == [
        "tensor 'x' has no data; give --data",
        "  in pass 3 of 4, 'break', after mark{word=a},mark{word=b}",
    ]
    assert events[-1] == "r failed break CalibrationError"


def test_a_defect_of_a_pass_is_no_qir_error_and_keeps_its_cause() -> None:
    with pytest.raises(PassCrash) as caught:
        PassManager([Break(crash=True)]).run(Graph("g"))
    assert not isinstance(caught.value, QirError)
    assert str(caught.value) == "a defect in pass 1 of 1, 'break{crash=true}': KeyError: 'scale'"
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_instrument_that_objects_fails_the_pass() -> None:
    class Objector(Instrument):
        def after(self, item: Pass, graph: Graph, context: Context, changed: bool) -> None:
            raise PassError("no")

    events: list[str] = []
    with pytest.raises(PassError, match="in pass 1 of 1, 'mark'"):
        PassManager([Mark()], [Recorder("r", events), Objector()]).run(Graph("g"))
    assert events == ["r before mark", "r failed mark PassError"]


def test_the_rewrite_log_counts_by_kind_and_names_each_refusal_once() -> None:
    context = Context()
    PassManager([Mark("a"), Mark("a"), Mark("a"), Mark("b")]).run(Graph("g"), context)
    assert context.rewrites.counts() == {"mark": 2}
    assert context.rewrites.refusals() == (Refused("mark", "a", "it is marked already"),)
    assert context.rewrites.events(3) == (Applied("mark", "b"),)
