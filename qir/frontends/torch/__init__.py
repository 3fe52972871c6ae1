"""PyTorch modules to the IR, through the exporters of torch: BatchNormalization kept, layers named by module.

Importing this package imports torch (extra `qir[torch]`).
"""

from qir.frontends.torch.export import DynamicAxes
from qir.frontends.torch.kinds import LAYER_KINDS, Kind, kind_of, parameter_owners
from qir.frontends.torch.naming import MODULE, RUNS
from qir.frontends.torch.source import Example, read_torch

__all__ = [
    "LAYER_KINDS",
    "MODULE",
    "RUNS",
    "DynamicAxes",
    "Example",
    "Kind",
    "kind_of",
    "parameter_owners",
    "read_torch",
]
