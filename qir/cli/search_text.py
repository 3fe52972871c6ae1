"""What the commands that search say alike: steps while they run, what it took, and why there is no model."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from qir.cli.layer_table import print_line
from qir.cli.progress import RichProgress
from qir.console import plain_console
from qir.search.steps import Listener, SearchResult, Step


def telling(progress: RichProgress, line: Callable[[Step], str], quiet: bool) -> Listener:
    """A listener that shows the line of each step above the progress bars; with `quiet` nothing."""

    def tell(step: Step) -> None:
        if not quiet:
            progress.say(line(step))

    return tell


def source_text(step: Step) -> str:
    """Where the metric of a step is from: the seconds that the evaluator took, or the journal."""
    return "from the journal" if step.from_journal else f"{step.seconds:.1f} s"


def metric_text(metric: object) -> str:
    """A metric as it fits into a line; evaluators may return anything."""
    return f"{metric:.6g}" if isinstance(metric, float) else f"{metric!r:.60}"


def change_lines(result: SearchResult) -> Iterator[str]:
    """Which inputs are others than those of the journal, if any, and what of it still counts."""
    if result.changed:
        yield f"changed since the last run: {', '.join(result.changed)}; {_what_counts(result.changed)}"


def _what_counts(changed: Sequence[str]) -> str:
    if "evaluator" in changed:
        return "metrics of then do not count"
    if set(changed) == {"sensitivity"}:
        return "metrics of then count, layers are ranked anew"
    return "of the metrics of then that of the original model alone counts"


def evaluation_line(result: SearchResult) -> str:
    """How many models were evaluated, and what that and all the rest took."""
    return (
        f"{result.evaluations} evaluations took {result.evaluator_seconds:.1f} s, {result.journalled} came "
        f"from the journal; everything else took {result.seconds - result.evaluator_seconds:.1f} s"
    )


def print_errors(lines: Iterable[str]) -> None:
    """Print lines to stderr, names as they are."""
    console = plain_console(stderr=True)
    for line in lines:
        print_line(console, line)
