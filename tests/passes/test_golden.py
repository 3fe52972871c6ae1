"""Golden text of every pass, and what must hold over all golden graphs."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
from pathlib import Path

import pytest
from golden import FOLDER, Case, all_cases, constants_beside, golden_files, read_cases, update

from qir.ir.errors import QirError
from qir.ir.files import load_graph, save_graph
from qir.ir.graph import Graph
from qir.ir.verify import verify
from qir.passes.base import Pass
from qir.passes.options import options_of
from qir.passes.pipeline import parse_pipeline
from qir.passes.registry import PASSES

CASES = list(all_cases())


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: path.stem)
def test_golden(path: Path, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        assert "PYTEST_XDIST_WORKER" not in os.environ, "--update-golden runs without -n"
        update(path)
    for case in read_cases(path):
        outcome, _ = case.run()
        if not case.matches(outcome):
            assert outcome == case.expected, f"{case.name}: {case.pipeline}"


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: path.stem)
def test_text_round_trip(path: Path, tmp_path: Path) -> None:
    cases = read_cases(path)
    for graph in [c.graph() for c in cases] + [c.expected_graph() for c in cases if not c.fails]:
        verify(graph)
        text = str(graph)
        save_graph(graph, tmp_path / "graph.qir")
        assert str(load_graph(tmp_path / "graph.qir")) == text
        assert str(graph.clone()) == text


@pytest.mark.parametrize("path", golden_files(), ids=lambda path: path.stem)
def test_a_pipeline_does_nothing_more_the_second_time(path: Path) -> None:
    for case in read_cases(path):
        _, graph = case.run()
        if graph is not None:
            for item in parse_pipeline(case.pipeline):
                assert_settled(item, graph, case)


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
            assert changed == (str(graph) != text), f"{item} on {case.name} said changed={changed}"
            assert_settled(item, graph, case)
            finished += 1
    assert finished


def assert_settled(item: Pass, graph: Graph, case: Case) -> None:
    text = str(graph)
    assert item.run(graph, case.context(graph)) is False, f"{item} on {case.name} changes it again"
    assert str(graph) == text, f"{item} on {case.name} changes it again and hides it"


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


HARNESS = """\
// RUN: eliminate-dead
// Words of the author stay.
graph @a(%x: f32[2]) {
  opsets {onnx=17}
  %w = const [1,2,3,4,5,6,7,8,9] : f32[9]
  %y = Relu(%x) : f32[2]
  %unused = Neg(%x) : f32[2]
  return %y, %w
}

// RUN: qir-opt reproducer.qir --target ascend -p 'calibrate{method=min-max}'
graph @b(%x: f32[2]) {
  opsets {onnx=17}
  %x.q = qir.quant(%x) : f32[2]!i8
  return %x.q
}
"""


def test_the_harness_writes_what_comes_out_and_then_accepts_only_that(tmp_path: Path) -> None:
    path = tmp_path / "harness.qir"
    path.write_text(HARNESS)
    first, second = read_cases(path)
    assert (first.pipeline, second.pipeline) == ("eliminate-dead", "calibrate{method=min-max}")
    assert not first.matches(first.run()[0])
    update(path)
    text = path.read_text()
    assert "// Words of the author stay.\ngraph @a" in text
    assert text.count("%unused") == 1
    assert "// -----\n// ERROR: calibrate needs data" in text
    assert len(constants_beside(path)) == 1
    update(path)
    assert path.read_text() == text
    for case in read_cases(path):
        outcome, graph = case.run()
        assert case.matches(outcome)
        assert not case.matches(outcome.replace("%y = Relu", "%y = Abs").replace("needs data", "is fine"))
        assert (graph is None) == case.fails


def test_a_golden_file_begins_with_a_run_line(tmp_path: Path) -> None:
    path = tmp_path / "odd.qir"
    path.write_text("graph @a() {\n}\n")
    with pytest.raises(ValueError, match="the first line must be"):
        read_cases(path)
