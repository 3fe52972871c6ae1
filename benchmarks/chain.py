"""Is the time of every step linear in the length of the model?

A chain of 10,000 nodes and one of 20,000, with work for every exact pass: load, verify, the exact passes of
the default pipeline one by one, save as ONNX and as IR text. Seconds are processor time, which other work
on the machine disturbs least. Run from the repository's root:

    python -m benchmarks.chain [--nodes 10000] [--repeat 3]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import qir
from benchmarks.tables import markdown
from qir.backends.targets import target_named
from qir.ir.graph import Graph
from qir.ir.verify import verify
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insert_quant import InsertQuant
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline

CHANNELS = 4
BLOCK = ("Conv", "BatchNormalization", "Relu", "Identity", "Add", "Shape", "Reshape", "Mul")


def main() -> None:
    parser = argparse.ArgumentParser(description="time per step on chains of N and 2 N nodes")
    parser.add_argument("--nodes", type=int, default=10_000, help="nodes of the shorter chain")
    parser.add_argument(
        "--repeat", type=int, default=3, help="runs; the table shows the fastest of each step"
    )
    options = parser.parse_args()
    short, long = options.nodes, 2 * options.nodes
    with tempfile.TemporaryDirectory(prefix="qir-chain-") as made:
        first, second = (fastest(n, Path(made), options.repeat) for n in (short, long))
    rows = [
        [step, f"{first[step]:.3f} s", f"{second[step]:.3f} s", f"{second[step] / first[step]:.2f}x"]
        for step in first
    ]
    print(markdown(["step", f"{short:,} nodes", f"{long:,} nodes", "ratio"], rows))


def chain(nodes: int) -> onnx.ModelProto:
    """A chain of blocks: Conv, BatchNormalization, Relu, Identity, Add, a Reshape to its own shape, Mul."""
    rng = np.random.default_rng(0)
    shape = [1, CHANNELS, 4, 4]
    made, constants, last = [], [], "x"

    def constant(name: str, *dims: int, positive: bool = False) -> str:
        array = rng.standard_normal(dims).astype(np.float32)
        constants.append(numpy_helper.from_array(np.abs(array) + 1 if positive else array, name))
        return name

    for i in range(nodes):
        op, out = BLOCK[i % len(BLOCK)], f"v{i}"
        inputs = [last]
        if op == "Conv":
            inputs.append(constant(f"w{i}", CHANNELS, CHANNELS, 1, 1))
        elif op == "BatchNormalization":
            inputs += [constant(f"{role}{i}", CHANNELS) for role in ("scale", "shift", "mean")]
            inputs.append(constant(f"variance{i}", CHANNELS, positive=True))
        elif op in ("Add", "Mul"):
            inputs.append(constant(f"c{i}", CHANNELS, 1, 1))
        elif op == "Reshape":
            inputs = [f"v{i - 2}", last]
        made.append(helper.make_node(op, inputs, [out], f"{op}{i}"))
        last = out
    if nodes and BLOCK[(nodes - 1) % len(BLOCK)] == "Shape":
        made.pop()
        last = f"v{nodes - 2}"
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", last))
    graph = helper.make_graph(made, "chain", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def fastest(nodes: int, folder: Path, repeat: int) -> dict[str, float]:
    """The fewest seconds of each step over some runs."""
    model = folder / f"chain{nodes}.onnx"
    onnx.save(chain(nodes), model)
    runs = [seconds(model, folder) for _ in range(repeat)]
    return {step: min(run[step] for run in runs) for step in runs[0]}


def seconds(model: Path, folder: Path) -> dict[str, float]:
    """Seconds of each step, and of all together."""
    found: dict[str, float] = {}

    def timed(step: str, action: Callable[[], Graph | None]) -> Graph | None:
        start = time.process_time()
        result = action()
        found[step] = found.get(step, 0.0) + time.process_time() - start
        return result

    graph = timed("load", lambda: qir.load(model))
    assert graph is not None
    timed("verify", lambda: verify(graph))
    for item in exact_passes():
        timed(item.name, lambda item=item: run_pass(item, graph))  # type: ignore[misc]
    timed("verify again", lambda: verify(graph))
    timed("save .onnx", lambda: qir.save(graph, folder / "out.onnx"))
    timed("save .qir", lambda: qir.save(graph, folder / "out.qir"))
    timed("load .qir", lambda: qir.load(folder / "out.qir"))
    timed("clone", graph.clone)
    found["all"] = sum(found.values())
    return found


def exact_passes() -> list[Pass]:
    """The passes of the default pipeline before the first that quantizes."""
    target = target_named("ascend")
    passes = list(parse_pipeline("default", named=target.pipelines))
    first = next(i for i, item in enumerate(passes) if isinstance(item, InsertQuant))
    return passes[:first]


def run_pass(item: Pass, graph: Graph) -> None:
    PassManager([item]).run(graph, Context(rules=target_named("ascend").rules))


if __name__ == "__main__":
    main()
