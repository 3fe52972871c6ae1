"""Golden text of every pass, and what must hold over all golden graphs."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import sys
from pathlib import Path

import pytest
from golden import FOLDER, Case, all_cases, constants_beside, golden_files, read_cases, update

from qir.ir.errors import QirError
from qir.ir.files import load_graph, save_graph
from qir.ir.graph import Graph
from qir.ir.parser import parse_graph
from qir.ir.verify import verify
from qir.passes.base import Pass
from qir.passes.options import options_of
from qir.passes.pipeline import parse_pipeline
from qir.passes.registry import PASSES

CASES = list(all_cases())


def case_id(case: Case) -> str:
    return f"{case.path.stem}-{case.number}"


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: path.stem)
def test_golden(path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        assert "PYTEST_XDIST_WORKER" not in os.environ, "--update-golden runs without -n"
        update(path)
    for case in read_cases(path):
        outcome, _ = case.run()
        if not case.matches(outcome):
            print(f"{path.name}, case {case.number}: {case.pipeline}", file=sys.stderr)
            assert outcome == case.expected


@pytest.mark.parametrize("case", CASES, ids=case_id)
def test_text_round_trip(case: Case, tmp_path: Path) -> None:
    graphs = [case.graph()] if case.fails else [case.graph(), case.expected_graph()]
    for graph in graphs:
        verify(graph)
        text = str(graph)
        assert str(parse_graph(text, constants_beside(case.path))) == text
        save_graph(graph, tmp_path / "graph.qir")
        assert str(load_graph(tmp_path / "graph.qir")) == text
        assert str(graph.clone()) == text


@pytest.mark.parametrize("case", [c for c in CASES if not c.fails], ids=case_id)
def test_a_pipeline_does_nothing_more_the_second_time(case: Case) -> None:
    _, graph = case.run()
    assert graph is not None
    text = str(graph)
    for item in parse_pipeline(case.pipeline):
        assert item.run(graph, case.context(graph)) is False, str(item)
        assert str(graph) == text


def instances(kind: type[Pass]) -> list[Pass]:
    """The pass with its default options, and as golden files use it."""
    used = [item for case in CASES if not case.fails for item in parse_pipeline(case.pipeline)]
    default = [] if any(o.is_required for o in options_of(kind).values()) else [kind()]
    return list(dict.fromkeys([*default, *(item for item in used if type(item) is kind)]))


@pytest.mark.parametrize("kind", PASSES.values(), ids=PASSES.keys())
def test_a_pass_is_idempotent_on_every_golden_graph(kind: type[Pass]) -> None:
    finished = 0
    for case in CASES:
        for item in instances(kind):
            graph = case.graph()
            text = str(graph)
            try:
                changed = item.run(graph, case.context(graph))
            except QirError:
                continue  # a precondition does not hold here; that it is reported well, golden errors show
            verify(graph)
            assert changed == (str(graph) != text), f"{item} on {case_id(case)} said changed={changed}"
            assert_settled(item, graph, case)
            finished += 1
    assert finished


def assert_settled(item: Pass, graph: Graph, case: Case) -> None:
    text = str(graph)
    assert item.run(graph, case.context(graph)) is False, f"{item} on {case_id(case)} changes it again"
    assert str(graph) == text, f"{item} on {case_id(case)} changes it again and hides it"


@pytest.mark.parametrize("kind", PASSES.values(), ids=PASSES.keys())
def test_a_pass_has_one_name_in_four_spellings(kind: type[Pass]) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", kind.name)
    words = kind.name.split("-")
    assert kind.__module__ == "qir.passes." + "_".join(words)
    assert kind.__name__ == "".join(word.capitalize() for word in words)
    path = FOLDER / f"{'_'.join(words)}.qir"
    assert path.exists(), f"{kind.name} has no golden file {path.name}"
    tested = {
        type(item) for case in read_cases(path) if not case.fails for item in parse_pipeline(case.pipeline)
    }
    assert kind in tested, f"{path.name} does not run {kind.name}"


@pytest.mark.parametrize("kind", PASSES.values(), ids=PASSES.keys())
def test_a_pass_is_a_documented_frozen_dataclass(kind: type[Pass]) -> None:
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__doc__" in vars(kind)
    assert (inspect.getdoc(kind) or "").splitlines()[0].endswith(".")
    assert vars(kind)["name"] == kind.name


def test_every_golden_file_has_a_case() -> None:
    assert {case.path for case in CASES} == set(golden_files())
    assert CASES
