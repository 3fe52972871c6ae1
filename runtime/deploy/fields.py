"""Reads attributes and constants of deploy nodes strictly: what is missing or unknown is an error."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from qir.ir.constant import Constant
from qir.ir.dtypes import DType
from qir.ir.errors import ModelError, did_you_mean
from qir.ir.node import Node, Value


def describe(node: Node) -> str:
    """The node as error messages name it."""
    return f"{node.op} '{node.name}'"


def check_known(node: Node, known: Collection[str]) -> None:
    """ModelError for an attribute that the op does not have."""
    for key in sorted(node.attributes):
        if key not in known:
            raise ModelError(
                f"{describe(node)} has an unknown attribute '{key}'{did_you_mean(key, known)}; "
                f"known: {', '.join(sorted(known))}"
            )


def float_field(node: Node, key: str) -> float:
    """A required FLOAT attribute, finite. ModelError otherwise."""
    item = node.attributes.get(key)
    if item is None:
        raise ModelError(f"{describe(node)} has no attribute '{key}'; it must have one of type FLOAT")
    if not isinstance(item, float):
        raise ModelError(f"attribute '{key}' of {describe(node)} is {_kind(item)}; it must be of type FLOAT")
    if not math.isfinite(item):
        raise ModelError(f"attribute '{key}' of {describe(node)} is {item}; it must be a finite number")
    return item


def integer_field(node: Node, key: str, default: int, allowed: Collection[int]) -> int:
    """An optional INT attribute that is one of `allowed`. ModelError for another value or type."""
    item = node.attributes.get(key, default)
    if not isinstance(item, int):
        raise ModelError(f"attribute '{key}' of {describe(node)} is {_kind(item)}; it must be of type INT")
    if item not in allowed:
        choices = ", ".join(map(str, sorted(allowed)))
        raise ModelError(f"attribute '{key}' of {describe(node)} is {item}; known values: {choices}")
    return item


def text_field(node: Node, key: str, default: str, allowed: Collection[str]) -> str:
    """An optional STRING attribute that is one of `allowed`. ModelError for another value or type."""
    item = node.attributes.get(key, default)
    text = item.decode(errors="replace") if isinstance(item, bytes) else item
    if not isinstance(text, str):
        raise ModelError(f"attribute '{key}' of {describe(node)} is {_kind(item)}; it must be of type STRING")
    if text not in allowed:
        raise ModelError(
            f"attribute '{key}' of {describe(node)} is '{text}'{did_you_mean(text, allowed)}; "
            f"known values: {', '.join(allowed)}"
        )
    return text


def constant_of(value: Value | None) -> Constant | None:
    """The data of an initializer or of a Constant node; None when the value is computed or absent."""
    if value is None or value.constant is not None:
        return None if value is None else value.constant
    node = value.producer
    if node is None or node.op != "Constant":
        return None
    held = node.attributes.get("value")
    return held if isinstance(held, Constant) else None


def array_field(node: Node, index: int, role: str, dtype: DType) -> npt.NDArray[Any]:
    """Input `index` of a node as a constant array of that type; ModelError otherwise."""
    value = node.input(index)
    if value is None:
        raise ModelError(
            f"{describe(node)} has no {role} (input {index}); it must be a {dtype.value} constant"
        )
    held = constant_of(value)
    if held is None:
        raise ModelError(
            f"the {role} '{value.name}' (input {index}) of {describe(node)} is computed at run time; "
            f"it must be a {dtype.value} constant"
        )
    if held.dtype is not dtype:
        raise ModelError(
            f"the {role} '{value.name}' (input {index}) of {describe(node)} is {held.dtype.value}; "
            f"it must be {dtype.value}"
        )
    return np.asarray(held.array)


def _kind(item: object) -> str:
    names = {int: "INT", float: "FLOAT", str: "STRING", bytes: "STRING", Constant: "TENSOR", tuple: "a list"}
    return f"of type {names.get(type(item), type(item).__name__)}"
