"""What must hold around an export: nothing is printed, and what is called is traced, in functions of ONNX."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def quiet(module: nn.Module) -> Iterator[None]:
    """Keep from the terminal what exporters print: the graph at which they failed, packages that they miss.

    Some versions of torch switch that on by themselves; a hook switches it off again while they trace.
    """
    logger = logging.getLogger("torch.onnx")
    level, prints = logger.level, torch._C._jit_is_onnx_log_enabled()
    logger.setLevel(logging.ERROR)
    switch = torch._C._jit_set_onnx_log_enabled
    scripted = isinstance(module, torch.jit.ScriptModule)  # takes no hooks
    hook = None if scripted else module.register_forward_pre_hook(lambda *_: switch(False))
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()
        switch(prints)
        logger.setLevel(level)


@contextmanager
def as_called(module: nn.Module, count: int, names: Sequence[str]) -> Iterator[None]:
    """Let a module be called with `count` arguments by position and then those of `names`, in this order.

    So those that are not given are hidden: the exporter would take defaults that are numbers for inputs.
    """
    if isinstance(module, torch.jit.ScriptModule):
        yield
        return
    forward, own = module.forward, "forward" in vars(module)

    def called(*items: object) -> object:
        return forward(*items[:count], **dict(zip(names, items[count:], strict=True)))

    module.forward = called
    try:
        yield
    finally:
        if own:
            module.forward = forward
        else:
            del module.forward


@contextmanager
def plain_attention() -> Iterator[None]:
    """Let attention be computed by functions that ONNX knows, not by the fused one of torch."""
    attention = getattr(torch.backends, "mha", None)
    if attention is None:  # torch 2.1: the fused one has no gradients
        with torch.enable_grad():
            yield
        return
    before = attention.get_fastpath_enabled()
    attention.set_fastpath_enabled(False)
    try:
        yield
    finally:
        attention.set_fastpath_enabled(before)
