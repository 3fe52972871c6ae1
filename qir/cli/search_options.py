"""Options of the commands that search, `qir auto` and `qir tune`, in the groups in which help shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from qir.cli.settings import (
    calibration_data_option,
    debug_option,
    form_option,
    prefix_option,
    proof_samples_option,
    quiet_option,
    skip_option,
)

C = TypeVar("C", bound=Callable[..., object])


def _together(*options: Callable[[C], C]) -> Callable[[C], C]:
    """One decorator that adds all options, in the order in which help shows them."""

    def decorate(command: C) -> C:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


accuracy_options = _together(
    calibration_data_option,
    click.option(
        "--stats", metavar="STATS.npz",
        help="Statistics of `qir calibrate`: --data only rank and prove then.",
    ),
    click.option(
        "--evaluator", required=True, metavar="FILE.py[:NAME]",
        help="Class of AMCT's contract or function (model file -> metric); or top1:, top5:, cosine:, "
        "sqnr:FILE.npz.",
    ),
    click.option("--max-drop", type=float, metavar="X", help="What the metric may lose."),
    click.option(
        "--at-least", type=float, metavar="X", help="What the metric must reach (instead of --max-drop)."
    ),
    click.option("--lower-is-better", is_flag=True, help="The metric is an error: it must not grow."),
    click.option("--relative", is_flag=True, help="--max-drop is a share of the original model's metric."),
    prefix_option,
)  # fmt: skip
"""What is to be searched with, what must be kept, and where files go."""

ranking_options = _together(
    click.option(
        "--strategy", default="BinarySearch", show_default=True, help="BinarySearch, Greedy, or Refine."
    ),
    click.option(
        "--sensitivity", default="cosine-similarity", show_default=True, help="Metric that ranks the layers."
    ),
    click.option(
        "--sensitivity-mode", type=click.Choice(("layer", "model")), default="model", show_default=True,
        help="Whose output is compared: the layer's own, as AMCT does, or the model's, which spares more "
        "layers.",
    ),
)  # fmt: skip
"""In which order layers are tried."""

ending_options = _together(
    click.option("--max-evaluations", type=click.IntRange(min=2), metavar="N", help="Stop after so many."),
    click.option(
        "--max-time", type=float, metavar="SECONDS", help="Start no evaluation after so long."
    ),
    click.option(
        "--keep-best", is_flag=True, help="Write the nearest model even if none keeps the accuracy."
    ),
    click.option("--restart", is_flag=True, help="Begin anew, whatever the journal says."),
)  # fmt: skip
"""When the search ends, and from where it goes on."""

result_options = _together(
    skip_option,
    form_option,
    proof_samples_option,
    click.option(
        "--report", is_flag=True,
        help="Compare outputs and layers of the result with the float model, and write PREFIX_report.html.",
    ),
    quiet_option,
    debug_option,
)  # fmt: skip
"""What becomes of the layers, and what is said of the result."""
