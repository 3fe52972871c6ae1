"""Marks in a traced graph that tell which module computed what.

While a module is exported, what it returns goes through an op `qir.torch::Module{path}`, because names of
parameters do not tell modules apart (equal weights are merged) and those of scopes are not unique. Modules
with a `forward` of their own have their inputs marked too, so that nothing in front is taken for theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from qir.frontends.torch.kinds import has_own_forward, kind_of

DOMAIN = "qir.torch"
OUTPUT, INPUT = "Module", "ModuleInput"
"""Ops of that domain; attribute PATH."""
PATH = "path"


class _Mark(torch.autograd.Function):
    """The identity, exported as a node of one of the ops above."""

    @staticmethod
    def forward(ctx: object, tensor: torch.Tensor, op: str, path: str) -> torch.Tensor:  # noqa: ARG004
        return tensor.view_as(tensor)

    @staticmethod
    def symbolic(g: torch.Graph, tensor: torch.Value, op: str, path: str) -> torch.Value:
        marked = g.op(f"{DOMAIN}::{op}", tensor, **{f"{PATH}_s": path})
        return marked.setType(tensor.type())  # rank and shape decide how what follows is exported


@contextmanager
def marked(module: nn.Module) -> Iterator[None]:
    """Mark what the layers of a module return, for as long as it lasts."""
    handles = []
    try:
        for path, child in module.named_modules():
            if not path or kind_of(child) is None or isinstance(child, torch.jit.ScriptModule):
                continue
            handles.append(child.register_forward_hook(_output_hook(path)))
            if has_own_forward(child):
                handles.append(child.register_forward_pre_hook(_input_hook(path)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _output_hook(path: str) -> object:
    def hook(module: nn.Module, inputs: object, output: object) -> object:  # noqa: ARG001
        if isinstance(output, torch.Tensor):
            return _Mark.apply(output, OUTPUT, path)
        if isinstance(output, tuple) and output and isinstance(output[0], torch.Tensor):
            return (_Mark.apply(output[0], OUTPUT, path), *output[1:])  # LSTM and GRU
        return output

    return hook


def _input_hook(path: str) -> object:
    def hook(module: nn.Module, inputs: tuple[object, ...]) -> object:  # noqa: ARG001
        return tuple(
            _Mark.apply(item, INPUT, path) if isinstance(item, torch.Tensor) else item for item in inputs
        )

    return hook
