"""Gives memory that was freed back to the operating system."""

from __future__ import annotations

import ctypes
import sys


def return_freed_memory() -> None:
    """Ask glibc to hand back what it keeps of freed memory; does nothing with other C libraries.

    Tensors of one run after the other leave gaps in the heap, tens of MB that no later step uses.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
