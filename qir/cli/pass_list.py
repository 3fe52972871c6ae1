"""What `qir-opt --list-passes` and `--describe` print: passes with their options, and pipelines."""

from __future__ import annotations

import inspect
import sys

from qir.backends.targets import TARGETS
from qir.ir.errors import ConfigError, did_you_mean
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


def describe_pass(name: str) -> str:
    """One pass: what it does, its options, and the mathematics and sources that its file begins with.

    ConfigError for a name that no pass has.
    """
    kind = PASSES.get(name)
    if kind is None:
        hint = did_you_mean(name, PASSES) or "; `qir-opt --list-passes` names them"
        raise ConfigError(f"there is no pass '{name}'{hint}")
    header, _, options = _describe(kind).partition("\n")
    texts = [header, inspect.getdoc(kind) or "", "\n".join(["options:", *options.split("\n")[1:]])]
    return "\n\n".join([*texts, inspect.getdoc(sys.modules[kind.__module__]) or ""]) + "\n"


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
