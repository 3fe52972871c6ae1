"""One arena for the tensors of many sessions: those that run in turns need the memory of one."""

from __future__ import annotations

import functools

import numpy as np
import onnxruntime as ort

from qir.frontends.onnx import to_detached_model
from qir.ir.dtypes import DType
from qir.ir.graph import Graph
from qir.ir.types import tensor

_SHARED = ("session.use_env_allocators", "1")
_SHRINK = ("memory.enable_memory_arena_shrinkage", "cpu:0")
_AS_REQUESTED = 1
"""ONNX Runtime's strategy of growing an arena by what is asked for, not by doubling."""
_DEFAULT = -1


def share_arena(options: ort.SessionOptions) -> None:
    """Let a session take its tensors from the arena of the process, which lays out nothing in advance."""
    _make_arena()
    options.enable_mem_pattern = False
    options.add_session_config_entry(*_SHARED)


def shrink_shared_arena() -> None:
    """Give what no tensor uses of the arena back to the system, when the sessions that shared it are done."""
    graph = Graph("shrink", {"": 17})
    x = graph.add_input("x", tensor(DType.F32, ["N"]))
    graph.add_output(graph.add("Identity", [x], outputs=["y"]).output)
    model, _ = to_detached_model(graph)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    share_arena(options)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    run_options = ort.RunOptions()
    run_options.add_run_config_entry(*_SHRINK)  # only a run can ask for it
    session.run(None, {"x": np.empty(0, np.float32)}, run_options)


@functools.cache
def _make_arena() -> None:
    """Register the arena, once: ONNX Runtime keeps it until the process ends."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    arena = ort.OrtArenaCfg(0, _AS_REQUESTED, _DEFAULT, _DEFAULT)
    ort.create_and_register_allocator(memory, arena)
