"""All passes by name. The only module that imports every pass."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from qir.passes.balance_channels import BalanceChannels
from qir.passes.base import Pass
from qir.passes.calibrate import Calibrate
from qir.passes.correct_bias import CorrectBias
from qir.passes.eliminate_dead import EliminateDead
from qir.passes.eliminate_identity import EliminateIdentity
from qir.passes.equalize_inputs import EqualizeInputs
from qir.passes.equalize_layers import EqualizeLayers
from qir.passes.fold_constants import FoldConstants
from qir.passes.fuse_bn import FuseBn
from qir.passes.import_qdq import ImportQdq
from qir.passes.infer_types import InferTypes
from qir.passes.insert_quant import InsertQuant
from qir.passes.merge_duplicates import MergeDuplicates
from qir.passes.normalize_gemm import NormalizeGemm
from qir.passes.quantize_bias import QuantizeBias
from qir.passes.quantize_weights import QuantizeWeights
from qir.passes.search_method import SearchMethod
from qir.passes.sensitivity import Sensitivity

_CLASSES: tuple[type[Pass], ...] = (
    InferTypes,
    FoldConstants,
    EliminateIdentity,
    FuseBn,
    NormalizeGemm,
    MergeDuplicates,
    EliminateDead,
    ImportQdq,
    EqualizeLayers,
    EqualizeInputs,
    BalanceChannels,
    InsertQuant,
    QuantizeWeights,
    Calibrate,
    SearchMethod,
    CorrectBias,
    QuantizeBias,
    Sensitivity,
)

PASSES: Mapping[str, type[Pass]] = MappingProxyType({kind.name: kind for kind in _CLASSES})
"""Name in pipelines -> class, in the order in which lists show them."""
