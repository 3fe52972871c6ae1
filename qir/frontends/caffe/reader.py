"""Builds a graph from a net in the test phase and its weights."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from qir.frontends.caffe.blobs import INPUTS, resolve
from qir.frontends.caffe.caffemodel import Blob, read_weights
from qir.frontends.caffe.inputs import common_batch
from qir.frontends.caffe.layers import LAYERS, TRAINING
from qir.frontends.caffe.prototxt import Layer, Net, parse_net
from qir.frontends.caffe.scope import Builder, LayerScope, Tensor
from qir.frontends.caffe.shapes import FixedBatchNeeded
from qir.ir.errors import ModelError, did_you_mean
from qir.ir.graph import Graph

OPSET = 13
"""The opset of the graphs: old enough for ATC, new enough for a Softmax over one axis."""
_log = logging.getLogger(__name__)


def read_caffe(prototxt: str | os.PathLike[str], weights: str | os.PathLike[str] | None = None) -> Graph:
    """The graph of a prototxt in the test phase, with the weights of a caffemodel.

    Layers keep their names, and so do blobs; of a blob that is written again in place, the last writing has
    the name. What no layer reads is an output. The first dimension of the inputs becomes the symbol N, unless
    a layer computes with the batch that the prototxt says. Without `weights` the net must have none. Raises
    ModelError, with the layer and its line.
    """
    path = Path(prototxt)
    net = parse_net(_text(path), str(path))
    return build_graph(net, None if weights is None else read_weights(weights))


def build_graph(net: Net, weights: Mapping[str, tuple[Blob, ...]] | None) -> Graph:
    """The graph of a net with its weights by layer."""
    _check_types(net)
    batch = common_batch(net)
    if batch is not None:
        try:
            return _build(net, weights, batch)
        except FixedBatchNeeded:
            _log.info("a layer of the net computes with the size of the batch, so that it stays fixed")
    return _build(net, weights, None)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        raise ModelError(f"prototxt '{path}' does not exist") from None
    except UnicodeDecodeError:
        raise ModelError(f"'{path}' is not text; give the prototxt first, then the caffemodel") from None
    except OSError as error:
        raise ModelError(f"prototxt '{path}' cannot be read: {error.strerror}") from None


def _check_types(net: Net) -> None:
    """ModelError for a layer of an unknown type, one of training, or two layers with weights of one name."""
    seen: dict[str, Layer] = {}
    for layer in net.layers:
        if layer.type in TRAINING:
            raise layer.error(
                "is for training; give the prototxt for deployment, or keep the layer to the training phase: "
                "include { phase: TRAIN }"
            )
        if layer.type not in LAYERS:
            raise layer.error(f"is of a type that qir does not know{did_you_mean(layer.type, LAYERS)}")
        first = seen.setdefault(layer.name, layer)
        if first is not layer and (first.type, layer.type) != ("Input", "Input"):
            raise layer.error(
                f"has the name of the layer in line {first.line}; weights go by name, name it anew"
            )


def _build(net: Net, weights: Mapping[str, tuple[Blob, ...]] | None, batch: str | None) -> Graph:
    graph = Graph(net.name or "net", {"": OPSET})
    blobs = resolve(net.layers)
    builder = Builder(net, blobs, weights, graph, batch)
    for i, layer in enumerate(net.layers):
        if i not in builder.absorbed:
            LAYERS[layer.type](LayerScope(builder, i))
    for version in blobs.unread():
        made = builder.made.get(version)
        if made is not None and net.layers[version.layer].type not in INPUTS:
            _return(graph, made, version.name)
    if not graph.outputs:
        raise ModelError(f"the net '{graph.name}' returns nothing: every blob is read by some layer")
    return graph


def _return(graph: Graph, made: Tensor, name: str) -> None:
    if made.value.constant is not None:
        graph.rename(made.value, graph.unique_value_name(f"{name}.data"))
        node = graph.unique_node_name(name)
        made = Tensor(
            graph.add("Identity", [made.value], outputs=[name], types=[made.value.type], name=node).output,
            made.shape,
        )
    graph.add_output(made.value)
