"""The calibration method that all mixtures share: the one that suits the model best in INT16.

A quant_config may leave the choice open, by `modelwise_search` or lists of candidates. As users of
OpenExplorer do, it is made once, by the outputs of the model with every layer in INT16.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from qir.config.levels.convert import levels_config
from qir.config.levels.file import ActivationLevel, CalibrationType, Levels
from qir.config.levels.searches import search_of
from qir.config.lowering import quantizing_passes
from qir.passes.manager import PassManager
from qir.passes.searching.scores import method_scores
from qir.search.inputs import SearchInputs

_WEIGHTS = ("arq",)
"""Weights have one method in the search: a quant_config has no words for others."""


def with_one_method(start: Levels, inputs: SearchInputs) -> tuple[Levels, str]:
    """`start` with the method that was chosen in the place of a search, and the choice as a text.

    Unchanged, with an empty text, where there is nothing to choose.
    """
    search = search_of(start)
    if search is None:
        return start, ""
    wide = replace(start, model=replace(start.model, all_node_type="int16"))
    search = replace(search, weights=_WEIGHTS)
    config = replace(levels_config(wide, inputs.model), search=search)
    graph = inputs.exact.clone()
    PassManager(quantizing_passes(config, inputs.model, inputs.passes)).run(graph, inputs.context)
    table = method_scores(graph)
    assert table is not None  # the search notes what it has found
    chosen = cast(list[Mapping[str, Any]], table["candidates"])[cast(int, table["chosen"])]
    level = _level(chosen, start.model.activation)
    settled = replace(start.model, activation=level, modelwise_search=None)
    said = ", ".join(f"{key} {value}" for key, value in level.fields().items())
    return replace(start, model=settled), f"{said} (of {len(search.candidates())} candidates)"


def _level(chosen: Mapping[str, Any], asked: ActivationLevel) -> ActivationLevel:
    """The keys that mean the method of a candidate."""
    method = cast(CalibrationType, chosen["method"])
    bins = chosen.get("num_bin") if method == "kl" else chosen.get("bins")
    part = chosen.get("percentile") if method == "percentile" else None
    if method == "ifmr" and asked.max_percentile:
        part = chosen["max_percentile"]
    return ActivationLevel(
        calibration_type=(method,),
        num_bin=() if bins is None else (int(bins),),
        max_num_bin=(int(chosen["max_num_bin"]),) if method == "kl" else (),
        max_percentile=() if part is None else (float(part),),
        per_channel=(bool(chosen["per_channel"]),) if "per_channel" in chosen else asked.per_channel[:1],
        asymmetric=(bool(chosen["asymmetric"]),) if "asymmetric" in chosen else asked.asymmetric[:1],
    )
