"""The work of `qir run`."""

from __future__ import annotations

from pathlib import Path

import click

from qir.cli.inputs import data_source
from qir.cli.model_argument import ModelPath
from qir.cli.outputs import check_output
from qir.cli.progress import RichProgress
from qir.ir.errors import ConfigError
from qir.running import run_model, save_outputs


def run_job(model: ModelPath, data: str | None, output: str, quiet: bool) -> None:
    """Run a model on data and write an .npz, whole or not at all."""
    path = Path(output)
    if path.suffix != ".npz":
        raise ConfigError(f"'{output}' must end in .npz: outputs are written as arrays by name")
    source = data_source(model, data)
    check_output(output, model, source)
    with RichProgress(quiet=quiet) as progress:
        results = run_model(model, source, progress=progress)
    arrays = save_outputs(results, path)
    if not quiet:
        for name, array in arrays.items():
            click.echo(f"{name}: {array.dtype.name}{list(array.shape)}")
        click.echo(f"wrote {path}")
