"""Runs a written model file as a user would: ONNX Runtime opens the path itself, external data included."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort

from qir.ir.errors import ModelError
from qir.runtime.arena import share_arena
from qir.runtime.memory import return_freed_memory
from qir.runtime.ort_errors import short
from qir.runtime.session import EXACT_INT8, Feeds
from qir.runtime.units import Array


class ModelFile:
    """A model file opened in ONNX Runtime with its default options; ModelError when it cannot be.

    `exact` keeps int8 arithmetic from saturating, see `qir.runtime.session.EXACT_INT8`; `threads` is the
    number of threads within one run; `shared` as for Session. `run` may be called from several threads at a
    time.
    """

    def __init__(
        self, path: Path, exact: bool = False, threads: int | None = None, *, shared: bool = False
    ) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads or 0
        if shared:
            share_arena(options)
        if exact:
            options.add_session_config_entry(*EXACT_INT8)
        self.exact = exact
        self._path = path
        self._options = ort.RunOptions()
        self._options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the exceptions of ONNX Runtime have no base of their own
            raise ModelError(f"ONNX Runtime cannot load '{path.name}': {short(str(error))}") from error
        return_freed_memory()  # optimizing copies the weights, more than once

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs."""
        return tuple(output.name for output in self._session.get_outputs())

    def run(self, feeds: Feeds, names: Sequence[str] | None = None) -> dict[str, Array]:
        """Outputs by name (or only those called `names`); ModelError when the run fails."""
        wanted = self.outputs if names is None else tuple(names)
        try:
            return dict(zip(wanted, self._session.run(wanted, dict(feeds), self._options), strict=True))
        except Exception as error:  # as above
            reason = short(str(error))
            raise ModelError(f"ONNX Runtime cannot run '{self._path.name}': {reason}") from error

    def stop(self) -> None:
        """Make the runs under way fail soon, and all later ones."""
        self._options.terminate = True
