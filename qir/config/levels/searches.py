"""What a `quant_config` says of methods: one of them, or a search among several."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from qir.config.levels.file import ActivationLevel, Levels
from qir.ir.errors import ConfigError
from qir.passes.correct_bias import CorrectBias
from qir.passes.equalize_inputs import EqualizeInputs
from qir.passes.search_method import SearchMethod
from qir.passes.searching.raising import Qtype

NUM_BIN = 1024
"""Bins of `kl` where the file does not say."""


def search_of(levels: Levels, keep: tuple[str, ...] = ()) -> SearchMethod | None:
    """The search that a file asks for: layer-wise over model-wise, which a list of candidates means, too.

    The layers in `keep` have types of their own, for a finer level gives them, and are not raised.
    Methods are those of `calibration_type`, or all. ConfigError, with the place in the JSON, for options that
    a method refuses.
    """
    model, level = levels.model, levels.model.activation
    modelwise, layerwise = model.modelwise_search, model.layerwise_search
    if modelwise is None and layerwise is None and not _has_choice(level):
        return None
    try:
        common = _candidates(level)
        if layerwise is not None:
            found = replace(common, scope="layer", topk=layerwise.topk, qtype=cast(Qtype, layerwise.qtype))
            return replace(found, metric=layerwise.metric, keep=keep)
        similarity = 1.0 if modelwise is None else modelwise.similarity
        metric = "cosine-similarity" if modelwise is None else modelwise.metric
        return replace(common, metric=metric, similarity=similarity)
    except ConfigError as error:
        raise ConfigError(f"model_config.activation: {error}") from error


def leaves_method_open(levels: Levels) -> bool:
    """Whether a file names no calibration type and asks for no search: the pipeline's method holds."""
    return not levels.model.activation.calibration_type and search_of(levels) is None


def _candidates(level: ActivationLevel) -> SearchMethod:
    """All combinations of what the file lists; axes of one value go without saying."""
    names = level.calibration_type or SearchMethod().methods
    return SearchMethod(
        methods=tuple(names),
        num_bin=level.num_bin or ((NUM_BIN,) if "kl" in names and "hfmg" not in names else ()),
        max_num_bin=level.max_num_bin,
        max_percentile=level.max_percentile,
        asymmetric=level.asymmetric if len(level.asymmetric) > 1 else (),
        per_channel=level.per_channel if len(level.per_channel) > 1 else (),
    )


def equalization_of(level: ActivationLevel) -> EqualizeInputs | None:
    """What `per_channel` means where it is no candidate of a search."""
    return EqualizeInputs() if level.per_channel == (True,) else None


def bias_correction_of(levels: Levels) -> CorrectBias | None:
    """The correction of biases that a file asks for."""
    level = levels.model.bias_correction
    return None if level is None else CorrectBias(level.num_sample, level.metric)


def _has_choice(level: ActivationLevel) -> bool:
    return any(isinstance(axis, list) for axis in level.fields().values())
