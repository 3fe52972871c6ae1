"""Weights and biases: methods that choose the scales of weights, and their integers."""

from qir.runtime.weights.arq import Arq
from qir.runtime.weights.integers import fake_quantize, quantize
from qir.runtime.weights.kl import Kl
from qir.runtime.weights.method import WeightMethod
from qir.runtime.weights.mse import Mse

__all__ = ["Arq", "Kl", "Mse", "WeightMethod", "fake_quantize", "quantize"]
