"""Folds BatchNormalization, and arithmetic with constants per channel, into the layer in front.

In inference BatchNormalization is affine in each channel c,

    y[c] = (x[c] - mean[c]) / sqrt(variance[c] + epsilon) * gamma[c] + beta[c]  =  scale[c] * x[c] + shift[c],

and so are Mul, Add, Sub and Div with one constant per channel. A layer in front is linear, so it takes the
map into its weights and bias: scale * (W x + b) + shift = (scale W) x + (scale b + shift). Where no layer is
in front, a BatchNormalization takes the arithmetic behind it the same way, and three or more steps of
arithmetic that amount to a batch normalization become one.

The fused layer keeps its name, and its result takes the name of the last node's result. Nothing is fused when
somebody else reads a value that would vanish, or where the graph's maker has noted that a BatchNormalization
is to be kept; a constant that somebody else reads is copied first. The bias of a MatMul is an Add of a vector
[N] as its second operand; other spellings of it are brought into this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from qir.ir.errors import ConfigError, did_you_mean
from qir.ir.graph import Graph
from qir.ir.node import Node, Value
from qir.ir.walk import walk_graphs, walk_nodes
from qir.passes.base import Pass
from qir.passes.batch_norm.chains import chain_from, make_normalization
from qir.passes.batch_norm.layers import Layer, absorb, layer_of
from qir.passes.batch_norm.transforms import ELEMENTWISE, transform_of
from qir.passes.context import Context, RewriteLog
from qir.passes.rules import KEEP_APART

_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_NORMALIZATION = "BatchNormalization"


@dataclass(frozen=True)
class FuseBn(Pass):
    """Fold BatchNormalization and arithmetic with constants per channel into the layer in front.

    `ops` are the op types that take part beside BatchNormalization: the layers that absorb it (Conv,
    ConvTranspose, Gemm, MatMul) and the arithmetic that is absorbed as well (Add, Sub, Mul, Div). AMCT does
    `ops=Conv`. Layers named in `skip` absorb nothing.
    """

    name: ClassVar[str] = "fuse-bn"
    ops: tuple[str, ...] = (*_LAYERS, *ELEMENTWISE)
    skip: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known = (*_LAYERS, *ELEMENTWISE)
        for op in self.ops:
            if op not in known:
                hint = did_you_mean(op, known) or f"; it knows {', '.join(known)}"
                raise ConfigError(f"fuse-bn does not know the op '{op}'{hint}")

    def run(self, graph: Graph, context: Context) -> bool:
        """Also in subgraphs. Ranks and channels must be known in places: run it after `infer-types`.

        ConfigError when `skip` names a layer that is not in the graph.
        """
        for name in self.skip:
            _check_layer(name, graph)
        return fuse_bn(graph, context.rewrites, self.ops, self.skip)


def _check_layer(name: str, graph: Graph) -> None:
    names = [node.name for node in walk_nodes(graph) if node.op in (*_LAYERS, _NORMALIZATION)]
    if name not in names:
        raise ConfigError(
            f"skip: there is no layer '{name}' that absorbs anything{did_you_mean(name, names)}"
        )


def fuse_bn(graph: Graph, log: RewriteLog, ops: tuple[str, ...], skip: tuple[str, ...] = ()) -> bool:
    """Fuse in `graph` and its subgraphs, in running order; True on change."""
    fusion = _Fusion(log, ops, skip)
    for inner in walk_graphs(graph):
        for node in inner.nodes:
            if node.graph is not None and node.domain == "":
                fusion.visit(node)
    fusion.report()
    return fusion.changed


class _Fusion:
    """One run of the pass: what it may fuse, whether it did, and what stays behind for which reason."""

    def __init__(self, log: RewriteLog, ops: tuple[str, ...], skip: tuple[str, ...]) -> None:
        self._log, self._ops, self._skip = log, ops, frozenset(skip)
        self._absorbed = (_NORMALIZATION, *(op for op in ELEMENTWISE if op in ops))
        self._refused: dict[Node, str] = {}
        self.changed = False

    def visit(self, node: Node) -> None:
        """Let a layer absorb what follows it. What is absorbed itself has vanished before its turn comes."""
        if KEEP_APART in node.metadata:
            self._refuse(node, node.metadata[KEEP_APART])
        elif node.name in self._skip:
            self._leave_followers(node)
        elif node.op in _LAYERS and node.op in self._ops:
            self._absorb_followers(node)
        elif node.op == _NORMALIZATION:
            self._refused.setdefault(node, _why_alone(node))
            if len(self._absorbed) > 1:
                self._absorb_followers(node)
        elif node.op in self._absorbed:
            self._join(node)

    def _leave_followers(self, node: Node) -> None:
        follower = self._follower(node.output)
        if follower is not None:
            self._refuse(follower, f"{node.op} '{node.name}' is skipped by the user")

    def _absorb_followers(self, node: Node) -> None:
        layer = layer_of(node)
        while True:
            value = node.output if isinstance(layer, str) else layer.result
            follower = self._follower(value)
            if follower is None:
                break
            if isinstance(layer, str):
                if follower.op == _NORMALIZATION or node.op != "MatMul":  # of two variables: no layer at all
                    self._refuse(follower, layer)
                break
            if not self._absorb(layer, follower, value):
                break
        if isinstance(layer, Layer):
            layer.note_fused()

    def _absorb(self, layer: Layer, follower: Node, value: Value) -> bool:
        if KEEP_APART in follower.metadata:
            return False
        if self._is_plain_bias(layer, follower, value):
            layer.bias_add = follower
            return True
        transform = transform_of(follower, value, layer.layout)
        reason = transform if isinstance(transform, str) else absorb(layer, follower, transform)
        if reason is not None:
            self._refuse(follower, reason)
            return False
        self._log.applied(FuseBn.name, follower.name)
        self.changed = True
        return True

    def _is_plain_bias(self, layer: Layer, follower: Node, value: Value) -> bool:
        """True for an Add that is the bias of a MatMul as it stands."""
        if layer.node.op != "MatMul" or layer.bias_add is not None or follower.op != "Add":
            return False
        bias = follower.input(1)
        held = None if bias is None else bias.constant
        return follower.input(0) is value and held is not None and held.shape == (layer.layout.channels,)

    def _follower(self, value: Value) -> Node | None:
        """The node to fold into what gives `value`, if there is one and it alone reads the value."""
        found = [use.node for use in value.uses if self._is_foldable(use.node, value)]
        if value.has_one_use:
            return found[0] if found else None
        for node in found:
            if node.op != _NORMALIZATION:
                continue  # x * sigmoid(1.702 * x) and its like: nobody expects that to be folded
            others = (f"node '{use.node.name}'" for use in value.uses if use.node is not node)
            reader = "the graph returns it" if value.is_output else f"{next(others, 'it')} reads it too"
            self._refuse(node, f"'{value.name}' must not change: {reader}")
        return None

    def _is_foldable(self, node: Node, value: Value) -> bool:
        if node.domain != "" or node.op not in self._absorbed or node.graph is not value.graph:
            return False
        if node.op == _NORMALIZATION:
            return node.input(0) is value
        return any(v is not None and v.constant is not None for v in node.inputs)

    def _join(self, node: Node) -> None:
        chain = chain_from(node)
        if chain is None:
            return
        reason = make_normalization(chain)
        if reason is not None:
            self._refuse(node, reason)
            return
        self._log.applied(FuseBn.name, chain.nodes[-1].name)
        self.changed = True

    def _refuse(self, node: Node, reason: str) -> None:
        self._refused[node] = reason

    def report(self) -> None:
        """Note the reasons of all nodes that are still there."""
        for node, reason in self._refused.items():
            if node.graph is not None:
                self._log.refused(FuseBn.name, node.name, reason)


def _why_alone(node: Node) -> str:
    """Why no layer has taken a BatchNormalization that no layer was offered."""
    source = node.input(0)
    if source is None or source.producer is None:
        return "it follows no layer"
    return f"it follows {source.producer.op} '{source.producer.name}', which does not absorb it"
