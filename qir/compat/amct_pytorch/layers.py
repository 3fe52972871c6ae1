"""Modules that stand in for layers and compute with constants of a graph: calibrating, or fake-quantizing.

Whatever the forward of the replaced module does, of torch's class or the user's own, stays as it is: only the
call of torch's function in it (conv2d, linear, …) gets another weight, bias, input and output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from qir.compat.common.errors import CompatRuntimeError
from qir.frontends.torch import Kind

Array = npt.NDArray[Any]
_INPUT, _WEIGHT, _BIAS = (0, "input"), (1, "weight"), (2, "bias")


@dataclass(frozen=True)
class Constants:
    """A layer's weight in torch's layout, its bias, and reciprocal factors of its input channels.

    None leaves the layer's own (the input as it is).
    """

    weight: Array | None = None
    bias: Array | None = None
    balance: Array | None = None


@dataclass(frozen=True)
class Watch:
    """A calibration op of the graph whose input is that of the layer."""

    op: str
    attributes: Mapping[str, str | int]
    weight_maxima: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Rounding:
    """The fake quantization of a layer, in the arithmetic of the fake-quant graph.

    q = clip(round(x * reciprocal) + offset, low, high) - offset; y = layer(q) * dequant. `bias_after` is what
    the layer's own bias is added to: the product in float, where its graph keeps the bias apart.
    """

    reciprocal: float
    offset: float
    low: float
    high: float
    dequant: Array
    bias_after: bool


class Layer(nn.Module):
    """A layer with other constants; subclasses change what goes in and comes out."""

    def __init__(self, inner: nn.Module, kind: Kind, path: str, constants: Constants) -> None:
        super().__init__()
        self.inner, self._functions, self._path = inner, kind.functions, path
        like = next(inner.parameters(), None)
        for name in ("weight", "bias", "balance"):
            array = getattr(constants, name)
            held = None if array is None else torch.tensor(np.asarray(array))
            if held is not None and like is not None:
                held = held.to(device=like.device)
            self.register_buffer(f"constant_{name}", held, persistent=False)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (a parameter, a number, …)
        """What it has not itself is that of the module in it: users read `weight` and `in_features`."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("inner"), name)

    def forward(self, *args: object, **kwargs: object) -> object:
        """The forward of the module in it, in which torch's function is replaced."""
        with _Replaced(self._functions, self.compute) as replaced:
            result = self.inner(*args, **kwargs)
        if replaced.count != 1:
            raise CompatRuntimeError(
                f"module '{self._path}' ({type(self.inner).__name__}) calls the function of its layer "
                f"{replaced.count} times, expected once; add '{self._path}' to skip_layers"
            )
        return result

    def compute(self, function: Callable[..., torch.Tensor], call: _Call) -> torch.Tensor:
        """The layer's function with this layer's constants."""
        source = call.get(_INPUT)
        if self.constant_balance is not None:
            source = source * self.constant_balance.to(source.dtype)
        result: torch.Tensor = self.result(function, call.put(_INPUT, self.taken(source))).to(source.dtype)
        return result

    def taken(self, source: torch.Tensor) -> torch.Tensor:
        """What goes into the function."""
        return source

    def result(self, function: Callable[..., torch.Tensor], call: _Call) -> torch.Tensor:
        """What comes out of it."""
        kind = call.get(_INPUT).dtype
        for place, held in ((_WEIGHT, self.constant_weight), (_BIAS, self.constant_bias)):
            if held is not None:
                call = call.put(place, held.to(kind))
        return function(*call.args, **call.kwargs)


class CalibratedLayer(Layer):
    """A layer that shows its input to calibration ops."""

    def __init__(
        self,
        inner: nn.Module,
        kind: Kind,
        path: str,
        constants: Constants,
        watches: Sequence[Watch],
        observe: Callable[[Watch, Array], None],
    ) -> None:
        super().__init__(inner, kind, path, constants)
        self._watches, self._observe = tuple(watches), observe

    def taken(self, source: torch.Tensor) -> torch.Tensor:
        """The input, seen."""
        for watch in self._watches:
            self._observe(watch, source.detach().to("cpu", torch.float32).numpy())
        return source


class FakeQuantLayer(Layer):
    """A layer with rounded input, integers for weights, and a result that is scaled back."""

    def __init__(
        self, inner: nn.Module, kind: Kind, path: str, constants: Constants, rounding: Rounding
    ) -> None:
        super().__init__(inner, kind, path, constants)
        self._rounding = rounding
        device = next((p.device for p in inner.parameters()), None)
        self.register_buffer("dequant", torch.tensor(rounding.dequant, device=device), persistent=False)

    def taken(self, source: torch.Tensor) -> torch.Tensor:
        """Integers, as floats, without their offset."""
        how = self._rounding
        rounded = torch.round(source.float() * how.reciprocal) + how.offset
        return torch.clamp(rounded, how.low, how.high) - how.offset

    def result(self, function: Callable[..., torch.Tensor], call: _Call) -> torch.Tensor:
        """The sums of integers, scaled."""
        own = call.get(_BIAS) if self._rounding.bias_after else None
        if own is not None:
            call = call.put(_BIAS, None)
        scaled = super().result(function, call) * self.dequant.to(call.get(_INPUT).device)
        return scaled if own is None else scaled + own


@dataclass(frozen=True)
class _Call:
    """The arguments of a function, of which some may be given by position or by name."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def get(self, place: tuple[int, str]) -> Any:  # noqa: ANN401  (a tensor or None)
        index, name = place
        return self.args[index] if index < len(self.args) else self.kwargs.get(name)

    def put(self, place: tuple[int, str], item: torch.Tensor | None) -> _Call:
        index, name = place
        if index < len(self.args):
            return _Call((*self.args[:index], item, *self.args[index + 1 :]), self.kwargs)
        return _Call(self.args, {**self.kwargs, name: item})


class _Replaced(TorchFunctionMode):
    """Sends calls of some functions of torch elsewhere, while it lasts."""

    def __init__(
        self,
        functions: Sequence[Callable[..., object]],
        instead: Callable[[Callable[..., torch.Tensor], _Call], torch.Tensor],
    ) -> None:
        super().__init__()
        self._functions, self._instead, self.count = functions, instead, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401  (what torch's functions return)
        if func not in self._functions:
            return func(*args, **(kwargs or {}))
        self.count += 1
        return self._instead(func, _Call(args, kwargs or {}))
