"""The work of `qir check`: print the findings on a deploy graph, worst first."""

from __future__ import annotations

from collections.abc import Sequence

import click

from qir.backends.ascend.check import Finding, Severity, check
from qir.cli.model_argument import ModelPath
from qir.models import load

LISTED = 3
"""Findings of one rule that other commands show; they count the rest."""


def run_job(model: ModelPath, strict: bool) -> None:
    """Print findings and their number to stdout; exit code 1 for errors (with `strict` for warnings too)."""
    found = check(load(model))
    for line in finding_lines(found):
        click.echo(line)
    counts = {
        severity: sum(f.severity == severity for f in found) for severity in ("error", "warning", "info")
    }
    click.echo(", ".join(_count(n, severity) for severity, n in counts.items()))
    if counts["error"] or (strict and counts["warning"]):
        raise click.exceptions.Exit(1)


def finding_lines(findings: Sequence[Finding], listed: int | None = None) -> list[str]:
    """Each finding on two lines; of one rule and severity no more than `listed`, the rest counted."""
    lines: list[str] = []
    seen: dict[tuple[Severity, str], int] = {}
    for finding in findings:
        key = finding.severity, finding.rule
        seen[key] = seen.get(key, 0) + 1
        if listed is not None and seen[key] > listed:
            continue
        where = f" '{finding.node}'" if finding.node else ""
        lines += [f"{finding.severity} [{finding.rule}]{where}: {finding.sentence}", f"    {finding.cure}"]
    for (severity, rule), count in seen.items():
        if listed is not None and count > listed:
            lines.append(f"{severity} [{rule}]: {count - listed} more, see `qir check`")
    return lines


def _count(number: int, severity: str) -> str:
    plural = "s" if number != 1 and severity != "info" else ""
    return f"{number} {severity}{plural}"
