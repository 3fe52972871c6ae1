"""The argument MODEL of commands: one file, or the prototxt and the caffemodel of a Caffe net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import click

ModelPath: TypeAlias = "str | tuple[str, str]"
"""A file, or prototxt and caffemodel."""
_NET, _WEIGHTS = ".prototxt", ".caffemodel"


def _grouped(words: Sequence[str]) -> list[ModelPath]:
    """Words with each caffemodel joined to the prototxt in front of it; UsageError where there is none."""
    found: list[ModelPath] = []
    for word in words:
        last = found[-1] if found else None
        if not word.endswith(_WEIGHTS):
            found.append(word)
        elif isinstance(last, str) and last.endswith(_NET):
            found[-1] = (last, word)
        else:
            raise click.UsageError(f"'{word}' holds weights only; give the {_NET} of its net before it")
    return found


def _one(_context: click.Context, _parameter: click.Parameter, words: Sequence[str]) -> ModelPath:
    models = _grouped(words)
    if len(models) != 1:
        raise click.UsageError(f"Got unexpected extra argument ({_text(models[1])})")
    return models[0]


def _two(_context: click.Context, _parameter: click.Parameter, words: Sequence[str]) -> tuple[ModelPath, ...]:
    models = _grouped(words)
    if len(models) < 2:
        raise click.UsageError("Missing argument 'B'.")
    if len(models) > 2:
        raise click.UsageError(f"Got unexpected extra argument ({_text(models[2])})")
    return tuple(models)


def _text(model: ModelPath) -> str:
    return model if isinstance(model, str) else " ".join(model)


model_argument = click.argument("model", nargs=-1, required=True, metavar="MODEL", callback=_one)
"""`model`: a ModelPath."""
models_argument = click.argument("models", nargs=-1, required=True, metavar="A B", callback=_two)
"""`models`: two of them."""
