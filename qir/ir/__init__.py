"""The IR: immutable types, a mutable graph, its text and its files, and the functions that check and walk it.

`qir.ir.views` (networkx) is imported on its own, for it loads slowly.
"""

from qir.ir.compare import difference
from qir.ir.constant import Constant
from qir.ir.dot import to_dot
from qir.ir.dtypes import DType
from qir.ir.errors import (
    BackendError,
    CalibrationError,
    ConfigError,
    ModelError,
    ParseError,
    PassError,
    QirError,
    VerifyError,
    did_you_mean,
)
from qir.ir.files import load_graph, save_graph
from qir.ir.graph import Graph
from qir.ir.node import Attribute, EmptyList, Node, Use, Value
from qir.ir.parser import parse_graph
from qir.ir.printer import print_graph, print_node, print_type
from qir.ir.quants import (
    OperandPrecision,
    bias_add,
    bias_add_candidate,
    coarse_quant,
    erase_quant,
    find_quant,
    is_coarse,
    is_quant,
    is_restored,
    operand_precision,
    quant_of,
    quantized_layers,
    quantized_tensors,
    unquantized,
    value_precision,
)
from qir.ir.types import (
    UNKNOWN,
    Dim,
    MapType,
    OptionalType,
    Quant,
    QuantParams,
    QuantSpec,
    SequenceType,
    SparseTensorType,
    TensorType,
    Type,
    spec_of,
    tensor,
)
from qir.ir.verify import verify
from qir.ir.walk import sort_nodes, sorted_nodes, walk_graphs, walk_nodes

__all__ = [
    "UNKNOWN",
    "Attribute",
    "BackendError",
    "CalibrationError",
    "ConfigError",
    "Constant",
    "DType",
    "Dim",
    "EmptyList",
    "Graph",
    "MapType",
    "ModelError",
    "Node",
    "OperandPrecision",
    "OptionalType",
    "ParseError",
    "PassError",
    "QirError",
    "Quant",
    "QuantParams",
    "QuantSpec",
    "SequenceType",
    "SparseTensorType",
    "TensorType",
    "Type",
    "Use",
    "Value",
    "VerifyError",
    "bias_add",
    "bias_add_candidate",
    "coarse_quant",
    "did_you_mean",
    "difference",
    "erase_quant",
    "find_quant",
    "is_coarse",
    "is_quant",
    "is_restored",
    "load_graph",
    "operand_precision",
    "parse_graph",
    "print_graph",
    "print_node",
    "print_type",
    "quant_of",
    "quantized_layers",
    "quantized_tensors",
    "save_graph",
    "sort_nodes",
    "sorted_nodes",
    "spec_of",
    "tensor",
    "to_dot",
    "unquantized",
    "value_precision",
    "verify",
    "walk_graphs",
    "walk_nodes",
]
