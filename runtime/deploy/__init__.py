"""Executes Ascend deploy graphs on the CPU, exactly."""

from qir.runtime.deploy.integers import IntegerValues, fake_quant_values
from qir.runtime.deploy.session import DeployLayer, DeploySession, LayerIntegers, TensorInfo

__all__ = [
    "DeployLayer",
    "DeploySession",
    "IntegerValues",
    "LayerIntegers",
    "TensorInfo",
    "fake_quant_values",
]
