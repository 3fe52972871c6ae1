"""The list of passes and pipelines that `qir-opt --list-passes` prints."""

from __future__ import annotations

import inspect

from qir.backends.targets import TARGETS
from qir.passes.base import Pass
from qir.passes.options import Option, options_of
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
    options = "".join(f"\n      {option}{_choices(option)}" for option in options_of(kind).values())
    return f"{kind.name}\n    {summary}{options}"


def _choices(option: Option) -> str:
    """What an option chooses among, with the options of each."""
    found = ""
    for name, kind in (option.choices or {}).items():
        summary = (inspect.getdoc(kind) or "").partition("\n")[0]
        found += f"\n        {name}: {summary}"
        found += "".join(f"\n          {inner}" for inner in options_of(kind).values())
    return found
