"""The options of `qir debug` that stand for arguments of the debug functions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qir.ir.errors import ArgumentError, ConfigError, QirError

_OPTIONS = {
    "axis": "--axis",
    "average_mode": "--average",
    "calibrated_data": "--data",
    "config": "--config",
    "data_num": "--samples",
    "interested_nodes": "--node",
    "method": "--method",
    "metric": "--metric",
    "metrics": "--metric",
    "node_type": "--type",
    "nodes_list": "--node",
    "non_quantize_node": "--without",
    "output_node": "--output-node",
    "pick_threshold": "--threshold",
    "pipeline": "--pipeline",
    "quantize_node": "--only",
    "sensitive_nodes": "--node",
    "skip": "--skip",
    "statistics": "--stats",
    "target": "--target",
}


def message_of(error: QirError) -> str:
    """The message of an error, with options in the place of arguments."""
    if not isinstance(error, ArgumentError):
        return str(error)
    names = (_OPTIONS.get(name, name) for name in error.arguments)
    return f"{', '.join(dict.fromkeys(names))}: {error.reason}"


@contextmanager
def options_named() -> Iterator[None]:
    """Let errors of the block that name arguments name options."""
    try:
        yield
    except ArgumentError as error:
        raise ConfigError(message_of(error)) from error
