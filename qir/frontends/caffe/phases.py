"""Which layers run: the rules `include` and `exclude` of layers against the state of the net."""

from __future__ import annotations

from qir.frontends.caffe.params import Params


def is_included(layer: Params, state: Params) -> bool:
    """True when a layer runs in the test phase, at the level and with the stages that the net states.

    A layer with `include` runs when one of them is met, a layer with `exclude` unless one of them is.
    """
    includes = tuple(layer.parts("include"))
    if includes:
        return any(_is_met(rule, state) for rule in includes)
    return not any(_is_met(rule, state) for rule in layer.parts("exclude"))


def _is_met(rule: Params, state: Params) -> bool:
    level, stages = state.integer("level"), frozenset(state.texts("stage"))
    if rule.has("phase") and rule.word("phase") != "TEST":
        return False
    if rule.has("min_level") and level < rule.integer("min_level"):
        return False
    if rule.has("max_level") and level > rule.integer("max_level"):
        return False
    return stages.issuperset(rule.texts("stage")) and stages.isdisjoint(rule.texts("not_stage"))
