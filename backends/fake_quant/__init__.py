"""The fake-quant graph that ONNX Runtime runs to see the accuracy, in two forms."""

from qir.backends.fake_quant.forms import lower
from qir.backends.form_names import FORMS, check_form

__all__ = ["FORMS", "check_form", "lower"]
