"""Accuracy debugger: which quantizers hurt, where the error grows, what tensors look like.

All functions switch the quantizers of one calibrated graph on and off. `open_model` opens a model with its
data once for several of them.
"""

from __future__ import annotations

from qir.debug.channels import get_channelwise_data_distribution
from qir.debug.distribution import plot_distribution
from qir.debug.error import plot_acc_error
from qir.debug.everything import runall
from qir.debug.opened import open_model
from qir.debug.partial import sensitivity_analysis
from qir.debug.sensitivity import get_sensitivity_of_nodes

__all__ = [
    "get_channelwise_data_distribution",
    "get_sensitivity_of_nodes",
    "open_model",
    "plot_acc_error",
    "plot_distribution",
    "runall",
    "sensitivity_analysis",
]
