"""search-method by numbers: what it says of candidates is what they do, and it takes the best of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from random_chains import Net
from same_numbers import parse, random_feeds

from qir.backends.targets import ASCEND, target_named
from qir.ir.dtypes import DType
from qir.ir.errors import ConfigError, PassError
from qir.ir.graph import Graph
from qir.ir.node import Value
from qir.ir.quants import operand_precision, quantized_layers
from qir.ir.types import spec_of
from qir.ir.verify import verify
from qir.passes.context import Context
from qir.passes.manager import PassManager
from qir.passes.search_method import SearchMethod
from qir.passes.searching.scores import method_scores
from qir.runtime.collect import collect
from qir.runtime.data import open_data
from qir.runtime.metrics import metric_named
from qir.runtime.session import Session
from qir.runtime.twins import without_quants

Array = npt.NDArray[np.generic]
SAMPLES = 3
INSERT = "normalize-gemm,infer-types,insert-quant"
SHARED = """
graph @shared(%x: f32[2,4]) {
  opsets {onnx=17}
  %w = const [1.0,0.5,0.25,0.125,1.0,0.5,0.25,0.125] : f32[4,2]
  %v = const [0.0,0.0,1.0,-1.0,1.0,1.0,1.0,-1.0] : f32[4,2]
  %a = MatMul "one"(%x, %w) : f32[2,2]
  %b = MatMul "two"(%x, %v) : f32[2,2]
  %y = Add "sum"(%a, %b) : f32[2,2]
  return %y
}
"""


def net(kind: str = "Conv") -> Graph:
    made = Net(1, (3, 4) if kind == "Gemm" else (2, 4, 5, 5))
    for i in range(3):
        if i:
            made.between("Relu", 4)
        if kind == "Gemm":
            made.linear(kind, bias=True)
        else:
            made.conv(kind, bias=True)
    return made.done()


def feeds_of(graph: Graph) -> list[dict[str, Array]]:
    """In `shared` an element of the first channel, which layer 'two' does not look at, is large."""
    feeds = [random_feeds(graph, seed) for seed in range(SAMPLES)]
    if graph.name == "shared":
        feeds[0]["x"][0, 0] = 200
    return feeds


def context_of(graph: Graph) -> Context:
    return Context(data=open_data(feeds_of(graph), graph), rules=ASCEND.rules)


def opened(graph: Graph) -> Graph:
    PassManager(INSERT).run(graph, context_of(graph))
    return graph


def searched(graph: Graph, **options: object) -> tuple[Graph, Mapping[str, object]]:
    copy = graph.clone()
    search = SearchMethod(**{"samples": SAMPLES, "metric": "mse", **options})  # type: ignore[arg-type]
    assert search.run(copy, context_of(copy))
    verify(copy)
    table = method_scores(copy)
    assert table is not None
    return copy, table


def loss(graph: Graph, rounded: Graph) -> float:
    floats, other = (Session(without_quants(g, rounded=g is rounded), threads=1) for g in (graph, rounded))
    metric = metric_named("mse")
    return float(
        np.mean([
            metric.compare(next(iter(floats.run(f).values())), next(iter(other.run(f).values())))
            for f in feeds_of(graph)
        ])
    )  # fmt: skip


def quants(graph: Graph) -> list[str]:
    """How the operands of all layers are quantized."""
    return [
        f"{layer.name} {i} {operand_precision(layer, i)}"
        for layer in quantized_layers(graph)
        for i in range(2)
    ]


@pytest.mark.parametrize("kind", ["Conv", "Gemm"])
def test_candidates_are_scored_as_pipelines_would_close_them(kind: str) -> None:
    graph = opened(net(kind))
    methods = {"min-max": "", "mse": "", "kl": " num-bin=256", "percentile": " percentile=0.92"}
    found, table = searched(
        graph, methods=tuple(methods), num_bin=(256,), max_percentile=(0.92,), weights=("arq", "mse")
    )
    losses = []
    closed = []
    for weights in ("arq", "mse"):
        for method, text in methods.items():
            copy = graph.clone()
            text = f"quantize-weights{{method={weights}}},calibrate{{method={method}{text}}}"
            PassManager(text).run(copy, context_of(copy))
            losses.append(loss(graph, copy))
            closed.append(copy)
    scores = [entry["score"] for entry in table["candidates"]]  # type: ignore[attr-defined]
    assert scores == pytest.approx(losses, rel=1e-5)
    assert table["chosen"] == int(np.argmin(losses))
    assert quants(found) == quants(closed[int(np.argmin(losses))])


def test_one_run_over_the_data_serves_all() -> None:
    graph, runs = opened(net()), []

    def counted(*arguments: object) -> object:
        runs.append(1)
        return collect(*arguments)  # type: ignore[arg-type]

    for scope in ("model", "layer"):
        context = replace(context_of(graph), collect=counted)  # type: ignore[arg-type]
        SearchMethod(scope=scope).run(graph.clone(), context)  # type: ignore[arg-type]
    assert len(runs) == 2


def test_statistics_that_were_taken_before_serve_too() -> None:
    graph = opened(net())
    context = context_of(graph)
    copy = graph.clone()
    SearchMethod(samples=2).run(copy, context)
    (statistics,) = context.collected
    again = graph.clone()

    def refuse(*arguments: object) -> object:
        raise AssertionError

    given = replace(context, statistics=statistics, collected=[], collect=refuse)  # type: ignore[arg-type]
    SearchMethod(samples=2).run(again, given)
    assert str(again) == str(copy)


def test_it_runs_once() -> None:
    graph, _ = searched(opened(net()))
    text = str(graph)
    assert SearchMethod().run(graph, context_of(graph)) is False
    assert str(graph) == text


def test_what_is_closed_already_stays() -> None:
    graph = opened(net())
    first = quantized_layers(graph)[0]
    text = f"quantize-weights{{layers={first.name}}},calibrate{{layers={first.name} method=kl}}"
    PassManager(text).run(graph, context_of(graph))
    kept = operand_precision(first, 0), operand_precision(first, 1)
    found, _ = searched(graph, methods=("min-max",))
    layer = found.node(first.name)
    assert (operand_precision(layer, 0), operand_precision(layer, 1)) == kept


def test_an_early_stop_leaves_candidates_untried() -> None:
    graph = opened(net())
    _, table = searched(graph, methods=("min-max", "mse", "kl"), weights=("arq",), similarity=0.5)
    assert [entry["method"] for entry in table["candidates"]] == ["min-max"]  # type: ignore[attr-defined]
    assert [entry["method"] for entry in table["untried"]] == ["mse", "kl"]  # type: ignore[attr-defined]
    assert table["chosen"] == 0


def test_layers_get_what_is_best_for_each_alone() -> None:
    graph = opened(parse(SHARED))
    found, table = searched(
        graph,
        scope="layer",
        methods=("min-max", "percentile"),
        max_percentile=(0.92,),
        weights=("arq", "mse"),
    )
    layers = table["layers"]
    assert isinstance(layers, dict)
    for name, entry in layers.items():
        scores = {int(i): score for i, score in entry["scores"].items()}
        assert entry["chosen"] == min(scores, key=lambda i: (scores[i], i))
        for i, (weights, method) in enumerate(
            (w, m) for w in ("arq", "mse") for m in ("min-max", "percentile percentile=0.92")
        ):
            copy = graph.clone()
            PassManager(f"quantize-weights{{method={weights}}},calibrate{{method={method}}}").run(
                copy, context_of(copy)
            )
            for other in quantized_layers(copy):
                if other.name != name:
                    for place, value in enumerate(other.inputs):
                        assert value is not None
                        other.set_input(place, graph_source(copy, value.name))
            assert scores[i] == pytest.approx(loss(graph, copy), rel=1e-5)
    assert layers["one"]["chosen"] % 2 == 0, "the whole range"
    assert layers["two"]["chosen"] % 2 == 1, "a percentile"
    kinds = {str(operand_precision(layer, 0)) for layer in quantized_layers(found)}
    assert len(kinds) == 2, "the input that both layers read is split"


def graph_source(graph: Graph, quant: str) -> Value | None:
    producer = graph.value(quant).producer
    assert producer is not None
    return producer.inputs[0]


@pytest.mark.parametrize(("topk", "count"), [(1, 1), (2, 2), (None, 3)])
def test_the_most_sensitive_layers_become_int16(topk: int | None, count: int) -> None:
    graph = opened(net())
    found, table = searched(graph, scope="layer", methods=("min-max", "mse"), topk=topk, qtype="int16")
    layers = table["layers"]
    assert isinstance(layers, dict)
    wide = {
        layer.name
        for layer in quantized_layers(found)
        if (found_as := operand_precision(layer, 0)) and found_as.qtype is DType.I16
    }
    losses = {name: entry["scores"][str(entry["chosen"])] for name, entry in layers.items()}
    assert wide == set(sorted(losses, key=losses.__getitem__, reverse=True)[:count])
    assert table["raised"]["layers"] == sorted(losses, key=losses.__getitem__, reverse=True)[:count]  # type: ignore[index]
    PassManager("quantize-bias").run(found, context_of(found))


@pytest.mark.parametrize("scope", ["model", "layer"])
def test_channels_of_inputs_are_equalized_where_that_is_best(scope: str) -> None:
    graph = opened(net())
    options = {"scope": scope, "methods": ("min-max",), "weights": ("arq",)}
    plain, _ = searched(graph, **options)
    found, table = searched(graph, **options, per_channel=(False, True))
    chosen = [entry for entry in table["candidates"] if entry.get("per_channel")]  # type: ignore[attr-defined]
    assert chosen, "the net shall gain by it"
    floats = [Session(without_quants(g, rounded=False), threads=1) for g in (graph, found)]
    for feeds in feeds_of(graph):
        (before,), (after,) = (session.run(feeds).values() for session in floats)
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-4 * np.abs(before).max())
    assert loss(graph, found) < loss(graph, plain)


def test_symmetric_inputs_are_a_candidate() -> None:
    graph = opened(net())
    found, table = searched(graph, methods=("min-max",), weights=("arq",), asymmetric=(False,))
    assert all(
        spec_of(quant.quant).symmetric
        for layer in quantized_layers(found)
        if (quant := operand_precision(layer, 0))
    )
    _, table = searched(graph, methods=("min-max",), weights=("arq",), asymmetric=(False, True))
    scores = [entry["score"] for entry in table["candidates"]]  # type: ignore[attr-defined]
    assert len(set(scores)) == 2


def test_layers_that_no_method_has_a_scale_for_go_back_to_float() -> None:
    graph = opened(parse(SHARED.replace("0.0,0.0,1.0,-1.0,1.0,1.0,1.0,-1.0", ",".join(["1e-30"] * 8))))
    context = context_of(graph)
    SearchMethod(methods=("min-max",)).run(graph, context)
    assert [layer.name for layer in quantized_layers(graph)] == ["one"]
    assert "too small" in context.rewrites.refusals()[0].reason


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ()}, "methods: a search needs one candidate"),
        ({"weights": ("argh",)}, "weights: there is no method 'argh'; did you mean 'arq'"),
        ({"methods": ("kl",), "num_bin": (8,)}, "num-bin"),
        ({"samples": 0}, "samples must be at least 1, not 0"),
        ({"similarity": 1.5}, "similarity must be in"),
        ({"scope": "layer", "similarity": 0.5}, "similarity belongs to scope=model"),
        ({"metric": "msee"}, "there is no metric 'msee'"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchMethod(**options)  # type: ignore[arg-type]


def test_what_it_needs() -> None:
    graph = opened(net())
    with pytest.raises(PassError, match="needs the rules"):
        SearchMethod().run(graph, Context(data=context_of(graph).data))
    with pytest.raises(PassError, match="compares outputs on data"):
        SearchMethod().run(graph, Context(rules=ASCEND.rules))


def test_max_is_a_range_by_percentile() -> None:
    names = [
        item.fields()["method"]
        for item in SearchMethod(methods=("max",), max_percentile=(1.0, 0.9), weights=("arq",)).candidates()
    ]
    assert names == ["min-max", "percentile"]


@pytest.mark.parametrize(
    ("qtype", "inputs", "weights"),
    [
        ("int16-ec", "int16", "ec"),
        ("dual-int16", "int16", "int16"),
        ("float16", "float16", "float16"),
    ],
)
def test_sensitive_layers_become_what_the_target_has(qtype: str, inputs: str, weights: str) -> None:
    graph = net("Gemm")
    rules = target_named("qdq").rules
    context = replace(context_of(graph), rules=rules)
    PassManager(INSERT).run(graph, context)
    SearchMethod(scope="layer", methods=("min-max",), weights=("arq",), topk=1, qtype=qtype).run(
        graph, context
    )  # type: ignore[arg-type]
    verify(graph)
    (raised,) = method_scores(graph)["raised"]["layers"]  # type: ignore[index]
    layer = graph.node(raised)
    names = [None if (p := operand_precision(layer, i)) is None else p.name for i in range(2)]
    assert names == [inputs, weights]
    others = {
        operand_precision(other, 0).name  # type: ignore[union-attr]
        for other in quantized_layers(graph)
        if other is not layer
    }
    assert others == {"int8"}
    PassManager("quantize-bias").run(graph, context)
    Session(without_quants(graph, rounded=True), threads=1).run(feeds_of(graph)[0])


def test_candidates_close_error_compensation_too() -> None:
    graph = net("Gemm")
    context = replace(context_of(graph), rules=target_named("qdq").rules)
    PassManager("normalize-gemm,infer-types,insert-quant{operands=0:ec,1:ec}").run(graph, context)
    methods = ("min-max", "percentile")
    search = SearchMethod(
        methods=methods, max_percentile=(0.9,), weights=("arq",), samples=SAMPLES, metric="mse"
    )
    found = graph.clone()
    search.run(found, context)
    scores = [entry["score"] for entry in method_scores(found)["candidates"]]  # type: ignore[index]
    losses = []
    for text in ("min-max", "percentile percentile=0.9"):
        copy = graph.clone()
        PassManager(f"quantize-weights,calibrate{{method={text}}}").run(copy, context)
        losses.append(loss(graph, copy))
    assert scores == pytest.approx(losses, rel=1e-3)
