"""What is left of the accuracy of real models after quantization, by each method of qir and by its peers?

Every ONNX case of the assets: the metric of the float model; of qir's fake-quant model for every method of
activations and of weights, the default in both forms; of ONNX Runtime's static quantization (MinMax, weights
per tensor and per channel) and with --nncf of NNCF. A case is calibrated once; all methods of qir choose
their scales from these statistics. All use the same data and are scored on the rest of the dev split, in
ONNX Runtime without its int8 kernels. Under the table: ranks and drops over all cases. Run from the
repository's root:

    python -m benchmarks.zoo --nncf --peers peers.json --json results.json [--resume] [--only digits]
    python -m benchmarks.zoo --variants ifmr+arq,ifmr+mse,percentile+mse,ifmr+mse@qdq
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import qir
from benchmarks.assets import Feed
from benchmarks.cases import Case, selected
from benchmarks.quantizers import Quantizer, nncf_quantizer, ort_quantizer, quiet
from benchmarks.ranking import ranking
from benchmarks.results import REASON, Result, Results
from benchmarks.scores import FLOAT, STATISTICS, report
from benchmarks.variants import Variant, all_variants, default_variant, variants
from qir.runtime.statistics_file import Statistics


def main() -> None:
    options = parse_arguments()
    cases = selected(options.only)
    asked = all_variants() if options.variants is None else variants(options.variants)
    peers = [ort_quantizer(per_channel=False), ort_quantizer(per_channel=True)]
    peers += [nncf_quantizer()] if options.nncf else []
    kept, own = Results(options.peers, resume=True), Results(options.json, resume=options.resume)
    results: dict[str, dict[str, Result]] = {}
    for case in cases:
        print(f"{case.name} …", file=sys.stderr)
        found = results[case.name] = {FLOAT: kept.get(f"{case.name}/float", partial(float_score, case))}
        found |= variant_scores(case, asked, own)
        for peer in peers:
            key = f"{case.name}/{peer.name} {peer.version}"
            found[peer.name] = kept.get(key, partial(peer_job, case, peer))
    names, others = [str(variant) for variant in asked], [peer.name for peer in peers]
    print(report(cases, results, names, others))
    print()
    print(ranking(results, names, others, default=str(default_variant())))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="accuracy of real models after quantization")
    parser.add_argument("--only", help="comma-separated cases or beginnings of their names")
    parser.add_argument("--variants", help="comma-separated ACTIVATIONS[+WEIGHTS][@FORM] (default: all)")
    parser.add_argument("--nncf", action="store_true", help="NNCF too (slow)")
    parser.add_argument("--peers", help="file that keeps the results of float models and peers")
    parser.add_argument("--json", help="write the results of qir there, one by one")
    parser.add_argument("--resume", action="store_true", help="take what that file has from an earlier run")
    return parser.parse_args()


def float_score(case: Case) -> Result:
    return {"score": case.score(case.model)}


class Calibration:
    """The data of a case and their statistics, taken at the first need of them."""

    def __init__(self, case: Case) -> None:
        self._case = case

    @cached_property
    def feeds(self) -> list[Feed]:
        return self._case.feeds()

    @cached_property
    def statistics(self) -> tuple[Statistics, float]:
        """The statistics, and the seconds that they took."""
        start = time.perf_counter()
        found = qir.calibrate(self._case.model, self.feeds)
        return found, time.perf_counter() - start

    def seconds(self) -> Result:
        with quiet():
            _ = self.feeds  # the data are loaded before the clock starts
            return {"seconds": self.statistics[1]}

    def quantize(self, variant: Variant, folder: Path) -> Result:
        """Quantize by one method and score the result; seconds are those of quantization and files."""
        statistics, _ = self.statistics
        start = time.perf_counter()
        made = qir.quantize(
            self._case.model,
            self.feeds,
            statistics=statistics,
            output=folder / "qir",
            pipeline=variant.pipeline,
            form=variant.form,
            proof_samples=0,
        )
        seconds = time.perf_counter() - start
        assert made.paths is not None
        layers, share = made.report.layers, made.report.integer_share
        result: Result = {
            "score": self._case.score(made.paths.fake_quant_model),
            "seconds": seconds,
            "sqnr": min(output.sqnr for output in made.report.outputs),
            "layers": f"{sum(layer.is_quantized for layer in layers)}/{len(layers)}",
        }
        return result if share is None else result | {"share": share}


def variant_scores(case: Case, asked: Sequence[Variant], kept: Results) -> dict[str, Result]:
    """The results of all methods from one calibration, by their names; and the seconds that it took."""
    calibration = Calibration(case)
    found = {STATISTICS: kept.get(f"{case.name}/{STATISTICS}", calibration.seconds)}
    for variant in asked:
        job = partial(attempt, partial(calibration.quantize, variant))
        found[str(variant)] = kept.get(f"{case.name}/{variant}", job)
    return found


def peer_job(case: Case, peer: Quantizer) -> Result:
    """Quantize and score a case with a peer; seconds are those of the whole job."""

    def run(folder: Path) -> Result:
        feeds: list[Feed] = case.feeds()
        peer.prepare()
        start = time.perf_counter()
        written = peer.run(case.model, feeds, folder)
        seconds = time.perf_counter() - start
        return {"score": case.score(written), "seconds": seconds}

    return attempt(run)


def attempt(run: Callable[[Path], Result]) -> Result:
    """The result of a job in a folder of its own; a failure is a result too."""
    with tempfile.TemporaryDirectory(prefix="qir-zoo-") as made, quiet():
        try:
            return run(Path(made))
        except Exception as error:  # peers raise anything; the reason stands under the table
            reason = " ".join(str(error).replace(made, "…").split())
            return {"failed": f"{type(error).__name__}: {reason[:REASON]}"}


if __name__ == "__main__":
    main()
