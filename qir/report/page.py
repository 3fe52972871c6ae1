"""The report as one HTML page: nothing outside it is needed, neither network nor other files."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path

from jinja2 import ChainableUndefined, Environment, PackageLoader, select_autoescape

from qir import __version__
from qir.ir.atomic import written_aside
from qir.ir.errors import ConfigError
from qir.report.charts import box_chart
from qir.report.missing import missing_parts
from qir.report.numbers import as_number, length_at, metric_kind, number_at
from qir.report.sources import REPORT, FilePath, Sources, page_path, read_sources
from qir.report.trajectory import trajectory
from qir.report.views import (
    distributions,
    drawn_graph,
    error_chart,
    partial_chart,
    ranges,
    rankings,
    similarity_chart,
)

_FIVE = ("least", "lower", "median", "upper", "greatest")


def write_page(
    prefix: FilePath | None, output: FilePath | None = None, debug: FilePath | None = None
) -> Path:
    """Write the page about the files of a prefix, of a folder of `qir debug`, or both; returns its path.

    Without `debug` the folder `<prefix>_debug` is taken if it is there; without `output` the page is
    `<prefix>_report.html`, or `report.html` in the folder. Whatever is missing is said on the page;
    ConfigError when there is nothing at all, or the page cannot be written.
    """
    path = Path(output) if output is not None else page_path(prefix, debug)
    sources = read_sources(prefix, debug)
    if path.exists() and any(path.samefile(read) for read in sources.paths.values()):
        raise ConfigError(
            f"'{path}' is what the report is made of, and is never overwritten; name another file"
        )
    html = render_page(sources, _title(prefix, debug))
    with written_aside(path) as file:
        file.write(html.encode())
    return path


def _title(prefix: FilePath | None, debug: FilePath | None) -> str:
    named = os.path.basename(os.fspath(prefix)) if prefix is not None else ""
    return named or Path(debug or prefix or ".").resolve().name


def render_page(sources: Sources, title: str) -> str:
    """The page as text; the same documents give the same text."""
    template = _environment().get_template("page.html.j2")
    return template.render(
        title=title,
        version=__version__,
        sources=sources,
        number=functools.partial(number_at, sources),
        length=functools.partial(length_at, sources),
        report=sources.get(REPORT) or {},
        missing=missing_parts(sources),
        rankings=rankings(sources),
        similarity=similarity_chart(sources),
        errors=error_chart(sources),
        partial=partial_chart(sources),
        ranges=ranges(sources),
        distributions=distributions(sources),
        channels=_channels(sources),
        search=trajectory(sources),
        graph=drawn_graph(sources),
    )


def _channels(sources: Sources) -> list[Mapping[str, object]]:
    """By node: its name, op, and for each of its box plots a chart and the axis of the channels."""
    found: list[Mapping[str, object]] = []
    for n, node in enumerate(sources.entries("channels", "nodes")):
        boxes = []
        for b, box in enumerate(sources.entries("channels", "nodes", n, "boxes")):
            five = [[_finite(value) for value in box.get(key) or []] for key in _FIVE]
            axis = number_at(sources, "channels", "nodes", n, "boxes", b, "axis", kind="count")
            boxes.append((box_chart(f"{box.get('of')} {box.get('tensor')}", "value", five), axis))
        found.append({"node": node.get("node"), "op": node.get("op"), "boxes": boxes})
    return found


def _finite(value: object) -> float:
    number = as_number(value)
    return float("nan") if number is None else number


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("qir.report"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=ChainableUndefined,  # a document may lack anything
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind_of_metric"] = metric_kind
    return environment
