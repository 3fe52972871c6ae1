"""The fake-quant graph that ONNX Runtime runs to see the accuracy, in two forms."""

from qir.backends.fake_quant.forms import FORMS, check_form, lower

__all__ = ["FORMS", "check_form", "lower"]
