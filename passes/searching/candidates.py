"""Ways to close the quants of a graph, among which a search chooses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from qir.ir.errors import ConfigError, did_you_mean
from qir.runtime.calibration import (
    METHODS,
    CalibrationMethod,
    Hfmg,
    Ifmr,
    Kl,
    MinMax,
    Percentile,
    method_named,
)
from qir.runtime.weights import Arq, Mse, WeightMethod
from qir.runtime.weights import Kl as WeightKl

MAX = "max"
"""OpenExplorer's name for a range by percentile, which is the whole range at 1."""
WEIGHTS: dict[str, WeightMethod] = {"arq": Arq(), "mse": Mse(), "kl": WeightKl()}
Scalar = str | int | float | bool


@dataclass(frozen=True)
class Candidate:
    """One way: a method for activations with its options, one for weights, and what inputs are like.

    `asymmetric` gives inputs a zero point where the target has one (None: as the quants are);
    `per_channel` equalizes the channels of inputs first.
    """

    method: CalibrationMethod
    weights: str
    asymmetric: bool | None = None
    per_channel: bool = False

    def fields(self) -> dict[str, Scalar]:
        """What makes it up, for tables."""
        own = {f.name: getattr(self.method, f.name) for f in fields(self.method)}  # type: ignore[arg-type]
        found: dict[str, Scalar] = {"method": METHODS.name_of(self.method), **own, "weights": self.weights}
        if self.asymmetric is not None:
            found["asymmetric"] = self.asymmetric
        return found | ({"per_channel": True} if self.per_channel else {})

    def __str__(self) -> str:
        """`kl num_bin=1024 max_num_bin=16384 weights=arq`."""
        name, *rest = self.fields().items()
        return " ".join((str(name[1]), *(f"{key}={value}" for key, value in rest)))


def check_names(methods: Sequence[str], weights: Sequence[str]) -> None:
    """ConfigError for a method that there is not, and where one kind has none."""
    for key, names, known in (("methods", methods, (*METHODS, MAX)), ("weights", weights, tuple(WEIGHTS))):
        if not names:
            raise ConfigError(f"{key}: a search needs one candidate at least, of {', '.join(known)}")
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known)
                raise ConfigError(f"{key}: there is no method '{name}'{hint}; known: {', '.join(known)}")


def methods_with(
    names: Sequence[str],
    num_bin: Sequence[int] = (),
    max_num_bin: Sequence[int] = (),
    max_percentile: Sequence[float] = (),
) -> tuple[CalibrationMethod, ...]:
    """The methods of these names with every combination of those options that they have.

    An empty axis leaves the method its default. `num_bin` belongs to kl and hfmg, `max_num_bin` to kl,
    `max_percentile` to max, percentile and ifmr. ConfigError for values that a method refuses.
    """
    found = (m for name in names for m in _with_options(name, num_bin, max_num_bin, max_percentile))
    return tuple(dict.fromkeys(found))


def _with_options(
    name: str, num_bin: Sequence[int], max_num_bin: Sequence[int], max_percentile: Sequence[float]
) -> Iterator[CalibrationMethod]:
    if name == MAX:
        for part in max_percentile or (1.0,):
            yield MinMax() if part == 1 else Percentile(part)
    elif name == "percentile" and max_percentile:
        yield from (Percentile(part) for part in max_percentile)
    elif name == "ifmr" and max_percentile:
        yield from (Ifmr(max_percentile=part, min_percentile=part) for part in max_percentile)
    elif name == "hfmg" and num_bin:
        yield from (Hfmg(bins=bins) for bins in num_bin)
    elif name == "kl":
        default = Kl()
        axes = num_bin or (default.num_bin,), max_num_bin or (default.max_num_bin,)
        yield from (Kl(bins, most) for bins, most in itertools.product(*axes))
    else:
        yield method_named(name)


def candidates(
    methods: Sequence[CalibrationMethod],
    weights: Sequence[str],
    asymmetric: Sequence[bool] = (),
    per_channel: Sequence[bool] = (),
) -> tuple[Candidate, ...]:
    """Every combination; those that share a graph and its weights stand together."""
    product = itertools.product(per_channel or (False,), weights, methods, asymmetric or (None,))
    return tuple(Candidate(method, weight, zero, each) for each, weight, method, zero in product)
