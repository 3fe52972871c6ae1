"""Calibration methods by name: what a method is, and the registry that pipelines and users share.

A method is a frozen dataclass; its fields are its options in pipelines, in kebab-case:

    from dataclasses import dataclass

    import qir
    from qir.ir.types import QuantParams, QuantSpec
    from qir.runtime.scales import params_of_range
    from qir.runtime.statistics import TensorStatistics

    @qir.calibrator("half")
    @dataclass(frozen=True)
    class Half:
        part: float = 0.5

        def close(self, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
            return params_of_range(statistics.minimum * self.part, statistics.maximum * self.part, spec)

and from then on `calibrate{method=half part=0.4}` is pipeline text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from qir.ir.errors import ConfigError, did_you_mean
from qir.ir.types import QuantParams, QuantSpec
from qir.runtime.statistics import TensorStatistics


class CalibrationMethod(Protocol):
    """What `calibrate` needs of a method: options are the fields of a frozen dataclass."""

    def close(self, statistics: TensorStatistics, spec: QuantSpec) -> QuantParams:
        """Scale and zero point for a tensor with these statistics; CalibrationError when there are none.

        A pure function of its arguments and of the method's options.
        """


M = TypeVar("M", bound=CalibrationMethod)


class Registry(Mapping[str, type[CalibrationMethod]]):
    """Classes of methods by name, in the order of registration. A name is given once and never again.

    `METHODS` is the one that pipelines read; it only grows, and only by `register`.
    """

    def __init__(self) -> None:
        self._classes: dict[str, type[CalibrationMethod]] = {}

    def register(self, name: str) -> Callable[[type[M]], type[M]]:
        """Class decorator: make a frozen dataclass with a method `close` known as `name`.

        ConfigError when the name is taken, or the class is none.
        """

        def decorate(kind: type[M]) -> type[M]:
            if name in self._classes:
                taken = self._classes[name]
                raise ConfigError(
                    f"calibration method '{name}' is registered already, by {taken.__module__}."
                    f"{taken.__qualname__}; choose another name"
                )
            parameters = getattr(kind, "__dataclass_params__", None)
            if parameters is None or not parameters.frozen or not callable(getattr(kind, "close", None)):
                raise ConfigError(
                    f"calibration method '{name}' must be a class under @dataclass(frozen=True) with a "
                    f"method close(statistics, spec); {kind.__qualname__} is not"
                )
            self._classes[name] = kind
            return kind

        return decorate

    def name_of(self, method: CalibrationMethod) -> str:
        """The name under which the class of a method is registered; ConfigError when it is not."""
        for name, kind in self._classes.items():
            if type(method) is kind:
                return name
        raise ConfigError(
            f"{type(method).__qualname__} is no registered calibration method; "
            "put @calibrator(name) over its class"
        )

    def named(self, name: str) -> CalibrationMethod:
        """The method of that name with default options; ConfigError with the nearest names otherwise."""
        if name not in self._classes:
            raise ConfigError(
                f"unknown calibration method '{name}'{did_you_mean(name, self)} (known: {', '.join(self)})"
            )
        kind = self._classes[name]
        required = [
            f.name
            for f in dataclasses.fields(kind)  # type: ignore[arg-type]  # `register` has made sure
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        if required:
            raise ConfigError(f"calibration method '{name}' needs the option {', '.join(required)}")
        return kind()

    def __getitem__(self, name: str) -> type[CalibrationMethod]:
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)


METHODS = Registry()
"""The methods that pipelines know. The package `qir.runtime.calibration` registers those of qir."""

calibrator = METHODS.register
method_named = METHODS.named
