"""The list of passes and pipelines that `qir-opt --list-passes` prints."""

from __future__ import annotations

import inspect

from qir.backends.targets import TARGETS
from qir.passes.base import Pass
from qir.passes.options import options_of
from qir.passes.registry import PASSES


def describe_passes() -> str:
    """Every pass with its first line of documentation and its options, then the pipelines of each target."""
    parts = [_describe(kind) for kind in PASSES.values()]
    for target in TARGETS.values():
        parts.append(f"pipelines of the target '{target.name}':")
        parts += [f"  {name}: {text}" for name, text in target.pipelines.items()]
    return "\n".join(parts) + "\n"


def _describe(kind: type[Pass]) -> str:
    summary = (inspect.getdoc(kind) or "").partition("\n")[0]
    options = "".join(f"\n      {option}" for option in options_of(kind).values())
    return f"{kind.name}\n    {summary}{options}"
