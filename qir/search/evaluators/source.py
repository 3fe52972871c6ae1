"""Digests of Python objects that users bring: of their source file and of the values that they hold."""

from __future__ import annotations

import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType

import numpy as np

_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def object_digest(item: object) -> str:
    """16 hexadecimal digits over the source of the object's class and its attributes."""
    state = hashlib.blake2b(digest_size=8)
    _add_source(state, type(item))
    _add_value(state, vars(item) if hasattr(item, "__dict__") else None, set())
    return state.hexdigest()


def function_digest(function: Callable[..., object]) -> str:
    """16 hexadecimal digits over the source file of a function, or where there is none, over its code."""
    state = hashlib.blake2b(digest_size=8)
    _add_callable(state, function, set())
    return state.hexdigest()


def file_digest(path: str | Path) -> str:
    """16 hexadecimal digits over the bytes of a file."""
    state = hashlib.blake2b(digest_size=8)
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return state.hexdigest()


def _add_callable(state: hashlib.blake2b, function: Callable[..., object], seen: set[int]) -> None:
    if isinstance(function, functools.partial):
        _add_callable(state, function.func, seen)
        _add_value(state, [list(function.args), function.keywords], seen)
    elif inspect.ismethod(function):
        _add_callable(state, function.__func__, seen)
        _add_value(state, function.__self__, seen)
    elif isinstance(function, FunctionType):
        _add_source(state, function)
        state.update(function.__qualname__.encode())
        _add_value(state, [cell.cell_contents for cell in function.__closure__ or ()], seen)
    elif inspect.isclass(function):
        _add_source(state, function)
    else:
        _add_source(state, type(function))
        _add_value(state, vars(function) if hasattr(function, "__dict__") else None, seen)


def _add_source(state: hashlib.blake2b, item: type | FunctionType) -> None:
    """The whole file, since what is defined beside may matter as well; without file, the code itself."""
    try:
        file = inspect.getsourcefile(item)
    except TypeError:
        file = None
    state.update(f"{item.__module__ if file is None else ''}.{item.__qualname__}".encode())
    if file is not None and Path(file).is_file():
        state.update(file_digest(file).encode())
    elif isinstance(item, FunctionType):
        state.update(item.__code__.co_code + repr(item.__code__.co_consts).encode())


def _add_value(state: hashlib.blake2b, value: object, seen: set[int]) -> None:
    """Plain values, paths, arrays and containers of them by content; of everything else the type."""
    state.update(type(value).__qualname__.encode())
    if isinstance(value, (*_PLAIN, Path, np.generic)):
        state.update(repr(value).encode())
    elif id(value) in seen:
        return
    elif isinstance(value, np.ndarray):
        state.update(f"{value.dtype}{value.shape}".encode())
        state.update(repr(value.tolist()).encode() if value.dtype.hasobject else value.tobytes())
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            _add_value(state, key, seen | {id(value)})
            _add_value(state, value[key], seen | {id(value)})
    elif isinstance(value, (list, tuple)):
        for item in value:
            _add_value(state, item, seen | {id(value)})
    elif isinstance(value, (FunctionType, functools.partial)) or inspect.ismethod(value):
        _add_callable(state, value, seen | {id(value)})
