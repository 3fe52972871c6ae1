"""How commands end when something goes wrong: one message on stderr, an exit code, no traceback unasked."""

from __future__ import annotations

import os
import signal
import sys
import threading
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

    Usage errors stay click's, which exits with 2; so does Ctrl-C, which exits with 1. A termination signal
    leaves the block like an exception, so that what was begun is cleaned up.
    """
    try:
        with _termination_as_exception():
            yield
    except _Terminated:
        sys.exit(128 + signal.SIGTERM)
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BrokenPipeError:
        # The reader of stdout went away, as `head` does; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if _is_interrupt(error):  # Ctrl-C while an extension module loads comes out as an error of its own
            raise click.Abort from error
        if debug:
            traceback.print_exc()
        click.echo(f"error: {_message(error)}", err=True)
        sys.exit(1)


class _Terminated(BaseException):
    """Somebody asked the process to end."""


@contextmanager
def _termination_as_exception() -> Iterator[None]:
    """Let SIGTERM raise in the block, unless the program around us has plans of its own for it."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(_number: int, _frame: object) -> None:
    raise _Terminated


def _is_interrupt(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _message(error: Exception) -> str:
    if isinstance(error, QirError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{error or type(error).__name__}\n  {_DEFECT}"
