"""How commands end when something goes wrong: one message on stderr, an exit code, no traceback unasked."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import click

from qir.ir.errors import QirError

_DEFECT = (
    "this is a defect of qir rather than of its input; --debug shows where it happened. Please report it, "
    "best with the model and the command"
)


@contextmanager
def report_errors(debug: bool) -> Iterator[None]:
    """Turn any exception of the block into a message on stderr and exit code 1; `debug` adds the traceback.

    Usage errors stay click's, which exits with 2.
    """
    try:
        yield
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BrokenPipeError:
        # The reader of stdout went away, as `head` does; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            traceback.print_exc()
        click.echo(f"error: {_message(error)}", err=True)
        sys.exit(1)


def _message(error: Exception) -> str:
    if isinstance(error, QirError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{error or type(error).__name__}\n  {_DEFECT}"
