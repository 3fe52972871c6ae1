"""The files of the best model so far: always whole and in their place until those of a better one come."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qir.backends.fake_quant import lower
from qir.backends.files import Paths, output_paths, stale_files, write_ascend, write_files
from qir.backends.inspection import Inspected, inspect_files
from qir.backends.layers import Integers
from qir.frontends.onnx import WrittenNodes, save_model
from qir.ir.errors import BackendError, ConfigError
from qir.ir.garbage import collector_paused
from qir.ir.graph import Graph
from qir.runtime.session import Feeds
from qir.search.amct_files import FINAL_CONFIG_FILE

_STEP = "step"
_READY = "ready"
"""The folder whose files are whole and on their way into place."""


@dataclass(frozen=True)
class Place:
    """Where a search writes: files of the prefix, and a folder of its own beside them while it runs.

    What is to be in place is written in that folder, so that a killed search leaves nothing else behind, and
    the next one clears it. Without `deploys`, of a target that has no deploy model, the fake-quant model is
    all there is.
    """

    output: str
    form: str
    samples: Sequence[Feeds]
    deploys: bool = True
    # What models of the search have in common: made, and written, once.
    _integers: Integers = field(default_factory=Integers, init=False, repr=False, compare=False)
    _nodes: WrittenNodes = field(default_factory=WrittenNodes, init=False, repr=False, compare=False)
    _deployed: WrittenNodes = field(default_factory=WrittenNodes, init=False, repr=False, compare=False)

    @property
    def paths(self) -> Paths:
        """The files of the best model."""
        return output_paths(self.output)

    @property
    def files(self) -> tuple[Path, ...]:
        """Those of them that there are for the target."""
        return self.paths if self.deploys else (self.paths.fake_quant_model,)

    @property
    def folder(self) -> Path:
        """The folder of the files."""
        return self.paths.record.parent

    @property
    def scratch(self) -> Path:
        """The folder that lives as long as the search."""
        return self.folder / (f".{self._name}_search" if self._name else ".search")

    def clear(self) -> None:
        """Empty the folder of the search; BackendError when it cannot be made.

        Files that a killed search was about to move into place are moved: those there are of one model again.
        """
        try:
            for path in (self.scratch / _READY).glob("*"):
                os.replace(path, self.folder / path.name)
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch.mkdir(parents=True)
        except OSError as error:
            raise BackendError(f"'{self.scratch}' cannot be made: {error.strerror}") from error

    def remove_scratch(self) -> None:
        """Remove the folder of the search."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def write_candidate(self, graph: Graph, number: int) -> Path:
        """The fake-quant model of a configuration, for the evaluator to look at; uses up its graph."""
        folder = self.scratch / f"{_STEP}{number}"
        folder.mkdir()
        return self._write_fake_quant(graph, folder)

    def remove_candidates(self) -> None:
        """Remove the models that have been evaluated."""
        for folder in self.scratch.glob(f"{_STEP}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, graph: Graph) -> None:
        """Write all files of a model and move them into place."""
        aside = self.scratch / "best"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        if self.deploys:
            write_files(graph, os.path.join(aside, self._name), self.form, self.samples[0])
        else:
            self._write_fake_quant(graph.clone(), aside)
        self._move(aside)

    def publish_candidate(self, graph: Graph, candidate: Path) -> None:
        """As `publish`, with the fake-quant model that the evaluator has run: it needs no trial.

        Uses up the graph.
        """
        aside = Paths(*(candidate.with_name(path.name) for path in self.paths))
        try:
            if self.deploys:
                with collector_paused():
                    write_ascend(graph, aside, self._name or graph.name, self._integers, self._deployed)
                    graph.release()
        except (OSError, ConfigError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise BackendError(f"the files '{self.output}_…' cannot be written: {reason}") from error
        self._move(candidate.parent)

    def inspect(self, graph: Graph, samples: int) -> Inspected:
        """Check and prove on some samples the files in place, which are those of `graph`.

        They are removed when that fails. Without a deploy model there is nothing to prove.
        """
        if not self.deploys:
            return Inspected(self.paths, (), None)
        try:
            findings, proof = inspect_files(graph, self.paths, self.form, self.samples[:samples])
        except BaseException:
            self.remove_published()
            raise
        return Inspected(self.paths, findings, proof)

    def remove_published(self) -> None:
        """Remove the files of a model, so that nothing looks like success; their data files too."""
        for path in (*self.paths, self.folder / FINAL_CONFIG_FILE):
            path.unlink(missing_ok=True)
            Path(f"{path}.data").unlink(missing_ok=True)

    def _write_fake_quant(self, graph: Graph, folder: Path) -> Path:
        path = folder / self.paths.fake_quant_model.name
        lowered = lower(graph, self.form, self.samples[0], self._integers, in_place=True)
        save_model(lowered, path, written=self._nodes)
        lowered.release()
        graph.release()  # form qdq lowers a copy
        return path

    @property
    def _name(self) -> str:
        return os.path.basename(self.output)

    def _move(self, aside: Path) -> None:
        """Move the files of a folder into place, data of large models first; none of another model stay.

        From the moment when the folder is called `_READY`, a killed search leaves the rest to the next one:
        `clear` moves what is still in it.
        """
        try:
            ready = self.scratch / _READY
            os.replace(aside, ready)
            for path in stale_files(self.paths, {path.name for path in ready.iterdir()}):
                path.unlink()
            for path in sorted(ready.iterdir(), key=lambda path: path.suffix != ".data"):
                os.replace(path, self.folder / path.name)
            ready.rmdir()
        except OSError as error:
            raise BackendError(f"the files '{self.output}_…' cannot be written: {error.strerror}") from error
