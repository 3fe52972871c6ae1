"""Finds the real models and data that benchmarks run on; they are no part of this repository.

The folder is `$QIR_ASSETS`, by default `../shared/assets` beside the repository. Each case in it is a folder
with an `evaluate.py` that offers `load(split)` -> (calibration feeds, evaluation pairs) and
`evaluate(model, split=...)` -> metric, where model may be a function from feed to list of outputs.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Feed: TypeAlias = Mapping[str, npt.NDArray[np.generic]]
Runner: TypeAlias = Callable[[Feed], list[npt.NDArray[np.generic]]]

VARIABLE = "QIR_ASSETS"


def folder() -> Path:
    """The folder of assets; leaves the program with a message when there is none."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "assets"
    chosen = Path(os.environ.get(VARIABLE, beside))
    if not chosen.is_dir():
        sys.exit(
            f"this benchmark needs the folder of models and data, which is not part of the repository: "
            f"'{chosen}' does not exist. Set {VARIABLE} to where it is."
        )
    return chosen


def case_path(case: str, file: str) -> Path:
    """A file of a case; leaves the program with a message when it is missing."""
    path = folder() / case / file
    if not path.is_file():
        sys.exit(f"the assets have no '{case}/{file}'; is {VARIABLE} the right folder?")
    return path


def evaluation(case: str) -> ModuleType:
    """The module `evaluate.py` of a case."""
    path = case_path(case, "evaluate.py")
    name = f"qir_assets_{case}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def session_runner(model: str | Path, threads: int = 2, *, optimize: bool = True) -> Runner:
    """Runs an ONNX file in ONNX Runtime.

    Quantized models are scored with `optimize=False`: with basic optimizations only, which run every
    QuantizeLinear and DequantizeLinear as written. Otherwise ONNX Runtime fuses them into int8 kernels that
    add pairs of products in 16 bits on x86 processors without VNNI, and what is measured is that saturation
    (its session option against it makes some models of its own quantizer fail to load).
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_ENABLE_BASIC
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]

    def run(feed: Feed) -> list[npt.NDArray[np.generic]]:
        found: list[npt.NDArray[np.generic]] = session.run(None, {n: feed[n] for n in names if n in feed})
        return found

    return run
