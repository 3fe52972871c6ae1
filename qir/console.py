"""Where results are printed: lines that fit for people, whole ones for programs."""

from __future__ import annotations

from rich.console import Console

_UNBOUNDED = 10_000
"""Columns of what is no terminal: a table is as wide as its cells then."""


def plain_console(*, stderr: bool = False) -> Console:
    """A console on stdout (or `stderr`) that prints names as they are, whatever brackets they have.

    Tables and lines are fitted into a terminal. In a file or a pipe nothing is folded or cut off, however
    narrow the terminal in which the command was typed.
    """
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = _UNBOUNDED
    return console
