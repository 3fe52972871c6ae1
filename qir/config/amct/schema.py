"""The message classes of AMCT's simplified configuration, built from a table."""

from __future__ import annotations

from functools import cache

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "bool": _Field.TYPE_BOOL,
    "uint32": _Field.TYPE_UINT32,
    "float": _Field.TYPE_FLOAT,
    "string": _Field.TYPE_STRING,
}
_PACKAGE = "qir.amct"
_ENUMS = {
    "FakequantPrecisionMode": {"DEFAULT": 0, "FORCE_FP16_QUANT": 1},
    "DataType": {"INT8": 1, "INT16": 2},
}
# message -> (field, number, type, oneof or "repeated" or ""). Numbers above 300: AMCT's are not known.
_MESSAGES: dict[str, tuple[tuple[str, int, str, str], ...]] = {
    "ArqQuantize": (("channel_wise", 1, "bool", ""), ("quant_bits", 10, "uint32", "")),
    "AdaQuantize": (
        ("num_iteration", 1, "uint32", ""),
        ("reg_param", 2, "float", ""),
        ("beta_range_start", 3, "float", ""),
        ("beta_range_end", 4, "float", ""),
        ("warm_start", 5, "float", ""),
        ("channel_wise", 10, "bool", ""),
    ),
    "NuqQuantize": (("num_steps", 1, "uint32", ""), ("num_of_iteration", 2, "uint32", "")),
    "IfmrQuantize": (
        ("search_range_start", 1, "float", ""),
        ("search_range_end", 2, "float", ""),
        ("search_step", 3, "float", ""),
        ("max_percentile", 4, "float", ""),
        ("min_percentile", 5, "float", ""),
        ("asymmetric", 6, "bool", ""),
        ("dst_type", 10, "DataType", ""),
    ),
    "HfmgQuantize": (
        ("num_of_bins", 1, "uint32", ""),
        ("asymmetric", 2, "bool", ""),
        ("dst_type", 10, "DataType", ""),
    ),
    "DmqBalancer": (("migration_strength", 1, "float", ""),),
    "CalibrationConfig": (
        ("arq_quantize", 13, "ArqQuantize", "weight"),
        ("ada_quantize", 15, "AdaQuantize", "weight"),
        ("nuq_quantize", 301, "NuqQuantize", "weight"),
        ("ifmr_quantize", 100, "IfmrQuantize", "activation"),
        ("hfmg_quantize", 101, "HfmgQuantize", "activation"),
        ("dmq_balancer", 200, "DmqBalancer", "balancer"),
    ),
    "OverrideLayerType": (
        ("layer_type", 1, "string", ""),
        ("calibration_config", 2, "CalibrationConfig", ""),
    ),
    "OverrideLayer": (("layer_name", 1, "string", ""), ("calibration_config", 2, "CalibrationConfig", "")),
    "TensorQuantize": (
        ("layer_name", 1, "string", ""),
        ("input_index", 2, "uint32", ""),
        ("ifmr_quantize", 100, "IfmrQuantize", "activation"),
        ("hfmg_quantize", 101, "HfmgQuantize", "activation"),
    ),
    "NuqConfig": (("mapping_file", 1, "string", ""), ("nuq_quantize", 2, "NuqQuantize", "")),
    "AMCTConfig": (
        ("batch_num", 1, "uint32", ""),
        ("activation_offset", 2, "bool", ""),
        ("joint_quant", 3, "bool", ""),
        ("skip_layers", 10, "string", "repeated"),
        ("skip_layer_types", 11, "string", "repeated"),
        ("fakequant_precision_mode", 21, "FakequantPrecisionMode", ""),
        ("common_config", 50, "CalibrationConfig", ""),
        ("override_layer_types", 51, "OverrideLayerType", "repeated"),
        ("override_layer_configs", 100, "OverrideLayer", "repeated"),
        ("do_fusion", 200, "bool", ""),
        ("skip_fusion_layers", 201, "string", "repeated"),
        ("nuq_config", 302, "NuqConfig", ""),
        ("tensor_quantize", 303, "TensorQuantize", "repeated"),
        # Of older versions; AMCT ignores them beside common_config and the overrides.
        ("conv_calibration_config", 304, "CalibrationConfig", ""),
        ("fc_calibration_config", 305, "CalibrationConfig", ""),
    ),
}


@cache
def message_class() -> type[message.Message]:
    """The class of a whole simplified configuration."""
    file = descriptor_pb2.FileDescriptorProto(name="qir/amct_config.proto", package=_PACKAGE)
    for name, values in _ENUMS.items():
        kind = file.enum_type.add(name=name)
        for text, number in values.items():
            kind.value.add(name=text, number=number)
    for name in _MESSAGES:
        _add_message(file, name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made: type[message.Message] = message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"{_PACKAGE}.AMCTConfig")
    )
    return made


def _add_message(file: descriptor_pb2.FileDescriptorProto, name: str) -> None:
    made = file.message_type.add(name=name)
    oneofs: list[str] = []
    for field, number, kind, label in _MESSAGES[name]:
        added = made.field.add(
            name=field,
            number=number,
            label=_Field.LABEL_REPEATED if label == "repeated" else _Field.LABEL_OPTIONAL,
        )
        if kind in _TYPES:
            added.type = _TYPES[kind]
        else:
            added.type = _Field.TYPE_ENUM if kind in _ENUMS else _Field.TYPE_MESSAGE
            added.type_name = f".{_PACKAGE}.{kind}"
        if label not in ("", "repeated"):
            if label not in oneofs:
                oneofs.append(label)
                made.oneof_decl.add(name=label)
            added.oneof_index = oneofs.index(label)
