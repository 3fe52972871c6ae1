"""Whole searches on a small model: what is evaluated, what is written, what is remembered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from chain import LAYERS, Counting, chain, floats, in_order, samples, wide

import qir
from qir.backends.fake_quant import lower
from qir.backends.targets import target_named
from qir.config.amct.file import AmctConfig, AmctLayer, Weight
from qir.ir.errors import CalibrationError, ConfigError, PassError
from qir.ir.quants import operand_precision
from qir.passes.context import Context
from qir.passes.equalize_layers import EqualizeLayers
from qir.runtime.metrics import Metric
from qir.runtime.session import Session
from qir.search.amct_files import parse_history, parse_ranking
from qir.search.errors import AccuracyRuleError, ContractError, EvaluatorError, JournalError, SearchError
from qir.search.final_config import final_config
from qir.search.ranking import Ranking
from qir.search.steps import SearchResult, Step
from qir.search.strategies import RefineStrategy

FILES = ["c_deploy_model.onnx", "c_fake_quant_model.onnx", "c_quant.json", "c_record.txt"]
AMCT = "accuracy_based_auto_calibration"
GOLDEN = Path(__file__).parents[1] / "data" / "amct" / "auto"


def search(folder: Path, evaluator: object, **options: object) -> SearchResult:
    given = {"model": chain(), "data": samples(), "output": folder / "c", "sensitivity": in_order}
    return qir.auto_quantize(**{**given, "evaluator": evaluator, "proof_samples": 1, **options})  # type: ignore[arg-type]


def models(folder: Path) -> list[str]:
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.name.startswith("c_") and path.name not in ("c_journal.jsonl", "c_report.json")
    )


def test_a_model_that_keeps_its_accuracy_needs_two_evaluations(tmp_path: Path) -> None:
    judge = Counting(set())
    result = search(tmp_path, judge)
    assert result.outcome == "reached"
    assert judge.asked == [set(LAYERS), set()]
    assert models(tmp_path) == FILES
    assert floats(tmp_path / "c_fake_quant_model.onnx") == set()
    assert list(parse_ranking((tmp_path / f"{AMCT}_ranking_information.json").read_text())) == list(LAYERS)
    (entry,) = parse_history((tmp_path / "amct_log" / f"{AMCT}_record.json").read_text())
    assert entry.flags == dict.fromkeys(LAYERS, True)
    assert result.proof is not None
    assert all(layer.reason == "" for layer in result.layers)


def test_the_fewest_layers_go_back_to_float(tmp_path: Path) -> None:
    judge = Counting({"g0", "g1"})
    steps: list[Step] = []
    result = search(tmp_path, judge, listener=steps.append)
    assert [len(names) for names in judge.asked] == [6, 0, 3, 1, 2]
    assert result.rungs == {"g0": "float32", "g1": "float32"}
    assert floats(tmp_path / "c_fake_quant_model.onnx") == {"g0", "g1"}
    assert tuple(steps) == result.steps
    assert [step.evaluations_left for step in steps] == [None, None, 2, 1, 0]
    history = parse_history((tmp_path / "amct_log" / f"{AMCT}_record.json").read_text())
    assert [sum(not on for on in entry.flags.values()) for entry in history] == [0, 3, 1, 2]
    config = json.loads((tmp_path / f"{AMCT}_final_config.json").read_text())
    assert {name: config[name]["quant_enable"] for name in LAYERS} == {
        name: name not in ("g0", "g1") for name in LAYERS
    }
    reasons = {layer.name: layer.reason for layer in result.layers}
    assert "left in float by the search" in reasons["g0"]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def last_first(graph: qir.Graph, data: object, progress: object) -> Ranking:
    return Ranking({name: -i for i, name in enumerate(LAYERS)})


def test_the_history_lists_layers_as_amct_does(tmp_path: Path) -> None:
    """All quantized: in the order of the model; proposals: the most sensitive layer first."""
    search(tmp_path, Counting({"g5"}), sensitivity=last_first)
    history = parse_history((tmp_path / "amct_log" / f"{AMCT}_record.json").read_text())
    assert [list(entry.flags) for entry in history] == [list(LAYERS), *[list(reversed(LAYERS))] * 2]
    golden = parse_history((GOLDEN / "partial" / f"{AMCT}_record.json").read_text())
    scores = parse_ranking((GOLDEN / "partial" / f"{AMCT}_ranking_information.json").read_text())
    assert [list(entry.flags) for entry in golden] == [["0", "3", "5", "7"], *[list(scores)] * 3]


def test_the_final_configuration_is_amcts_byte_for_byte() -> None:
    conv = AmctLayer()
    gemm = AmctLayer(weight=Weight(channel_wise=False))
    start = AmctConfig(batch_num=2, layers={"0": conv, "3": conv, "5": conv, "7": gemm})
    for case, floats_ in (("pass", ()), ("partial", ("0", "5"))):
        quantized = [name for name in start.layers if name not in floats_]
        text = final_config(start, quantized, dict.fromkeys(floats_, "float32"))
        assert text == (GOLDEN / case / f"{AMCT}_final_config.json").read_text()


def test_the_final_proposal_is_answered_by_the_journal(tmp_path: Path) -> None:
    judge = Counting({"g0", "g1", "g2"})
    result = search(tmp_path, judge)
    assert [len(names) for names in judge.asked] == [6, 0, 3, 1, 2]
    assert [step.floats for step in result.steps] == [0, 0, 3, 1, 2, 3]
    assert result.steps[-1].from_journal
    assert floats(tmp_path / "c_fake_quant_model.onnx") == {"g0", "g1", "g2"}
    history = parse_history((tmp_path / "amct_log" / f"{AMCT}_record.json").read_text())
    assert history[-1] == history[1]
    assert result.evaluations == len(judge.asked)


def test_nothing_looks_like_success_when_every_layer_is_needed(tmp_path: Path) -> None:
    search(tmp_path, Counting(set()))
    assert models(tmp_path) == FILES
    result = search(tmp_path, Counting(set(LAYERS)))
    assert result.outcome == "unreachable"
    assert (result.graph, result.paths) == (None, None)
    assert models(tmp_path) == []
    assert not (tmp_path / f"{AMCT}_final_config.json").exists()
    history = parse_history((tmp_path / "amct_log" / f"{AMCT}_record.json").read_text())
    assert history[-1].flags == dict.fromkeys(LAYERS, False)
    assert history[-1].metric_eval == (True, 0.0)
    assert result.best is not None
    assert result.best.floats == 5
    assert result.changed == ("evaluator",)


def test_the_nearest_model_is_kept_when_asked_for(tmp_path: Path) -> None:
    result = search(tmp_path, Counting(set(LAYERS)), keep_best=True)
    assert result.outcome == "unreachable"
    assert models(tmp_path) == FILES
    assert floats(tmp_path / "c_fake_quant_model.onnx") == set(LAYERS[:5])


def test_limits_end_a_search_with_the_best_so_far(tmp_path: Path) -> None:
    result = search(tmp_path, Counting({"g0"}), max_evaluations=3)
    assert (result.outcome, result.limited) == ("reached", True)
    assert floats(tmp_path / "c_fake_quant_model.onnx") == {"g0", "g1", "g2"}
    judge = Counting({"g0"})
    result = search(tmp_path, judge)
    assert judge.asked == [{"g0"}]
    assert floats(tmp_path / "c_fake_quant_model.onnx") == {"g0"}
    result = search(tmp_path / "other", Counting({"g5"}), max_evaluations=3)
    assert (result.outcome, result.limited) == ("stopped", True)
    assert models(tmp_path / "other") == []
    result = search(tmp_path / "third", Counting({"g0"}), max_time=1e-9)
    assert (result.outcome, result.evaluations) == ("stopped", 1)


def test_a_repeated_search_asks_nothing_and_writes_the_same(tmp_path: Path) -> None:
    search(tmp_path, Counting({"g0", "g1"}))
    before = {name: (tmp_path / name).read_bytes() for name in FILES}
    for name in FILES:
        (tmp_path / name).unlink()
    judge = Counting({"g0", "g1"})
    result = search(tmp_path, judge)
    assert (judge.asked, result.evaluations, result.journalled) == ([], 0, 5)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == before


def count_floats(file: str) -> float:
    return float(len(floats(file)))


def test_another_limit_of_loss_uses_what_was_measured(tmp_path: Path) -> None:
    assert search(tmp_path, count_floats, max_drop=5).rungs.keys() == {"g0"}
    result = search(tmp_path, count_floats, max_drop=3)
    assert result.rungs.keys() == {"g0", "g1", "g2"}
    assert (result.evaluations, result.changed) == (1, ())
    with pytest.raises(ConfigError, match="give one"):
        search(tmp_path, count_floats, max_drop=3, at_least=2)


def test_statistics_that_were_taken_before_serve(tmp_path: Path) -> None:
    plain = search(tmp_path, Counting({"g0"}))
    bytes_before = (tmp_path / "c_deploy_model.onnx").read_bytes()
    statistics = qir.calibrate(chain(), samples())
    statistics.save(tmp_path / "stats.npz")
    given = search(tmp_path, Counting({"g0"}), statistics=tmp_path / "stats.npz")
    assert given.rungs == plain.rungs
    assert given.changed == ("config",)
    assert (tmp_path / "c_deploy_model.onnx").read_bytes() == bytes_before
    other = qir.calibrate(chain(), samples(seed=8))
    assert search(tmp_path, Counting({"g0"}), statistics=other).reached
    assert (tmp_path / "c_deploy_model.onnx").read_bytes() != bytes_before


def test_the_best_model_is_in_place_as_soon_as_it_is_known(tmp_path: Path) -> None:
    seen: list[set[str]] = []

    def look(step: Step) -> None:
        if step.configuration is not None and step.metric_eval[0]:
            seen.append(floats(tmp_path / "c_fake_quant_model.onnx"))

    search(tmp_path, Counting({"g0"}), listener=look)
    assert seen == [{"g0", "g1", "g2"}, {"g0"}]


@pytest.mark.parametrize("mode", ["layer", "model"])
def test_layers_are_ranked_by_what_quantization_does_to_them(mode: str, tmp_path: Path) -> None:
    result = search(tmp_path, Counting(set()), sensitivity="mse", sensitivity_mode=mode)
    assert set(result.ranking.scores) == set(LAYERS)
    assert not result.ranking.low_is_worse
    pairs = json.loads((tmp_path / f"{AMCT}_ranking_information.json").read_text())
    assert [score for _, score in pairs] == sorted(result.ranking.scores.values(), reverse=True)
    other = search(tmp_path, Counting(set()), sensitivity="cosine-similarity", sensitivity_mode=mode)
    assert other.changed == ("sensitivity",)
    assert all(0 <= score <= 1 for score in other.ranking.scores.values())
    with pytest.raises(ConfigError, match="did you mean 'layer'"):
        search(tmp_path, Counting(set()), sensitivity="mse", sensitivity_mode="layers")


def test_layers_to_skip_are_checked_before_anything_is_evaluated(tmp_path: Path) -> None:
    judge = Counting(set())
    with pytest.raises(ConfigError, match="there is no layer 'g9' in the graph"):
        search(tmp_path, judge, skip=["g9"])
    assert not judge.asked
    assert not (tmp_path / "c_journal.jsonl").exists()


class Broken(Metric):
    """A user's metric that gives what it was made with, or raises it."""

    name = "broken"

    def __init__(self, answer: object) -> None:
        self.answer = answer

    def compare(self, data: Any, other: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("mode", ["layer", "model"])
@pytest.mark.parametrize("answer", [KeyError("x"), None, np.ones(2)])
def test_a_metric_that_gives_no_number_is_named(answer: object, mode: str, tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="compare of metric Broken must return a number"):
        search(tmp_path, Counting(set()), sensitivity=Broken(answer), sensitivity_mode=mode)


@pytest.mark.parametrize(
    ("sensitivity", "kind", "said"),
    [
        (3, ContractError, "not inherited from base class SensitivityBase"),
        (Broken, ContractError, "not inherited from base class SensitivityBase"),
        (lambda graph, data, progress: {}, SearchError, "must return a Ranking, not {}"),
    ],
)
def test_what_cannot_rank(sensitivity: object, kind: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=said):
        search(tmp_path, Counting(set()), sensitivity=sensitivity)


@pytest.mark.parametrize("strategy", ["BinarySearch", "Refine"])
@pytest.mark.parametrize("needed", [LAYERS, LAYERS[:4], LAYERS[:1]])
def test_no_more_evaluations_follow_than_were_announced(
    needed: tuple[str, ...], strategy: str, tmp_path: Path
) -> None:
    ladder = ("int16", "float16", "float32")
    steps = search(tmp_path, Counting(set(needed)), strategy=strategy, fallback=ladder).steps
    asked = [not step.from_journal for step in steps]
    announced = [step.evaluations_left for step in steps[2:]]
    assert all(left is not None and left >= sum(asked[i:]) for i, left in enumerate(announced, 3))
    assert any(asked[3:]) or needed == LAYERS[:1]


@pytest.mark.parametrize("strategy", ["Greedy", "Refine"])
def test_other_strategies(strategy: str, tmp_path: Path) -> None:
    result = search(tmp_path, Counting({"g1", "g3"}), strategy=strategy)
    wanted = {"Greedy": {"g0", "g1", "g2", "g3"}, "Refine": {"g1", "g3"}}[strategy]
    assert result.rungs.keys() == wanted
    assert floats(tmp_path / "c_fake_quant_model.onnx") == wanted


def test_what_a_strategy_has_to_say_of_its_result_is_handed_on(tmp_path: Path) -> None:
    strategy = RefineStrategy(budget=0)
    result = search(tmp_path, Counting({"g2", "g3", "g5"}), strategy=strategy)
    assert not result.reached  # binary search comes to roll back every layer
    assert "has not tried all of the 1 to 4 most sensitive layers" in result.note
    report = json.loads((tmp_path / "c_report.json").read_text())
    assert report["search"]["note"] == result.note
    assert search(tmp_path, Counting(set()), strategy=strategy).note == "", "it was not asked"
    assert search(tmp_path, Counting({"g2", "g3", "g5"}), strategy="Refine").note == ""


def test_rolled_back_layers_take_the_first_rung_that_does(tmp_path: Path) -> None:
    result = search(tmp_path, Counting(set(LAYERS)), fallback=("int16", "float32"))
    assert [len(step.configuration or ()) for step in result.steps] == [0, 0, 3, 5, 6, 3, 5]
    assert {rung for step in result.steps[2:5] for rung in (step.configuration or {}).values()} == {"int16"}

    class Wide(Counting):
        def evaluate(self, model_file: str) -> float:
            return float("original" not in model_file and not {"g0", "g1"} <= wide(model_file))

    result = search(tmp_path, Wide(set()), fallback=("int16", "float32"))
    assert result.rungs == {"g0": "int16", "g1": "int16"}
    assert wide(tmp_path / "c_fake_quant_model.onnx") == {"g0", "g1"}
    assert [layer.precision for layer in result.layers] == ["int16"] * 2 + ["int8"] * 4
    config = json.loads((tmp_path / f"{AMCT}_final_config.json").read_text())
    assert [config[n]["activation_quant_params"]["num_bits"] for n in LAYERS] == [16] * 2 + [8] * 4


def test_error_compensation_is_a_rung_where_the_target_has_it(tmp_path: Path) -> None:
    class Compensated(Counting):
        def evaluate(self, model_file: str) -> float:
            if "original" in model_file:
                return 0.0
            names = {n.name for n in onnx.load(model_file).graph.node if n.name.endswith(".compensated")}
            return float(len(names) < 2)

    result = search(tmp_path, Compensated(set()), target="qdq", fallback=("int16-ec", "float32"), form="qdq")
    assert set(result.rungs.values()) == {"int16-ec"}
    assert result.graph is not None
    assert {operand_precision(result.graph.node(name), 1).name for name in result.rungs} == {"ec"}


def test_layers_in_float16_compute_with_rounded_numbers(tmp_path: Path) -> None:
    result = search(tmp_path, Counting({"g0", "g4"}), strategy="Refine", fallback=("float16", "float32"))
    assert result.rungs == {"g0": "float16", "g4": "float16"}
    assert result.graph is not None
    assert [operand_precision(result.graph.node("g0"), i).name for i in (0, 1)] == ["float16"] * 2
    assert [layer.precision for layer in result.layers] == ["float16", *["int8"] * 3, "float16", "int8"]
    assert [value.name for value in result.graph.outputs] == ["g5.r"]
    assert result.graph.has_value("g0.y")
    feeds = {"x": samples(1)["x"]}
    half = Session(lower(result.graph), threads=1, taps=["g0.y"]).run(feeds, ["g0.y"])["g0.y"]
    equalized = chain()
    EqualizeLayers().run(equalized, Context())
    whole = Session(equalized, threads=1, taps=["g0.y"]).run(feeds, ["g0.y"])["g0.y"]
    assert half.dtype == np.float32
    assert 0 < np.abs(half - whole).max() < 0.02


def test_a_weight_beyond_float16_stays_float32(tmp_path: Path) -> None:
    model = chain()
    weight = model.value("g5.w").constant
    assert weight is not None
    model.node("g5").set_input(1, model.constant(weight.array * np.float32(1e5), "large"))

    judge = Counting({"g4", "g5"})
    unequal = target_named("ascend").pipelines["default"].replace("equalize-layers,", "")
    result = search(
        tmp_path, judge, model=model, fallback=("float16",), sensitivity=last_first, pipeline=unequal
    )
    assert [layer.precision for layer in result.layers] == [*["int8"] * 4, "float16", "float32"]


@pytest.mark.parametrize(
    "fallback", [(), ("int8",), ("float32", "int16"), ("float32", "float32"), ("flaot32",)]
)
def test_ladders_that_are_none(fallback: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fallback"):
        search(tmp_path, Counting(set()), fallback=fallback)


class Bad(Counting):
    """Gives `answers` one after the other; an exception is raised."""

    def __init__(self, *answers: object) -> None:
        super().__init__(set())
        self.answers = list(answers)

    def evaluate(self, model_file: str) -> object:
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def metric_eval(self, original_metric: object, new_metric: object) -> tuple[bool, float]:
        return new_metric in (0.0, 2.0), 0.0

    def fingerprint(self) -> str:
        return "bad"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (KeyError("x"), "raised KeyError: 'x', when it was given the model with 1 layers"),
        (SystemExit(2), "raised SystemExit"),
        (None, "returned None"),
        (float("nan"), "not a number"),
        ((1.0, float("nan")), "not a number"),
        (np.array([1, np.nan]), "not a number"),
    ],
)
def test_a_failing_evaluator_leaves_journal_and_best_model(answer: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(EvaluatorError, match=said):
        search(tmp_path, Bad(0.0, 1.0, 2.0, answer))
    assert models(tmp_path) == FILES
    assert floats(tmp_path / "c_fake_quant_model.onnx") == {"g0", "g1", "g2"}
    best = {name: (tmp_path / name).read_bytes() for name in FILES}
    result = search(tmp_path, Bad(1.0, 1.0))
    assert result.evaluations == 2
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == best


def test_an_original_that_fails_its_own_rule(tmp_path: Path) -> None:
    with pytest.raises(AccuracyRuleError, match="Compare between original_accuracy and original") as caught:
        search(tmp_path, Bad(1.0))
    assert isinstance(caught.value, ValueError)
    assert models(tmp_path) == []


@pytest.mark.parametrize(
    ("higher", "bound", "said"),
    [
        (True, 0.5, "its metric is 0.25, and must be at least 0.5; if less is better, say so"),
        (False, 0.125, "its metric is 0.25, and must be at most 0.125$"),
    ],
)
def test_an_original_that_is_not_good_enough_for_at_least(
    higher: bool, bound: float, said: str, tmp_path: Path
) -> None:
    with pytest.raises(AccuracyRuleError, match=said):
        search(tmp_path, lambda file: 0.25, at_least=bound, higher_is_better=higher)


@pytest.mark.parametrize("answer", [None, True, (1, 2, 3), ("yes", 1.0), (True, None), (True, float("nan"))])
def test_metric_eval_must_answer(answer: object, tmp_path: Path) -> None:
    judge = Counting(set())
    judge.metric_eval = lambda a, b: answer  # type: ignore[method-assign,assignment,return-value]
    with pytest.raises(EvaluatorError, match="metric_eval must return"):
        search(tmp_path, judge)


def test_an_evaluator_of_another_class(tmp_path: Path) -> None:
    class Stranger:
        def evaluate(self, model_file: str) -> float:
            return 1.0

    for stranger in (Stranger(), Stranger, 3):
        with pytest.raises(ContractError, match="is not inherited from base class AutoCal") as caught:
            search(tmp_path, stranger)
        assert isinstance(caught.value, RuntimeError)


def test_empty_data_and_nothing_to_quantize(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError):
        search(tmp_path, Counting(set()), data={"x": np.zeros((0, 8), np.float32)})
    with pytest.raises((PassError, ConfigError)):
        search(tmp_path, Counting(set()), skip=LAYERS)
    assert models(tmp_path) == []


def test_the_journal_of_another_model_is_refused(tmp_path: Path) -> None:
    search(tmp_path, Counting(set()))
    journal = (tmp_path / "c_journal.jsonl").read_bytes()
    best = (tmp_path / "c_deploy_model.onnx").read_bytes()
    with pytest.raises(JournalError, match=r"belongs to another model \(other weights\).*--restart"):
        search(tmp_path, Counting(set()), model=chain(seed=5))
    assert (tmp_path / "c_journal.jsonl").read_bytes() == journal
    assert (tmp_path / "c_deploy_model.onnx").read_bytes() == best
    result = search(tmp_path, Counting(set()), model=chain(seed=5), restart=True)
    assert result.evaluations == 2
    assert (tmp_path / "c_deploy_model.onnx").read_bytes() != best


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"data": samples(seed=9)}, ("data",)),
        ({"method": "min-max"}, ("config",)),
        ({"skip": ("g3",)}, ("config",)),
    ],
)
def test_changed_inputs_are_noticed(
    options: dict[str, object], changed: tuple[str, ...], tmp_path: Path
) -> None:
    judge = Counting(set())
    search(tmp_path, judge)
    result = search(tmp_path, judge, **options)
    assert result.changed == changed
    assert (result.evaluations, result.journalled) == (1, 1), "the original has not changed"
    result = search(tmp_path, judge)
    assert result.changed == changed
    assert result.evaluations == 0, "old answers count again when the inputs are as they were"


def test_a_metric_may_be_any_object(tmp_path: Path) -> None:
    for i, kind in enumerate(
        (lambda n: (n, 0.0), lambda n: np.array([n]), lambda n: {n} - {0} or 0, complex)
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        judge = Counting({"g0"}, kind)
        judge.metric_eval = lambda a, b: (a == b if np.ndim(a) == 0 else bool(np.all(a == b)), 0.0)  # type: ignore[method-assign]
        search(folder, judge)
        again = Counting({"g0"}, kind)
        again.metric_eval = judge.metric_eval  # type: ignore[method-assign]
        result = search(folder, again)
        assert result.outcome == "reached"
        assert again.asked == []


def test_a_search_runs_alone(tmp_path: Path) -> None:
    class Nested(Counting):
        def evaluate(self, model_file: str) -> object:
            with pytest.raises(JournalError, match="in use by another search"):
                search(tmp_path, Counting(set()))
            return super().evaluate(model_file)

    assert search(tmp_path, Nested(set())).reached


def test_the_input_model_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "c_fake_quant_model.onnx"
    qir.save(chain(), path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="is the input model"):
        search(tmp_path, Counting(set()), model=path)
    assert path.read_bytes() == before
