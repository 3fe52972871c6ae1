"""A method with its options as words of a pipeline: `method=hfmg bins=2048`."""

from __future__ import annotations

from qir.config.settings import Method
from qir.passes.options import OptionValue


def method_text(method: Method) -> str:
    """The options of a pass that choose this method."""
    options = (f"{name.replace('_', '-')}={_word(value)}" for name, value in method.options)
    return " ".join((f'method="{method.name}"', *options))


def _word(value: OptionValue) -> str:
    if isinstance(value, tuple):
        return ",".join(_word(item) for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"' if isinstance(value, str) else "none" if value is None else repr(value)
