"""How commands end when something goes wrong: one message on stderr, an exit code, no traceback unasked."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import click

from qir.cli.entry import INTERRUPTED, end_at_once, flush_output, leave, os_error
from qir.ir.errors import QirError

_DEFECT = (
    "this is a defect of qir rather than of its input; --debug shows where it happened. Please report it, "
    "best with the model and the command"
)


_Handler = signal.Handlers | Callable[[int, FrameType | None], object]


@contextmanager
def report_errors(debug: bool) -> Iterator[None]:
    """Turn any exception of the block into a message on stderr and exit code 1; `debug` adds the traceback.

    Usage errors stay click's, which exits with 2. Ctrl-C and a termination signal leave the block like
    exceptions, so that what was begun is cleaned up, and exit with 128 + the number of the signal.
    """
    try:
        with _signals_as_exceptions():
            yield
    except _Terminated:
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt:
        _end_interrupted()
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise
    except BrokenPipeError:  # the reader of stdout went away, as `head` does
        flush_output()
        sys.exit(1)
    except Exception as error:
        if _is_interrupt(error):  # Ctrl-C while an extension module loads comes out as an error of its own
            _end_interrupted()
        if debug:
            traceback.print_exc()
        click.echo(f"error: {_message(error)}", err=True)
        flush_output()
        sys.exit(1)


class _Terminated(BaseException):
    """Somebody asked the process to end."""


@contextmanager
def _signals_as_exceptions() -> Iterator[None]:
    """Let SIGTERM and SIGINT raise in the block, unless the program around us has its own plans for them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    plans: tuple[tuple[int, _Handler, _Handler], ...] = (
        (signal.SIGTERM, signal.SIG_DFL, _terminate),
        (signal.SIGINT, end_at_once, signal.default_int_handler),
    )
    changed = [(number, before) for number, before, _ in plans if signal.getsignal(number) is before]
    try:
        for number, before, handler in plans:
            if (number, before) in changed:
                signal.signal(number, handler)
        yield
    finally:
        for number, before in changed:
            signal.signal(number, before)


def _end_interrupted() -> NoReturn:
    click.echo("interrupted", err=True)
    if signal.getsignal(signal.SIGINT) is end_at_once:  # the process is ours
        leave(INTERRUPTED)
    sys.exit(INTERRUPTED)


def _terminate(_number: int, _frame: object) -> None:
    raise _Terminated


def _is_interrupt(error: BaseException | None) -> bool:
    seen: set[int] = set()  # an error may be a cause of itself
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def _message(error: Exception) -> str:
    if isinstance(error, QirError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return os_error(error)
    return f"{error or type(error).__name__}\n  {_DEFECT}"
