"""The loop of proposals and answers between a strategy and whatever evaluates: no model in sight."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from qir.ir.errors import QirError, did_you_mean
from qir.search.errors import SearchError
from qir.search.strategies.base import Flags, MetricEval, Proposal, Strategy

Evaluate = Callable[[Flags], MetricEval]


def fine_search(
    strategy: Strategy, ranking: Mapping[str, float], first: MetricEval, evaluate: Evaluate, floats_end: bool
) -> Flags | None:
    """The configuration at which `strategy` stops, or None when it comes to roll back every layer.

    `first` is the answer to the model with all layers quantized; `evaluate` answers every proposal, the last
    one again where it is not the one just evaluated, as AMCT does. With `floats_end` the model with every
    layer rolled back has no quantized one left: it is no result, and is not evaluated. SearchError when
    the strategy breaks its contract.
    """
    with _explaining(strategy, "initialize"):
        strategy.initialize(dict(ranking))
    answer, last = first, dict.fromkeys(ranking, True)
    seen, idle = {frozenset(last.items())}, 0
    while True:
        with _explaining(strategy, "update_quant_config"):
            step = strategy.update_quant_config(answer)
        flags, stop = _checked(step, strategy, ranking)
        if stop and (flags is None or flags == last):
            return flags
        assert flags is not None  # _checked lets nothing else go on
        if floats_end and not any(flags.values()):
            return None
        idle = idle + 1 if frozenset(flags.items()) in seen else 0
        if idle > len(ranking):
            raise SearchError(f"strategy {_title(strategy)} proposes nothing new any more and does not stop")
        seen.add(frozenset(flags.items()))
        answer, last = evaluate(flags), flags
        if stop:
            return flags


@contextmanager
def _explaining(strategy: Strategy, method: str) -> Iterator[None]:
    """Let what a user's strategy raises leave as a SearchError that names it."""
    try:
        yield
    except QirError:
        raise
    except Exception as error:
        said = f": {error}" if str(error) else ""
        raise SearchError(
            f"{method} of strategy {_title(strategy)} raised {type(error).__name__}{said}"
        ) from error


def _checked(step: Proposal, strategy: Strategy, ranking: Mapping[str, float]) -> tuple[Flags | None, bool]:
    """The flags of a proposal (None: the strategy found nothing) and whether it stops."""
    try:
        flags, stop = dict(step["roll_back_config"]), bool(step["stop_flag"])
    except (TypeError, KeyError, ValueError) as error:
        raise SearchError(
            f"update_quant_config of strategy {_title(strategy)} must return "
            f"{{'stop_flag': bool, 'roll_back_config': {{layer: bool}}}}, not {step!r:.200}"
        ) from error
    if stop and not flags:
        return None, True
    for name in flags:
        if name not in ranking:
            near = did_you_mean(str(name), ranking)
            raise SearchError(
                f"strategy {_title(strategy)} proposes a layer '{name}' that is not there{near}"
            )
    missing = next((name for name in ranking if name not in flags), None)
    if missing is not None:
        raise SearchError(f"strategy {_title(strategy)} says nothing of layer '{missing}'; name every layer")
    return {name: bool(quantized) for name, quantized in flags.items()}, stop


def _title(strategy: Strategy) -> str:
    return type(strategy).__name__
