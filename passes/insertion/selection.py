"""Which layers an insert-quant treats: the checks of its names, and the reason why it leaves one out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qir.ir.errors import ConfigError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node
from qir.ir.walk import walk_nodes
from qir.passes.rules import OpRule, TargetRules


@dataclass(frozen=True)
class Selection:
    """Layers by op type, name or regular expression (of each kind that is given, all must hold)."""

    ops: Sequence[str]
    layers: Sequence[str]
    regex: Sequence[str]

    def missed(self, node: Node) -> str | None:
        """Why `node` is not selected, or None when it is."""
        if self.ops and node.op not in self.ops:
            return f"only {', '.join(self.ops)} were asked for"
        if self.layers and node.name not in self.layers:
            # Every layer that is left out carries this sentence, so it must not grow with their number.
            others = f" and {len(self.layers) - 3} more" if len(self.layers) > 4 else ""
            named = self.layers[:3] if others else self.layers
            return f"only layers {', '.join(named)}{others} were asked for"
        if self.regex and not any(re.search(pattern, node.name) for pattern in self.regex):
            return f"only layers that match {' or '.join(repr(p) for p in self.regex)} were asked for"
        return None


@dataclass(frozen=True)
class SkipList:
    """What the user leaves in float, by name, op type or regular expression."""

    layers: Sequence[str]
    ops: Sequence[str]
    regex: Sequence[str]

    def skipped(self, node: Node) -> str | None:
        """Why `node` is skipped, or None when it is not."""
        if node.name in self.layers or node.op in self.ops:
            return "skipped by the user"
        pattern = next((p for p in self.regex if re.search(p, node.name)), None)
        return None if pattern is None else f"skipped by the user's expression '{pattern}'"


def skip_list(entries: Iterable[str]) -> SkipList:
    """What users list as layers to skip: names, `type:OP`, `regex:EXPRESSION`."""
    by_kind: dict[str, list[str]] = {"": [], "type": [], "regex": []}
    for entry in entries:
        kind, colon, rest = entry.partition(":")
        known = bool(colon) and kind in by_kind
        by_kind[kind if known else ""].append(rest if known else entry)
    return SkipList(*(tuple(found) for found in by_kind.values()))


def skipped_names(entries: Iterable[str], layers: Mapping[str, str]) -> tuple[str, ...]:
    """The names that such a list stands for among `layers`, name -> op; names themselves are not checked.

    ConfigError for a type or an expression that no layer has.
    """
    skip = skip_list(entries)
    check_patterns("skip", skip.regex)
    found = dict.fromkeys(skip.layers)
    for op in skip.ops:
        named = [name for name in layers if layers[name] == op]
        if not named:
            raise ConfigError(
                f"skip: there is no layer of type '{op}'{did_you_mean(op, set(layers.values()))}"
            )
        found |= dict.fromkeys(named)
    for pattern in skip.regex:
        named = [name for name in layers if re.search(pattern, name)]
        if not named:
            raise ConfigError(
                f"skip: the expression '{pattern}' matches no layer; `qir config` lists the layers"
            )
        found |= dict.fromkeys(named)
    return tuple(found)


def rule_of(node: Node, rules: TargetRules) -> OpRule | None:
    """How the target quantizes the node's op, if it does."""
    return rules.ops.get(node.op) if node.domain in ("", "ai.onnx") else None


def check_ops(key: str, ops: Iterable[str], rules: TargetRules) -> None:
    """ConfigError for an op type that the target does not quantize."""
    for op in ops:
        if op not in rules.ops:
            raise ConfigError(
                f"{key}: target '{rules.name}' does not quantize '{op}', only {', '.join(rules.ops)}"
                + did_you_mean(op, rules.ops)
            )


def check_patterns(key: str, patterns: Iterable[str]) -> None:
    """ConfigError for a text that is no regular expression."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ConfigError(f"{key}: '{pattern}' is not a regular expression: {error}") from error


def check_skipped(patterns: Iterable[str], graph: Graph) -> None:
    """ConfigError for an expression to skip by that matches the name of no node."""
    names = [node.name for node in walk_nodes(graph)]
    for pattern in patterns:
        if not any(re.search(pattern, name) for name in names):
            raise ConfigError(f"skip_regex: '{pattern}' matches no layer; `qir config` lists the layers")


def check_layers(key: str, names: Iterable[str], graph: Graph, rules: TargetRules) -> None:
    """ConfigError for a name that no layer has which the target knows, with the nearest names."""
    layers = {node.name: node for node in walk_nodes(graph)}
    for name in names:
        _check_layer(key, name, layers, rules)


def _check_layer(key: str, name: str, layers: Mapping[str, Node], rules: TargetRules) -> None:
    node = layers.get(name)
    if node is not None and (rule_of(node, rules) is not None or node.op in rules.notes):
        return
    if node is not None:
        raise ConfigError(
            f"{key}: layer '{name}' ({node.op}) does not support quantization, so it is float anyway"
        )
    names: list[str] = []
    for other in layers.values():
        if name in json.loads(other.metadata.get("qir.fused", "[]")):
            raise ConfigError(
                f"{key}: '{name}' has been folded into layer '{other.name}'; name that layer instead"
            )
        names += [other.name] if rule_of(other, rules) is not None else []
    hint = did_you_mean(name, names) or "; `qir config` lists the layers"
    raise ConfigError(f"{key}: there is no layer '{name}' in the graph{hint}")
