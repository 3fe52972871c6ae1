"""`--plugin FILE.py`: Python files that register calibration methods before anything else is read."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from qir.ir.errors import QirError

C = TypeVar("C", bound=Callable[..., object])


def plugin_option(command: C) -> C:
    """Decorator: the option, which loads the files and passes nothing on."""
    return click.option(
        "--plugin", multiple=True, is_eager=True, expose_value=False, callback=_load_all,
        type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.py",
        help="Python file to load first, which registers calibration methods (@qir.calibrator).",
    )(command)  # fmt: skip


def _load_all(context: click.Context, _parameter: click.Parameter, paths: tuple[Path, ...]) -> None:
    if not context.resilient_parsing:
        for path in paths:
            load_plugin(path)


def load_plugin(path: Path) -> None:
    """Run a file as a module, once in a process; ClickException that says where and how it failed."""
    name = f"qir_plugin_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and Path(str(known.__file__)) == path.resolve():
        return
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None or known is not None:
        what = "another plugin has the same name" if known is not None else "it is no Python file (.py)"
        raise click.ClickException(f"plugin '{path}' cannot be loaded: {what}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a user's file may raise anything
        del sys.modules[name]
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, QirError) else f" ({Path(frame.filename).name}:{frame.lineno})"
        raise click.ClickException(f"plugin '{path}': {type(error).__name__}: {error}{where}") from error
