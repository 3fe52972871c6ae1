"""Tuning on a small model: phases and their order, the cheapest mixture, its files, resuming."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from chain import LAYERS, chain, in_order, samples
from heights import HEIGHTS, Least, heights

import qir
from qir.ir.errors import ConfigError
from qir.ir.quants import operand_precision, quantized_layers
from qir.search.errors import JournalError
from qir.search.ranking import Ranking
from qir.search.steps import Step
from qir.search.tuning.ladder import is_within

MODEL = ("c_deploy_model.onnx", "c_fake_quant_model.onnx", "c_quant.json", "c_record.txt")
FILES = sorted((*MODEL, "c_journal.jsonl", "c_quant_config.json", "c_report.json", "c_resolved_config.json"))


def tuned(folder: Path, needed: dict[str, str] | Least, **options: object) -> qir.TuneResult:
    judge = needed if isinstance(needed, Least) else Least(needed)
    given = {"model": chain(), "data": samples(), "output": folder / "c", "sensitivity": in_order}
    return qir.tune(**{**given, "evaluator": judge, **options})  # type: ignore[arg-type]


def table(result: qir.TuneResult) -> list[tuple[str, bool | None, int | None]]:
    return [(phase.name, phase.met, phase.raised) for phase in result.phases]


def test_a_model_that_needs_nothing_is_all_int8(tmp_path: Path) -> None:
    judge = Least({})
    result = tuned(tmp_path, judge)
    assert result.reached
    assert table(result) == [("float model", True, None), ("all int8", True, 0)]
    assert len(judge.asked) == 2
    assert json.loads((tmp_path / "c_quant_config.json").read_text()) == {
        "model_config": {"all_node_type": "int8"}
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_bounds_come_first_and_then_the_fewest_layers(tmp_path: Path) -> None:
    judge, steps = Least({"g0": "int16", "g1": "int16"}), list[Step]()
    result = tuned(tmp_path, judge, listener=steps.append)
    assert table(result) == [
        ("float model", True, None),
        ("all int8", False, 0),
        ("all int16", True, 6),
        ("all int16-ec", None, None),
        ("all float16", True, 6),
        ("int8 to int16", True, 2),
        ("int8 to float16", None, None),
        ("int8 to float32", None, None),
        ("given back", False, 1),
    ]
    assert [set(found.values()) for found in judge.asked[:4]] == [{"float32"}, set(), {"int16"}, {"float16"}]
    assert [sorted(found) for found in judge.asked[4:]] == [["g0", "g1", "g2"], ["g0"], ["g0", "g1"], ["g1"]]
    assert result.rungs == {"g0": "int16", "g1": "int16"}
    assert tuple(steps) == result.search.steps
    notes = {phase.name: phase.note for phase in result.phases}
    assert notes["all int16-ec"] == "no layer has it on this target, only int16"
    assert "cost no less" in notes["int8 to float32"]


def test_layers_climb_no_higher_than_each_must(tmp_path: Path) -> None:
    result = tuned(tmp_path, {"g0": "float16", "g2": "int16"})
    assert table(result)[5:] == [
        ("int8 to float16", True, 3),
        ("int8 to float32", False, 2),
        ("int16 to float16", True, 6),
        ("given back", True, 2),
    ]
    assert result.rungs == {"g0": "float16", "g2": "int16"}
    found = heights(tmp_path / "c_fake_quant_model.onnx")
    assert [found[name] for name in LAYERS] == ["float16", "int8", "int16", "int8", "int8", "int8"]


def test_few_layers_on_a_high_rung_may_be_cheaper_than_many_on_a_low_one(tmp_path: Path) -> None:
    class Either(Least):
        """Satisfied by five layers in INT16, or by the first in float16."""

        def evaluate(self, model_file: str) -> float:
            found = heights(model_file)
            self._asked.append(found)
            raised = sum(own != "int8" for own in found.values())
            return float(raised < 5 and found["g0"] not in ("float16", "float32"))

    result = tuned(tmp_path, Either({}))
    assert ("int8 to int16", True, 5) in table(result)
    assert ("int8 to float16", True, 1) in table(result)
    assert result.rungs == {"g0": "float16"}


def test_where_no_int8_will_do_layers_are_raised_from_a_higher_rung(tmp_path: Path) -> None:
    result = tuned(tmp_path, {**dict.fromkeys(LAYERS, "int16"), "g0": "float32"})
    phases = table(result)
    assert phases.index(("int8 to float32", False, 5)) < phases.index(("int16 to float32", True, 6))
    assert result.rungs == {**dict.fromkeys(LAYERS, "int16"), "g0": "float32"}


def last_first(graph: qir.Graph, data: object, progress: object) -> Ranking:
    return Ranking({name: -i for i, name in enumerate(LAYERS)})


def test_the_ranking_decides_which_layers_are_raised(tmp_path: Path) -> None:
    result = tuned(tmp_path, {"g4": "int16"}, sensitivity=last_first)
    assert ("int8 to int16", True, 2) in table(result)
    assert result.rungs == {"g4": "int16"}  # g5 was given back


def by_rung(graph: qir.Graph, data: object, progress: object) -> Ranking:
    """INT16 is enough for g1 and g2, but it does nothing for g0."""
    wide = {node.name: operand_precision(node, 0).name for node in quantized_layers(graph)}
    scores = {"int8": {"g0": 0.1, "g1": 0.2, "g2": 0.3}, "int16": {"g0": 0.1}, "float16": {"g0": 0.9}}
    return Ranking({name: scores[own].get(name, 0.8) for name, own in wide.items()})


def test_a_layer_skips_rungs_that_do_not_help_it(tmp_path: Path) -> None:
    judge = Least({"g0": "float16", "g1": "int16", "g2": "int16"})
    result = tuned(tmp_path, judge, sensitivity=by_rung)
    assert ("int8 to float16", True, 3) in table(result)
    assert result.rungs == {"g0": "float16", "g1": "int16", "g2": "int16"}
    text = (tmp_path / "c_journal.jsonl").read_text().splitlines()
    rankings = [line for line in map(json.loads, text) if line["kind"] == "ranking"]
    assert [line["scores"]["g0"] for line in rankings] == [0.1, 0.1, 0.9]  # of INT8, INT16, float16
    assert len({line["key"] for line in rankings}) == 3


def test_nothing_is_tried_that_is_nowhere_higher_than_what_failed(tmp_path: Path) -> None:
    judge = Least({"g1": "float16", "g3": "float32", "g4": "int16"})
    result = tuned(tmp_path, judge)
    assert result.reached
    failed = list[dict[str, str]]()
    for found in judge.asked[1:]:
        assert not any(is_within(found, other) for other in failed), found
        if any(HEIGHTS.index(found.get(n, "int8")) < HEIGHTS.index(own) for n, own in judge.needed.items()):
            failed.append(found)


def test_quantize_makes_the_same_model_of_the_configuration(tmp_path: Path) -> None:
    result = tuned(tmp_path, {"g0": "float16", "g2": "int16"}, method="min-max", skip="g5")
    config = json.loads((tmp_path / "c_quant_config.json").read_text())
    assert config == {
        "model_config": {"all_node_type": "int8", "activation": {"calibration_type": "min-max"}},
        "node_config": {
            "g0": {"qtype": "float16"},
            "g2": {"qtype": "int16"},
            "g5": {"qtype": "float32"},
        },
    }
    again = qir.quantize(
        chain(), samples(), config=tmp_path / "c_quant_config.json", output=tmp_path / "again" / "c"
    )
    for name in (*MODEL, "c_resolved_config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes(), name
    assert again.resolved == result.resolved


def test_the_data_are_calibrated_on_once(tmp_path: Path) -> None:
    """Beside that they are read for the journal's key and for the ranking."""
    given = samples(6)["x"]
    seen: list[int] = []

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for i in range(len(given)):
            seen.append(i)
            yield {"x": given[i : i + 1]}

    few, many = [], []
    for needed, counts in (({}, few), ({"g0": "float16", "g2": "int16"}, many)):
        folder = tmp_path / str(len(needed))
        folder.mkdir()
        seen.clear()
        tuned(folder, needed, data=batches)
        counts.append(len(seen))
    assert many == few


def test_a_pinned_node_stays_what_the_user_says(tmp_path: Path) -> None:
    start = {"node_config": {"g0": {"qtype": "int8"}, "g3": {"qtype": "int16"}}}
    result = tuned(tmp_path, {"g1": "int16"}, config=start)
    assert result.rungs == {"g1": "int16"}
    assert heights(tmp_path / "c_fake_quant_model.onnx")["g3"] == "int16"
    config = json.loads((tmp_path / "c_quant_config.json").read_text())
    assert list(config["node_config"]) == ["g1", "g0", "g3"]


def test_an_unreachable_target_leaves_nothing_but_what_it_knows(tmp_path: Path) -> None:
    tuned(tmp_path, {"g0": "int16"})
    result = tuned(tmp_path, dict.fromkeys(LAYERS, "float32"))
    assert not result.reached
    assert result.search.outcome == "unreachable"
    assert result.config is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c_journal.jsonl", "c_report.json"]
    kept = tuned(tmp_path, dict.fromkeys(LAYERS, "float32"), keep_best=True)
    assert not kept.reached
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES


def test_a_limit_keeps_the_best_so_far(tmp_path: Path) -> None:
    result = tuned(tmp_path, {"g0": "int16", "g1": "int16"}, max_evaluations=5)
    assert result.reached
    assert result.search.limited
    assert table(result)[-1] == ("int8 to int16", True, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    ended = tuned(tmp_path, {"g0": "int16", "g1": "int16"})
    assert ended.rungs == {"g0": "int16", "g1": "int16"}
    assert ended.search.journalled == 5


def test_the_same_call_again_takes_everything_from_the_journal(tmp_path: Path) -> None:
    first = tuned(tmp_path, {"g0": "float16", "g2": "int16"})
    bytes_ = {name: (tmp_path / name).read_bytes() for name in FILES if name != "c_report.json"}
    judge = Least({"g0": "float16", "g2": "int16"})
    again = tuned(tmp_path, judge)
    assert judge.asked == []
    assert table(again) == table(first)
    assert {name: (tmp_path / name).read_bytes() for name in bytes_} == bytes_
    with pytest.raises(JournalError, match="belongs to another model"):
        tuned(tmp_path, {}, model=chain(seed=5))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"ladder": ("int61",)}, "there is no rung 'int61'.*did you mean 'int16'"),
        ({"ladder": ("float32", "int16")}, "rungs go up in this order"),
        ({"ladder": ()}, "rungs go up in this order"),
        ({"strategy": "Refin"}, "did you mean 'Refine'"),
        ({"method": "min_max"}, "no calibration method 'min_max'.*did you mean 'min-max'"),
        ({"skip": "g7"}, r"node_config.g7: there is no node 'g7'.*did you mean"),
        ({"config": {"node_config": {"g9": {"qtype": "int8"}}}}, "there is no node 'g9'"),
        ({"config": {"model_config": {"all_node_type": "int16"}}}, "tuning starts from int8"),
        ({"config": {"g0": {"quant_enable": False}}}, "so it starts from one"),
        ({"target": "ascent"}, "did you mean 'ascend'"),
        ({"form": "qqd"}, "did you mean 'qdq'"),
        ({"max_drop": 1.0, "at_least": 1.0}, "give one"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    options: dict[str, object], said: str, tmp_path: Path
) -> None:
    judge = Least({})
    with pytest.raises(ConfigError, match=said):
        tuned(tmp_path, judge, **options)
    assert judge.asked == []
    assert list(tmp_path.iterdir()) == []


def test_the_users_configuration_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "c_quant_config.json"
    path.write_text('{"model_config": {"all_node_type": "int8"}}')
    with pytest.raises(ConfigError, match="never overwritten"):
        tuned(tmp_path, {}, config=path)
    assert path.exists()
