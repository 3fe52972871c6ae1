"""Looks at the files of a quantized model before they are published: ATC's rules, and the proof."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from qir.backends.ascend.check import Finding, check
from qir.backends.fake_quant import lower
from qir.backends.files import Paths, write_and_look
from qir.backends.proof import prove
from qir.backends.proof_result import Proof
from qir.frontends.onnx import read_model
from qir.ir.graph import Graph
from qir.runtime.memory import return_freed_memory
from qir.runtime.session import Feeds

PROOF_SAMPLES = 2
"""Samples on which the deploy graph is compared with the fake-quant graph unless told otherwise."""


@dataclass(frozen=True)
class Inspected:
    """Where the files are, what ATC's rules say about the deploy graph, and the proof (None: no samples)."""

    paths: Paths
    findings: tuple[Finding, ...]
    proof: Proof | None


def write_inspected_files(
    graph: Graph, prefix: str | os.PathLike[str], form: str, feeds: Feeds | None, samples: Sequence[Feeds]
) -> Inspected:
    """Write the files of a completely quantized graph, read both models back, check and prove them.

    The proof runs on `samples`; the rest is as in `write_files`, but with `feeds` form ascend is tried
    without ONNX Runtime's optimizations: the proof, or who has compared its outputs, runs it with them.
    BackendError when the proof fails: then no file is left.
    """

    def look(paths: Paths) -> tuple[tuple[Finding, ...], Proof | None]:
        return inspect_files(graph, paths, form, samples)

    optimize = form != "ascend" or feeds is None  # with samples, others run form ascend optimized
    paths, (findings, proof) = write_and_look(graph, prefix, form, feeds, look, optimize)
    return Inspected(paths, findings, proof)


def inspect_files(
    graph: Graph, paths: Paths, form: str, samples: Sequence[Feeds]
) -> tuple[tuple[Finding, ...], Proof | None]:
    """Read both models of `graph` back, check and prove them (without samples: None).

    BackendError when the proof fails.
    """
    deploy = read_model(paths.deploy_model)
    # Form qdq divides by the scale: the twin of the deploy graph is form ascend.
    fake_quant = read_model(paths.fake_quant_model) if form == "ascend" else lower(graph)
    return_freed_memory()
    found = check(deploy), prove(fake_quant, deploy, samples) if samples else None
    fake_quant.release()
    deploy.release()
    return found
