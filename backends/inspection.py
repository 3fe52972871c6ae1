"""Looks at the files of a quantized model before they are published: its outputs, ATC's rules, the proof."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

from qir.backends.ascend.check import Finding, check
from qir.backends.fake_quant import lower
from qir.backends.files import Paths, write_and_look
from qir.backends.proof import Prover
from qir.backends.proof_result import Proof
from qir.frontends.onnx import read_model
from qir.ir.graph import Graph
from qir.ir.quants import is_quant
from qir.ir.types import spec_of
from qir.runtime.compare import OutputComparison, Recording, compare_recorded
from qir.runtime.memory import return_freed_memory
from qir.runtime.progress import SILENT, Progress
from qir.runtime.run_file import ModelFile
from qir.runtime.session import Feeds

PROOF_SAMPLES = 2
"""Samples on which the deploy graph is compared with the fake-quant graph unless told otherwise."""
_ALL_FLOAT = Finding(
    "info",
    "all-float",
    "",
    "no layer computes in integers, so the deploy model is a float model for the board",
    "nothing is to be done where that was asked for",
)
LARGE = 64 << 20
"""Bytes of constants from which on one thing is made of them after the other, to keep memory low."""


@dataclass(frozen=True)
class Inspected:
    """Where the files are, what ATC's rules say about the deploy graph, and the proof (None: no samples).

    `outputs` say how near those of the fake-quant model are to recorded ones.
    """

    paths: Paths
    findings: tuple[Finding, ...]
    proof: Proof | None
    outputs: tuple[OutputComparison, ...] = ()


def write_inspected_files(
    graph: Graph,
    prefix: str | os.PathLike[str],
    form: str,
    samples: Sequence[Feeds],
    proven: int | None = None,
    recording: Future[Recording] | None = None,
    progress: Progress = SILENT,
    *,
    deploys: bool = True,
) -> Inspected:
    """Write the files of a completely quantized graph, read both models back, check and prove them.

    The proof runs on the first `proven` of the `samples` (None: all). `recording`, which may still be under
    way, is of the float model, with whose outputs those of the written fake-quant model are compared. Without
    samples, the model is tried on made-up inputs; the rest is as in `write_files`. BackendError when the
    proof fails: then no file is left. Without `deploys` there is only the fake-quant model, and nothing to
    prove.
    """

    def examine(model: ModelFile) -> tuple[OutputComparison, ...]:
        return () if recording is None else compare_recorded(recording.result(), model, progress)

    def look(paths: Paths) -> Callable[[tuple[OutputComparison, ...] | None], Inspected]:
        early = None if large or not deploys else _ReadBack(graph, paths, form, samples[:proven])

        def end(outputs: tuple[OutputComparison, ...] | None) -> Inspected:
            if not deploys:
                return Inspected(paths, (), None, outputs or ())
            with progress.task("prove", None):
                read = early or _ReadBack(graph, paths, form, samples[:proven])
                return Inspected(paths, read.findings, read.prove(), outputs or ())

        return end

    large = sum(v.constant.data.nbytes for v in graph.constants if v.constant is not None) > LARGE
    feeds = samples[0] if samples else None
    tried = None if recording is None else examine
    paths, seen = write_and_look(graph, prefix, form, feeds, look, tried, deploys=deploys)
    return replace(seen, paths=paths)


def inspect_files(
    graph: Graph, paths: Paths, form: str, samples: Sequence[Feeds]
) -> tuple[tuple[Finding, ...], Proof | None]:
    """Read both models of `graph` back, check and prove them (without samples: None).

    BackendError when the proof fails.
    """
    read = _ReadBack(graph, paths, form, samples)
    return read.findings, read.prove()


class _ReadBack:
    """Both models as their files have them, checked, and ready to be proven on samples."""

    def __init__(self, graph: Graph, paths: Paths, form: str, samples: Sequence[Feeds]) -> None:
        self._samples = samples
        self._deploy = read_model(paths.deploy_model)
        self.findings = check(self._deploy) if _has_integers(graph) else (_ALL_FLOAT,)
        self._fake_quant: Graph | None = None
        if samples:
            # Form qdq divides by the scale: the twin of the deploy graph is form ascend.
            self._fake_quant = read_model(paths.fake_quant_model) if form == "ascend" else lower(graph)
            return_freed_memory()
            self._prover = Prover(self._fake_quant, self._deploy, samples[0])

    def prove(self) -> Proof | None:
        """The proof, once; None without samples. The models are released."""
        proof = None
        if self._fake_quant is not None:
            proof = self._prover.run(self._samples)
            self._fake_quant.release()
        self._deploy.release()
        return proof


def _has_integers(graph: Graph) -> bool:
    """Whether anything in a closed graph is rounded to integers."""
    quants = (node.output.tensor.quant for node in graph.nodes if is_quant(node))
    return any(quant is not None and spec_of(quant).qtype.is_integer for quant in quants)
