"""The files that AMCT writes about a search: the sensitivity of the layers, and the history of the rollbacks.

Both are JSON with an indent of 4 and no space behind colons. The history is several JSON objects one behind
the other, without anything between them: `{"roll_back_config": {layer: true when quantized}, "metric_eval":
[satisfied, loss]}` for each step.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qir.ir.atomic import written_aside
from qir.ir.errors import ConfigError
from qir.search.ranking import Ranking
from qir.search.strategies.base import Flags, MetricEval

RANKING_FILE = "accuracy_based_auto_calibration_ranking_information.json"
HISTORY_FILE = "accuracy_based_auto_calibration_record.json"
FINAL_CONFIG_FILE = "accuracy_based_auto_calibration_final_config.json"
LOG_FOLDER = "amct_log"


class HistoryEntry(NamedTuple):
    """One step: which layers were quantized, and what `metric_eval` said."""

    flags: Flags
    metric_eval: MetricEval


def print_ranking(ranking: Ranking) -> str:
    """The sensitivity file: `[layer, score]` pairs, the most sensitive layer first."""
    return _print([[name, ranking.scores[name]] for name in ranking.worst_first])


def parse_ranking(text: str) -> dict[str, float]:
    """Layer -> score of a sensitivity file; ConfigError when it is none."""
    try:
        return {str(name): float(score) for name, score in json.loads(text)}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"this is no list of [layer, score] pairs: {error}") from error


def print_history(entries: Sequence[HistoryEntry]) -> str:
    """The rollback history."""
    return "".join(
        _print({"roll_back_config": entry.flags, "metric_eval": list(entry.metric_eval)}) for entry in entries
    )


def parse_history(text: str) -> list[HistoryEntry]:
    """The steps of a rollback history; ConfigError when it is none."""
    try:
        return [
            HistoryEntry(dict(item["roll_back_config"]), (item["metric_eval"][0], item["metric_eval"][1]))
            for item in _concatenated(text)
        ]
    except (TypeError, KeyError, IndexError, ValueError) as error:
        raise ConfigError(f"this is no rollback history: {error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, its folder included; ConfigError when the place cannot be written."""
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise ConfigError(f"the folder '{path.parent}' cannot be made: {error.strerror}") from error
    with written_aside(path) as file:
        file.write(text.encode())


def _concatenated(text: str) -> Iterator[Any]:
    decoder, place = json.JSONDecoder(), 0
    while place < len(text.rstrip()):
        item, end = decoder.raw_decode(text[place:].lstrip())
        place += len(text[place:]) - len(text[place:].lstrip()) + end
        yield item


def _print(item: object) -> str:
    return json.dumps(item, indent=4, separators=(",", ":"), ensure_ascii=False)
