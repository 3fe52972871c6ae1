"""The doors of the commands `qir` and `qir-opt`: Ctrl-C ends them by one line, however early it comes.

Loading the commands takes long enough to be interrupted. Nothing has been begun then, so that the process
can end at once; from where it works on, `report_errors` sees to it that what was begun is cleaned up. This
module itself therefore imports next to nothing.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
from importlib import import_module
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT
"""Exit code of a command that Ctrl-C ended."""


def qir() -> None:
    """Run `qir`."""
    _run("qir.cli.main")


def qir_opt() -> None:
    """Run `qir-opt`."""
    _run("qir.cli.opt")


def end_at_once(_number: int, _frame: object) -> None:
    """The handler of SIGINT while there is nothing to clean up."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def leave(code: int) -> NoReturn:
    """End the process after its work has been cleaned up, and leave its memory to the system.

    To free the sessions of a large model one by one takes a second or two.
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def flush_output() -> None:
    """Write what stdout still holds, or drop it: Python would complain again when it flushes at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def os_error(error: OSError) -> str:
    """What the system refused, in a sentence: which file, or that there is no room for what is printed."""
    reason = error.strerror or str(error)
    if error.filename:
        return f"{error.filename}: {reason}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return f"the output cannot be written: {reason}" if full else reason


def _open_closed_streams() -> None:
    """Nothing in the place of standard streams that the caller has closed (`>&-`).

    A file opened later would otherwise get the number of one, and whatever a library prints in it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free: that of the stream
            setattr(sys, name, os.fdopen(number, mode))


def _run(module: str) -> None:
    # A compiler of other people's models reports to nobody. ONNX Runtime then complains of no home that
    # it cannot write to.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    _open_closed_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may want it ignored
        signal.signal(signal.SIGINT, end_at_once)
    try:
        import_module(module).main()  # leaves by SystemExit; help is printed outside of `report_errors`
    except OSError as error:
        sys.stderr.write(f"error: {os_error(error)}\n")
        flush_output()
        sys.exit(1)
