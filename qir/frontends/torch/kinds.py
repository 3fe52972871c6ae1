"""The kinds of modules after which nodes are named: layers that a target may quantize, and their like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812  (its usual name)


@dataclass(frozen=True)
class Kind:
    """What modules of a class, or of a class derived from it, become: one node of one of `ops`.

    `functions` are the functions of torch that compute it, whatever the module does before and after.
    """

    base: type[nn.Module]
    ops: tuple[str, ...]
    functions: tuple[Callable[..., object], ...] = ()

    @property
    def name(self) -> str:
        """The name of the class in torch."""
        return self.base.__name__


_LAYERS = (
    Kind(nn.Conv1d, ("Conv",), (torch.conv1d,)),
    Kind(nn.Conv2d, ("Conv",), (torch.conv2d,)),
    Kind(nn.Conv3d, ("Conv",), (torch.conv3d,)),
    Kind(nn.ConvTranspose1d, ("ConvTranspose",), (torch.conv_transpose1d,)),
    Kind(nn.ConvTranspose2d, ("ConvTranspose",), (torch.conv_transpose2d,)),
    Kind(nn.Linear, ("Gemm", "MatMul"), (F.linear,)),
    Kind(nn.AvgPool2d, ("AveragePool",), (F.avg_pool2d,)),
)
LAYER_KINDS: Mapping[str, Kind] = MappingProxyType({kind.name: kind for kind in _LAYERS})
"""Modules that quantization replaces, by the name of their class."""
_OTHERS = (
    Kind(nn.LSTM, ("LSTM",)),
    Kind(nn.GRU, ("GRU",)),
    Kind(nn.ConvTranspose3d, ("ConvTranspose",)),
    Kind(nn.AvgPool1d, ("AveragePool",)),
    Kind(nn.modules.batchnorm._BatchNorm, ("BatchNormalization",)),
)
RENAMED_OPS = frozenset(op for kind in (*_LAYERS, *_OTHERS[:-1]) for op in kind.ops)
"""Ops whose nodes take the path of their module as their name."""


def kind_of(module: nn.Module) -> Kind | None:
    """The kind of a module, by its class or a base of it; None for every other module."""
    return next((kind for kind in (*_LAYERS, *_OTHERS) if isinstance(module, kind.base)), None)


def has_own_forward(module: nn.Module) -> bool:
    """True when a module computes otherwise than torch's class does."""
    return not type(module).forward.__module__.startswith("torch.nn.")


def parameter_owners(module: nn.Module) -> Mapping[int, list[str]]:
    """Identity of a parameter -> the paths of the modules that hold it: several where weights are shared."""
    owners: dict[int, list[str]] = {}
    for path, child in module.named_modules():
        for parameter in child.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(path)
    return owners
