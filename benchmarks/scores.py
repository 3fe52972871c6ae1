"""Tables of metrics: a row for each case, a column for each quantizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.cases import Case, score_text
from benchmarks.results import Result
from benchmarks.tables import markdown

FLOAT = "FP32"
STATISTICS = "statistics"
"""Names under which a case keeps the score of its float model and the seconds of its calibration."""


def report(
    cases: Sequence[Case],
    results: Mapping[str, Mapping[str, Result]],
    own: Sequence[str],
    peers: Sequence[str],
) -> str:
    """The metrics, the times, and why a quantizer failed."""
    names, scores, times, failures = [*own, *peers], [], [], []
    for case in cases:
        found = results[case.name]
        first = found[own[0]]
        share = f"{100 * float(first['share']):.0f} %" if "share" in first else ""
        cells = (_text(found[name]) for name in (FLOAT, *names))
        scores.append([case.name, case.metric, *cells, str(first.get("layers", "")), share])
        times.append([case.name, *(_seconds(found[name]) for name in (STATISTICS, *names))])
        failures += [f"- {case.name}, {n}: {found[n]['failed']}" for n in names if "failed" in found[n]]
    header = ["case", "metric", FLOAT, *names, "layers in int8", "MACs in int8"]
    found_times = markdown(["seconds", STATISTICS, *names], times)
    text = [markdown(header, scores, left=2), "", found_times]
    return "\n".join([*text, *(["", "Failed:", "", *failures] if failures else [])])


def _text(result: Result) -> str:
    return "failed" if "failed" in result else score_text(float(result["score"]))


def _seconds(result: Result) -> str:
    return f"{float(result['seconds']):.1f}" if "seconds" in result else ""
