"""All debug functions into one folder, and an index of what is there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qir.config.open import ConfigSource
from qir.debug.channels import channel_table
from qir.debug.distribution import distribution_table
from qir.debug.error import error_table
from qir.debug.files import FilePath, prepare, write_nodes, write_table
from qir.debug.opened import DebugModel, Opened, open_model
from qir.debug.partial import partial_table
from qir.debug.plots.bars import sensitivity_plot
from qir.debug.plots.boxes import channels_plot
from qir.debug.plots.curves import error_plot, partial_plot
from qir.debug.plots.histograms import distribution_plot
from qir.debug.selection import Nodes
from qir.debug.sensitivity import sensitivity_table
from qir.debug.tables import FORMAT, NODE_TYPES, SensitivityTable
from qir.ir.atomic import written_aside
from qir.ir.errors import QirError
from qir.report.page import write_page
from qir.report.plain import Json, json_text
from qir.runtime.data import DataSource
from qir.runtime.metrics import Metric

WORST = 5
"""So many of the worst nodes have pictures of their distributions."""


@dataclass(frozen=True)
class Step:
    """One of the jobs of `runall`: the JSON file it left in the folder, or why there is none."""

    kind: str
    file: str | None
    error: QirError | None = None

    @property
    def problem(self) -> str | None:
        """The message of the error."""
        return None if self.error is None else str(self.error)


@dataclass(frozen=True)
class Everything:
    """What `runall` left: the folder, a step for each table, and the page that shows them all.

    `tables` are those of the sensitivities.
    """

    folder: Path
    steps: tuple[Step, ...]
    tables: tuple[SensitivityTable, ...]
    page: Path


def runall(
    model: DebugModel,
    calibrated_data: DataSource | None,
    save_dir: FilePath,
    metrics: str | Metric | Sequence[str | Metric] = "cosine-similarity",
    output_node: str | None = None,
    data_num: int | None = None,
    interested_nodes: Nodes | None = None,
    quantize_node: Nodes | None = None,
    non_quantize_node: Nodes | None = None,
    metric: str | Metric = "cosine-similarity",
    average_mode: bool = False,
    axis: int | None = None,
    pick_threshold: float = 0.999,
    *,
    plot: bool = True,
    config: ConfigSource | None = None,
) -> Everything:
    """Everything into one folder: sensitivity of nodes, weights and activations, histograms and channels of
    the 5 worst nodes, error along the graph, partial quantization; debug.json, which lists them, and
    report.html, a page that shows them without a network.

    `metrics`, `output_node` and `interested_nodes` are those of `get_sensitivity_of_nodes`; `quantize_node`,
    `non_quantize_node`, `metric` and `average_mode` those of `plot_acc_error`; `axis` that of
    `get_channelwise_data_distribution`; `pick_threshold` that of `sensitivity_analysis`; `data_num` that of
    all but the last, which takes 1 sample. A job that fails leaves its message in the index, and
    the others go on; the error of the first is raised, a QirError that says what to do.
    """
    folder = prepare(save_dir, plot=plot)
    opened = open_model(model, calibrated_data, config=config)
    tables: list[SensitivityTable] = []

    def rank(node_type: str) -> None:
        table = sensitivity_table(opened, metrics, output_node, node_type, data_num, interested_nodes)
        write_table(table, folder, sensitivity_plot if plot else None)
        tables.append(table)

    def accumulate() -> None:
        table = error_table(opened, quantize_node, non_quantize_node, metric, average_mode, data_num)
        write_table(table, folder, error_plot if plot else None)

    def distribute() -> None:
        table = distribution_table(opened, _worst(tables[0]), data_num)
        write_nodes(table, folder, distribution_plot if plot else None)

    def spread() -> None:
        table = channel_table(opened, _worst(tables[0]), axis, data_num)
        write_nodes(table, folder, channels_plot if plot else None)

    def raise_nodes() -> None:
        write_table(partial_table(opened, pick_threshold), folder, partial_plot if plot else None)

    jobs: dict[str, Callable[[], None]] = {
        f"sensitivity_{of}": functools.partial(rank, of) for of in NODE_TYPES
    }
    jobs |= {"error": accumulate, "distribution": distribute, "channels": spread, "partial": raise_nodes}
    steps = _run(jobs)
    _write_index(folder, opened, tables[0].samples, steps)
    page = write_page(None, folder / "report.html", folder)
    return Everything(folder, steps, tuple(tables), page)


def _worst(table: SensitivityTable) -> list[str]:
    """The nodes of the worst rows."""
    return [name for row in table.rows for name in row.nodes][:WORST]


def _run(jobs: Mapping[str, Callable[[], None]]) -> tuple[Step, ...]:
    """Run jobs, by file; the error of the first is raised, those of the others are noted."""
    steps: list[Step] = []
    for stem, work in jobs.items():
        kind = stem.partition("_")[0]
        try:
            work()
        except QirError as error:
            if not steps:
                raise
            steps.append(Step(kind, None, error))
        else:
            steps.append(Step(kind, f"{stem}.json"))
    return tuple(steps)


def _write_index(folder: Path, opened: Opened, samples: int, steps: Sequence[Step]) -> None:
    """debug.json: what is in the folder, and why something is not."""
    listed: list[Json] = [{"kind": s.kind, "file": s.file, "problem": s.problem} for s in steps]
    text = json_text(
        {"format": FORMAT, "kind": "debug", "model": opened.name, "samples": samples, "steps": listed}
    )
    with written_aside(folder / "debug.json") as file:
        file.write(text.encode())
