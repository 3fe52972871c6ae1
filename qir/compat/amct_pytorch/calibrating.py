"""Calibration modules: the watching ops of a calibration graph, moved to the layers of the user's module."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from qir.compat.amct_pytorch.layers import Watch
from qir.compat.amct_pytorch.modules import calibration_module
from qir.compat.common.errors import CompatRuntimeError, amct_errors
from qir.compat.common.sessions import runs
from qir.ir.graph import Graph
from qir.runtime.calibration_ops import (
    BALANCER,
    BATCH_NUM,
    DOMAIN,
    DUMPS,
    OBJECT_LAYER,
    RANGE_OPS,
)

F32 = npt.NDArray[np.float32]


def watching_module(model: nn.Module, original: Graph, graph: Graph) -> nn.Module:
    """A copy of a module to be run on calibration data, as sessions run the calibration graph."""
    made = calibration_module(model, original, graph, _watches(graph), _observe)
    dumps = [node for node in graph.nodes if node.domain == DOMAIN and node.op in DUMPS.values()]
    if dumps:
        attributes = {json.loads(str(n.attributes[OBJECT_LAYER]))[0]: _plain(n.attributes) for n in dumps}
        _keep_inputs(made, graph, attributes)
    return made


def _watches(graph: Graph) -> dict[str, list[Watch]]:
    """Layer -> the ops that watch its input. An op of several layers is watched at the first: they read one
    tensor."""
    found: dict[str, list[Watch]] = {}
    for node in graph.nodes:
        if node.domain != DOMAIN or node.op not in (*RANGE_OPS, BALANCER):
            continue
        attributes = _plain(node.attributes)
        maxima = node.input(1)
        held = None if maxima is None or maxima.constant is None else maxima.constant.array
        layer = json.loads(str(attributes[OBJECT_LAYER]))[0]
        found.setdefault(layer, []).append(Watch(node.op, attributes, held))
    return found


def _plain(attributes: Mapping[str, object]) -> dict[str, str | int]:
    return {key: item for key, item in attributes.items() if isinstance(item, (str, int))}


def _observe(watch: Watch, array: F32) -> None:
    with amct_errors():
        if watch.weight_maxima is not None:
            runs().balance(watch.attributes, array, watch.weight_maxima)
        else:
            runs().range(watch.attributes, array)


def _keep_inputs(made: nn.Module, graph: Graph, attributes: Mapping[str, Mapping[str, str | int]]) -> None:
    """Keep what the module is fed, cut as the graph takes it: its batch may be fixed by the export."""
    names = [value.name for value in graph.inputs if value.constant is None]
    shapes = {value.name: value.tensor.shape for value in graph.inputs}

    def hook(module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object]) -> None:  # noqa: ARG001
        tensors = [*_tensors((args, kwargs))]
        if len(tensors) != len(names):
            raise CompatRuntimeError(
                f"the model is called with {len(tensors)} tensors, expected {len(names)} as in input_data: "
                f"{', '.join(names)}"
            )
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in zip(names, tensors, strict=True)}
        for piece, count in _pieces(arrays, shapes):
            for name, array in piece.items():
                given = attributes[name]
                runs().dump({**given, BATCH_NUM: int(given[BATCH_NUM]) * count}, array)

    made.register_forward_pre_hook(hook, with_kwargs=True)


def _pieces(
    arrays: Mapping[str, npt.NDArray[np.generic]], shapes: Mapping[str, tuple[object, ...] | None]
) -> Iterator[tuple[dict[str, npt.NDArray[np.generic]], int]]:
    """A batch in pieces of the size that the graph has, and how many they are."""
    sizes = {name: (shape[0] if shape else None) for name, shape in shapes.items() if name in arrays}
    fixed = {name: size for name, size in sizes.items() if isinstance(size, int) and arrays[name].ndim}
    counts = {arrays[name].shape[0] / size for name, size in fixed.items() if size}
    if len(counts) != 1 or counts == {1.0}:
        yield dict(arrays), 1
        return
    count = int(counts.pop())
    if not count:
        raise CompatRuntimeError(
            f"the model was exported for batches of {fixed}, and is fed smaller ones; give input_data of the "
            "size of the calibration batches, or dynamic_axes"
        )
    for i in range(count):
        yield (
            {n: a[i * fixed[n] : (i + 1) * fixed[n]] if n in fixed else a for n, a in arrays.items()},
            count,
        )


def _tensors(item: object) -> Iterator[torch.Tensor]:
    """All tensors in arguments, in the order in which exporters flatten them."""
    if isinstance(item, torch.Tensor):
        yield item
    elif isinstance(item, Mapping):
        for part in item.values():
            yield from _tensors(part)
    elif isinstance(item, (tuple, list)):
        for part in item:
            yield from _tensors(part)
