"""The memory of this process: its peak, and giving back what was freed."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def return_freed_memory() -> None:
    """Ask glibc to hand back what it keeps of freed memory; does nothing with other C libraries.

    Tensors of one run after the other leave gaps in the heap, tens of MB that no later step uses.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def peak_memory() -> int:
    """The most bytes of memory that this process has held at a time, of other processes nothing.

    Linux's `getrusage` begins with the peak of the process that started this one, so it is asked elsewhere.
    """
    if _STATUS.exists():
        held = (
            line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")
        )
        for line in held:
            return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
