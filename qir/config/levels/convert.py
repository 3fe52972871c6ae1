"""A `quant_config` as the project's QuantConfig for one model: names are looked up, paths are followed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qir.config.layers import Model
from qir.config.levels.file import ActivationLevel, CalibrationType, Levels, NodeLevel, SubgraphLevel
from qir.config.levels.reader import TWOFOLD_OPS
from qir.config.levels.searches import NUM_BIN, bias_correction_of, equalization_of, search_of
from qir.config.method_text import method_text
from qir.config.outline import Outline, dependents
from qir.config.settings import InputSettings, LayerSettings, Method, Precision, QuantConfig, WeightSettings
from qir.frontends.onnx import op_types
from qir.ir.errors import ConfigError, ParseError, did_you_mean
from qir.passes.calibrate import Calibrate
from qir.passes.options import OptionValue
from qir.passes.pipeline import parse_pipeline


def levels_config(levels: Levels, model: Model) -> QuantConfig:
    """The same wishes as a QuantConfig.

    ConfigError, with the place in the JSON, for names that the model does not have, boundaries without a
    path between them, subgraphs that contradict each other, and methods with options that they refuse.
    """
    nodes = _nodes(levels, model)
    asymmetric, method = _activation(levels)
    whole = levels.model.all_node_type or "int8"
    return QuantConfig(
        default=LayerSettings(inputs=InputSettings(whole, asymmetric, method), weight=WeightSettings(whole)),
        types={op: _whole(qtype) for op, qtype in levels.ops.items() if op in model.target.rules.ops},
        layers=nodes,
        outputs=levels.model.model_output_type,
        nearest=True,
        search=search_of(levels, _with_own_types(nodes, levels, model)),
        equalization=equalization_of(levels.model.activation),
        bias_correction=bias_correction_of(levels),
    )


def _nodes(levels: Levels, model: Model) -> dict[str, LayerSettings]:
    """The settings that op_config, subgraph_config and node_config have for nodes by name."""
    found: dict[str, LayerSettings] = {}
    _check_ops(levels.ops, model)
    for name, node in model.nodes.items():
        if node.op in levels.ops and node.op not in model.target.rules.ops:
            found[name] = _whole(levels.ops[node.op])
    for name, qtype in _subgraphs(levels, model).items():
        found[name] = _whole(qtype).over(found.get(name, LayerSettings()))
    for name, level in levels.nodes.items():
        _check_node(name, level, model)
        found[name] = _node(level).over(found.get(name, LayerSettings()))
    return {name: found[name] for name in model.nodes if name in found}


def _with_own_types(nodes: Mapping[str, LayerSettings], levels: Levels, model: Model) -> tuple[str, ...]:
    """The layers that have their types from a finer level than model_config."""
    return tuple(name for name, layer in model.layers.items() if name in nodes or layer.op in levels.ops)


def _whole(qtype: Precision) -> LayerSettings:
    return LayerSettings(inputs=InputSettings(qtype), weight=WeightSettings(qtype))


def _node(level: NodeLevel) -> LayerSettings:
    operands = {i: InputSettings(p) for i, p in level.inputs.items()}
    return LayerSettings(
        inputs=InputSettings(level.qtype), weight=WeightSettings(level.qtype), operands=operands
    )


def _check_ops(ops: Mapping[str, Precision], model: Model) -> None:
    known = {*op_types(), *(node.op for node in model.nodes.values())}
    for op in ops:
        if op not in known:
            raise ConfigError(f"op_config.{op}: ONNX has no op '{op}'{did_you_mean(op, sorted(known))}")


def _check_name(place: str, name: str, nodes: Outline) -> None:
    if name not in nodes:
        raise ConfigError(f"{place}: there is no node '{name}' in the model{did_you_mean(name, nodes)}")


def _check_node(name: str, level: NodeLevel, model: Model) -> None:
    place = f"node_config.{name}"
    _check_name(place, name, model.nodes)
    node = model.nodes[name]
    if level.qtype in ("dual-int16", "int16-ec") and node.op not in TWOFOLD_OPS:
        raise ConfigError(
            f"{place}.qtype: '{level.qtype}' is for {', '.join(TWOFOLD_OPS)} only, and this is a {node.op}"
        )
    for index in level.inputs:
        if index >= node.inputs:
            last = f"the last is input{node.inputs - 1}" if node.inputs else "it has no inputs"
            raise ConfigError(f"{place}.input{index}: this {node.op} has no such input; {last}")


def _subgraphs(levels: Levels, model: Model) -> dict[str, Precision]:
    """Node -> qtype for the nodes of all subgraphs."""
    owners: dict[str, str] = {}
    for name, level in levels.subgraphs.items():
        for node in sorted(_inside(f"subgraph_config.{name}", level, model.nodes)):
            owner = levels.subgraphs.get(owners.setdefault(node, name))
            own = levels.nodes.get(node)
            if owner is not None and owner.qtype != level.qtype and (own is None or own.qtype is None):
                raise ConfigError(
                    f"subgraph_config.{name}.qtype: node '{node}' would be {level.qtype}, but it lies in "
                    f"subgraph_config.{owners[node]} too, where it is {owner.qtype}; give "
                    f"node_config.{node}.qtype, or other boundaries"
                )
    return {node: levels.subgraphs[name].qtype for node, name in owners.items()}


def _inside(place: str, level: SubgraphLevel, nodes: Outline) -> frozenset[str]:
    """The nodes on a path from one of the inputs to one of the outputs, these included."""
    for key, names in (("inputs", level.inputs), ("outputs", level.outputs)):
        for i, name in enumerate(names):
            _check_name(f"{place}.{key}[{i}]", name, nodes)
    behind = {name: dependents(nodes, name) for name in level.inputs}
    for i, name in enumerate(level.inputs):
        if not behind[name].intersection(level.outputs):
            ends = ", ".join(f"'{end}'" for end in level.outputs)
            raise ConfigError(
                f"{place}.inputs[{i}]: there is no path from node '{name}' to {ends}; inputs are the first "
                "nodes of the subgraph, outputs the last"
            )
    for i, name in enumerate(level.outputs):
        if not any(name in found for found in behind.values()):
            starts = ", ".join(f"'{start}'" for start in level.inputs)
            raise ConfigError(f"{place}.outputs[{i}]: there is no path to node '{name}' from {starts}")
    return _on_paths(frozenset().union(*behind.values()), level.outputs, nodes)


def _on_paths(behind: frozenset[str], outputs: Sequence[str], nodes: Outline) -> frozenset[str]:
    """Those of the nodes behind the inputs from which an output can be reached."""
    sources: dict[str, list[str]] = {name: [] for name in behind}
    for name in behind:
        for reader in nodes[name].readers:
            sources[reader].append(name)
    found, pending = set(outputs), list(outputs)
    while pending:
        for source in sources[pending.pop()]:
            if source not in found:
                found.add(source)
                pending.append(source)
    return frozenset(found)


def _activation(levels: Levels) -> tuple[bool | None, Method | None]:
    """Zero point and calibration method, where these are no candidates of a search."""
    level = levels.model.activation
    asymmetric = level.asymmetric[0] if len(level.asymmetric) == 1 else None
    if search_of(levels) is not None:
        return asymmetric, None
    method = _method(level)
    if method is not None:
        try:
            parse_pipeline(f"{Calibrate.name}{{{method_text(method)}}}")
        except (ParseError, ConfigError) as error:
            raise ConfigError(f"model_config.activation: {error}") from error
    return asymmetric, method


def _method(level: ActivationLevel) -> Method | None:
    """The calibration method of the only candidate; None: what the pipeline says."""
    if not level.calibration_type:
        return None
    options: dict[str, OptionValue] = {}
    bins, percentile = next(iter(level.num_bin), None), next(iter(level.max_percentile), None)
    kind: CalibrationType = level.calibration_type[0]
    if kind == "max":
        return (
            Method("min-max")
            if percentile in (None, 1.0)
            else Method.of("percentile", {"percentile": percentile})
        )
    if kind == "kl":
        options = {"num_bin": bins or NUM_BIN}
        if level.max_num_bin:
            options["max_num_bin"] = level.max_num_bin[0]
    elif kind == "hfmg" and bins is not None:
        options = {"bins": bins}
    elif kind == "percentile" and percentile is not None:
        options = {"percentile": percentile}
    elif kind == "ifmr" and percentile is not None:
        options = {"max_percentile": percentile, "min_percentile": percentile}
    return Method.of(kind, options)
