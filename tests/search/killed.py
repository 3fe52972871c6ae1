"""A search in a process that may be killed: every call of its evaluator leaves a line in a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from chain import Counting, chain, floats, in_order, samples
from heights import Least, heights

import qir

NEEDED = {"g0", "g3"}
HEIGHTS = {"g0": "float16", "g2": "int16"}


def logged(log: Path, model: object, measure: Callable[[], object]) -> object:
    """Write down what a model is, before and after measuring it takes its time."""
    for word in ("begin", "end"):
        with log.open("a") as file:
            file.write(f"{word} {model}\n")
        if word == "begin":
            time.sleep(0.05)
            metric = measure()
    return metric


class Logged(Counting):
    def __init__(self, log: Path) -> None:
        super().__init__(NEEDED)
        self.log = log

    def evaluate(self, model_file: str) -> object:
        names = ",".join(sorted(floats(model_file)))
        return logged(self.log, names, lambda: Counting.evaluate(self, model_file))


class LoggedHeights(Least):
    def __init__(self, log: Path) -> None:
        super().__init__(HEIGHTS)
        self.log = log

    def evaluate(self, model_file: str) -> float:
        metric = logged(self.log, heights(model_file), lambda: Least.evaluate(self, model_file))
        assert isinstance(metric, float)
        return metric


def run(folder: str) -> None:
    """The search; it goes on where the last one in this folder was killed."""
    place = Path(folder)
    qir.auto_quantize(
        chain(), samples(), Logged(place / "log.txt"), output=place / "c", strategy="Refine",
        sensitivity=in_order, proof_samples=1,
    )  # fmt: skip
    (place / "done").touch()


def tune(folder: str) -> None:
    """The same for tuning."""
    place = Path(folder)
    qir.tune(
        chain(), samples(), LoggedHeights(place / "log.txt"), output=place / "c", sensitivity=in_order,
        proof_samples=1,
    )  # fmt: skip
    (place / "done").touch()
