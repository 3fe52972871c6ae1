"""What a search is of: a float model, its data, the passes that quantize it, and who judges the results."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qir import __version__
from qir.backends.files import output_paths
from qir.backends.targets import Target, target_named
from qir.config.layers import Model, exact_passes, model_of
from qir.config.open import ConfigSource
from qir.config.outline import outline
from qir.config.run import configured_pipeline
from qir.frontends.onnx import save_model
from qir.ir.errors import ConfigError
from qir.ir.fingerprint import fingerprint_of
from qir.ir.graph import Graph
from qir.models import CaffeFiles, FilePath, load
from qir.passes.base import Pass
from qir.passes.context import Context
from qir.passes.insertion.selection import check_layers, skip_list
from qir.passes.manager import PassManager
from qir.passes.pipeline import print_pipeline
from qir.quantization import configure
from qir.runtime.data import DataSource, open_data
from qir.runtime.progress import SILENT, Progress
from qir.runtime.statistics_file import Statistics
from qir.runtime.units import CalibrationData
from qir.samples import PREFIX, sample_named
from qir.search.evaluators import Evaluator
from qir.search.fingerprints import Fingerprints, statistics_digest, text_digest

ModelArgument = FilePath | bytes | CaffeFiles | Graph


@dataclass(frozen=True)
class SearchInputs:
    """A model, `original` as it came and `exact` after the exact passes, and what quantizes and judges it.

    `passes` are all of the pipeline; `model_file` is the model as the user's file (None: it is written for
    the evaluator), `model` what configurations can say of it; `settings` is what else results depend on.
    """

    original: Graph
    exact: Graph
    model: Model
    model_file: Path | None
    passes: tuple[Pass, ...]
    context: Context
    evaluator: Evaluator
    settings: Mapping[str, str]

    @property
    def data(self) -> CalibrationData:
        """The calibration data."""
        assert self.context.data is not None  # open_inputs always has some
        return self.context.data

    @property
    def quantizing(self) -> tuple[Pass, ...]:
        """The passes that follow the exact ones."""
        return self.passes[len(exact_passes(self.passes)) :]

    def fingerprints(self, data: str, sensitivity: str, form: str) -> Fingerprints:
        """Of everything that metrics and rankings depend on; `data` is the digest of the samples."""
        print_ = fingerprint_of(self.original).to_json()
        weights = print_.pop("constants")
        config = {"pipeline": print_pipeline(self.passes), "form": form, **self.settings}
        return Fingerprints(
            weights=text_digest(repr(weights)),
            graph=text_digest(repr(print_)),
            config=text_digest(repr(sorted(config.items()))),
            data=data,
            evaluator=self.evaluator.fingerprint(),
            sensitivity=sensitivity,
        )

    def file_for_evaluator(self, folder: Path) -> Path:
        """The original model as an ONNX file: the user's, or one written into `folder`."""
        if self.model_file is not None:
            return self.model_file
        path = folder / "original.onnx"
        save_model(self.original, path)
        return path

    def check_survive(self, output: str) -> None:
        """ConfigError when a file of the prefix is the input model: it is never overwritten."""
        source = self.model_file
        for path in output_paths(output):
            if source is not None and path.exists() and source.exists() and path.samefile(source):
                raise ConfigError(
                    f"'{path}' is the input model; choose another output prefix, it is never overwritten"
                )


def open_inputs(
    model: ModelArgument,
    data: DataSource,
    evaluator: Evaluator,
    *,
    statistics: Statistics | str | os.PathLike[str] | None = None,
    target: str = "ascend",
    pipeline: str = "default",
    config: ConfigSource | None = None,
    method: str = "ifmr",
    skip: Sequence[str] = (),
    progress: Progress | None = None,
) -> SearchInputs:
    """Open model and data, and see that everything fits together; the arguments are those of `quantize`.

    Raises a QirError that says what to do.
    """
    chosen = target_named(target)
    original = model if isinstance(model, Graph) else load(model)
    passes = configure(chosen, pipeline, method, skip)
    if config is not None:
        passes = configured_pipeline(original, config, chosen, passes)
    known = Statistics.load(statistics) if isinstance(statistics, (str, os.PathLike)) else statistics
    opened = open_data(data, original)
    context = Context(data=opened, statistics=known, rules=chosen.rules, progress=progress or SILENT)
    exact, seen = _after_exact_passes(original, passes, chosen)
    check_layers("skip", skip_list(skip).layers, exact, chosen.rules)  # before the evaluator takes its time
    settings = {"target": target, "version": __version__, "statistics": statistics_digest(known)}
    return SearchInputs(original, exact, seen, _file_of(model), passes, context, evaluator, settings)


def _after_exact_passes(original: Graph, passes: Sequence[Pass], target: Target) -> tuple[Graph, Model]:
    graph = original.clone()
    PassManager(exact_passes(passes)).run(graph, Context(rules=target.rules))
    return graph, model_of(outline(original), graph, target)


def _file_of(model: ModelArgument) -> Path | None:
    """The ONNX file that the user gave; None for everything else."""
    if not isinstance(model, (str, os.PathLike)):
        return None
    text = os.fspath(model)
    path = sample_named(text).model if text.startswith(PREFIX) else Path(text)
    return Path(path) if Path(path).suffix == ".onnx" else None
