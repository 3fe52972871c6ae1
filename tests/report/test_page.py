"""The page: valid, self-contained, every number that of the JSON beside it; whole for partial input too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pages import (
    XHTML,
    check_nothing_else_is_a_number,
    check_numbers,
    check_self_contained,
    documents,
    large_report,
    parsed,
    write_report,
)

import qir
from qir.debug import runall
from qir.ir.errors import ConfigError
from qir.report.page import write_page
from qir.samples import sample_named

SAMPLE = sample_named("digits")


def check(page: Path, found: dict[str, Any]) -> set[str]:
    check_self_contained(page)
    tree = parsed(page)
    check_nothing_else_is_a_number(tree, found)
    return check_numbers(tree, found)


def words_of(page: Path) -> str:
    return " ".join(" ".join(parsed(page).itertext()).split())


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits sample with everything that a page can show."""
    made = tmp_path_factory.mktemp("out") / "digits"
    config = {"node_config": {"/f2/Gemm": {"qtype": "int16"}}}
    qir.quantize(SAMPLE.model, SAMPLE.calibration, output=made, config=config, compare_layers=True)
    ranked = qir.sensitivity(SAMPLE.model, SAMPLE.calibration, samples=2)
    made.with_name("digits_sensitivity.json").write_text(ranked.to_json())
    runall(SAMPLE.model, SAMPLE.calibration, made.with_name("digits_debug"), data_num=2, plot=False)
    return made


def test_every_number_is_that_of_the_json(prefix: Path) -> None:
    page = write_page(prefix)
    assert page == prefix.with_name("digits_report.html")
    found = documents(prefix, prefix.with_name("digits_debug"))
    assert len(found) == 11
    places = check(page, found)
    layers = found["report"]["layers"]
    for i in range(len(layers)):
        assert {f"report/layers/{i}/cumulative/cosine", f"report/layers/{i}/isolated/sqnr"} <= places
        assert {f"report/layers/{i}/input/scale", f"report/layers/{i}/mac_share"} <= places
    assert {f"sensitivity/layers/{i}/score" for i in range(len(layers))} <= places
    assert {f"report/outputs/0/{key}" for key in ("cosine", "sqnr", "l1", "l2", "chebyshev")} <= places
    assert {p.partition("/")[0] for p in places} >= {"error", "partial", "distribution", "sensitivity_weight"}
    assert "Precisions asked for and granted" in words_of(page)


def test_the_same_files_give_the_same_page(tmp_path: Path) -> None:
    write_report(tmp_path / "m", large_report(60))
    pages = [write_page(tmp_path / "m", tmp_path / name).read_bytes() for name in ("a.html", "b.html")]
    assert pages[0] == pages[1]


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    """The checks of this file are no good unless they fail for a wrong number."""
    write_report(tmp_path / "m", large_report(5))
    found, tree = documents(tmp_path / "m"), parsed(write_page(tmp_path / "m"))
    found["report"]["layers"][0]["cumulative"]["cosine"] -= 1e-9
    with pytest.raises(AssertionError, match="report/layers/0/cumulative/cosine"):
        check_numbers(tree, found)
    next(tree.iter(f"{XHTML}h2")).text = "Summary of 17"
    with pytest.raises(AssertionError, match="Summary of 17"):
        check_nothing_else_is_a_number(tree, found)


def test_debug_files_alone(prefix: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(prefix.with_name("digits_debug"), tmp_path / "debug")
    (folder / "channels.json").unlink()
    (folder / "error.json").write_text('{"kind": "err')
    index = json.loads((folder / "debug.json").read_text())
    next(step for step in index["steps"] if step["kind"] == "channels")["problem"] = "the samples ran out"
    (folder / "debug.json").write_text(json.dumps(index))
    page = write_page(None, debug=folder)
    assert page == folder / "report.html"
    words = words_of(page)
    assert "There is no report of a quantized model here." in words
    assert "Distributions by channel: the samples ran out" in words
    assert "'error.json' cannot be read" in words
    (folder / "error.json").unlink()
    check(write_page(None, debug=folder), documents(tmp_path / "none", folder))


@pytest.mark.parametrize("layers", [10, 1000])
def test_many_layers(layers: int, tmp_path: Path) -> None:
    prefix = tmp_path / "large"
    write_report(prefix, large_report(layers))
    page = write_page(prefix)
    places = check(page, documents(prefix))
    assert {f"report/layers/{i}/isolated/cosine" for i in range(layers)} <= places
    assert page.stat().st_size < 5_000 * layers + 200_000
    tables = [table for table in parsed(page).iter(f"{XHTML}table") if table.get("id") == "layer-table"]
    assert sum(1 for _ in tables[0].iter(f"{XHTML}tr")) == layers + 1
    assert ("follow the box" in words_of(page)) == (layers > 48)


def test_graph_without_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(tmp_path / "m", large_report(100))
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    page = write_page(tmp_path / "m")
    check(page, documents(tmp_path / "m"))
    assert "Graphviz is not installed here" in words_of(page)


def test_quantized_and_nothing_measured(tmp_path: Path) -> None:
    qir.quantize(SAMPLE.model, SAMPLE.calibration, output=tmp_path / "m", proof_samples=0)
    page = write_page(tmp_path / "m")
    check(page, documents(tmp_path / "m"))
    words = words_of(page)
    for missing in (
        "Similarity of each layer",
        "Accuracy before and after",
        "Which layers to raise together",
    ):
        assert missing in words
    assert "Graphviz" not in words or shutil.which("dot") is None


def test_files_of_another_model_in_place(tmp_path: Path) -> None:
    qir.quantize(SAMPLE.model, SAMPLE.calibration, output=tmp_path / "m", proof_samples=0)
    record = tmp_path / "m_record.txt"
    record.write_text(record.read_text().replace("scale_d", "scale_w", 1))
    assert "this one is of an earlier model" in words_of(write_page(tmp_path / "m"))
    record.unlink()
    assert "no longer beside the report" in words_of(write_page(tmp_path / "m"))


def test_a_search_that_was_killed(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"kind": "inputs", "weights": "0f"},
        {"kind": "metric", "key": "k", "lowered": None, "metric": {"value": 0.75}, "seconds": 1.5},
        {"kind": "metric", "key": "k", "lowered": {}, "metric": {"value": 0.5}, "seconds": 1.5},
        {"kind": "metric", "key": "k", "lowered": {"float32": ["a", "b"]}, "metric": {"text": "(1, 2)"}},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "m_journal.jsonl").write_text(text + '{"kind": "metr')
    page = write_page(tmp_path / "m")
    (tmp_path / "m_journal.jsonl").write_text(text)
    places = check(page, documents(tmp_path / "m"))
    assert {"journal/1/metric/value", "journal/2/metric/value", "journal/3/lowered/float32"} <= places
    assert "The search has not ended; this is what its journal knows." in words_of(page)
    assert "run the same `qir auto` or `qir tune` again" in words_of(page)


@pytest.mark.parametrize("drop", [0.1, 0.6])
def test_a_search_with_and_without_result(drop: float, tmp_path: Path) -> None:
    prefix = tmp_path / "m"
    result = qir.auto_quantize(
        SAMPLE.model, SAMPLE.calibration, lambda path: 0.5 if "fake_quant" in str(path) else 1.0,
        output=prefix, max_drop=drop, max_evaluations=3, compare_layers=True,
    )  # fmt: skip
    assert result.reached == (drop > 0.5)
    page = write_page(prefix)
    found = documents(prefix)
    places = check(page, found)
    assert found["report"]["search"]["outcome"] == result.outcome
    assert [step["metric"] for step in found["report"]["search"]["steps"]] == [s.metric for s in result.steps]
    assert "report/search/steps/1/metric" in places
    assert ("report/summary/accuracy/quantized" in places) == result.reached
    assert ("report/layers/0/isolated/cosine" in places) == result.reached
    assert ("The search ended without a model" in words_of(page)) != result.reached


def test_phases_of_a_tuning(tmp_path: Path) -> None:
    prefix = tmp_path / "m"
    result = qir.tune(
        SAMPLE.model, SAMPLE.calibration, lambda path: 0.5 if "fake_quant" in str(path) else 1.0,
        output=prefix, max_drop=0.6, max_evaluations=3,
    )  # fmt: skip
    places = check(write_page(prefix), found := documents(prefix))
    phases = found["report"]["search"]["phases"]
    assert [phase["phase"] for phase in phases] == [phase.name for phase in result.phases]
    assert "report/search/phases/0/metric" in places
    assert "report/search/phases/1/layers/int8" in places
    assert found["report"]["summary"]["accuracy"]["of"] == "what a lambda evaluates"


def test_names_are_no_markup(tmp_path: Path) -> None:
    report = large_report(3)
    for row, node in zip(report["layers"], report["graph"]["nodes"], strict=True):
        row["name"] = node["name"] = f"<script>alert({row['name']!r})</script>&amp;\"'"
    write_report(tmp_path / "m", report)
    page = write_page(tmp_path / "m")
    check(page, documents(tmp_path / "m"))
    assert "<script>alert" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["{}", '{"layers": null, "summary": []}', "[1, 2]", "", '{"layers": [{}]}'])
def test_any_json_gives_a_page(text: str, tmp_path: Path) -> None:
    (tmp_path / "m_report.json").write_text(text)
    check_self_contained(write_page(tmp_path / "m"))


def test_nothing_to_report(tmp_path: Path) -> None:
    write_report(tmp_path / "digits", large_report(2))
    with pytest.raises(ConfigError, match=r"'.*digit_report.json' does not exist.*did you mean 'digits'\?"):
        write_page(tmp_path / "digit")
    with pytest.raises(ConfigError, match="has no files of `qir debug`"):
        write_page(None, debug=tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        write_page(tmp_path / "digits", debug=tmp_path / "none")
    with pytest.raises(ConfigError, match="prefix of a quantized model, or a folder"):
        write_page(None)
    with pytest.raises(ConfigError, match="never overwritten"):
        write_page(tmp_path / "digits", tmp_path / "digits_report.json")
    with pytest.raises(ConfigError, match="does not exist"):
        write_page(tmp_path / "digits", tmp_path / "none" / "page.html")
