"""The quantizers that benchmarks compare: qir and its peers, each as one job from a model file to files.

A quantizer first imports what it needs (`prepare`), so that a clock can start after that, and then does the
whole job (`run`): read the model, calibrate, write. `run` returns the file that ONNX Runtime can run.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import pkgutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.assets import Feed

Job = Callable[[Path, Sequence[Feed], Path], Path]


@dataclass(frozen=True)
class Quantizer:
    """A quantizer under the name that tables show.

    `modules` are `module` or `module:attribute`; `run(model, feeds, folder)` is the job.
    """

    name: str
    package: str
    modules: tuple[str, ...]
    run: Job

    def prepare(self) -> None:
        """Import everything that the job uses; ImportError when it is not installed."""
        for module in self.modules:
            pkgutil.resolve_name(module)

    @property
    def version(self) -> str:
        """The version of its package; `missing` when it is not installed."""
        try:
            return version(self.package)
        except PackageNotFoundError:
            return "checkout" if self.package == "qir" else "missing"


def qir_quantizer(*, proof: bool = True) -> Quantizer:
    """qir with its defaults; the job writes all its files (fake-quant and deploy models, record, quant file).

    `proof=False` leaves out what no peer does: running the deploy graph to compare its integers.
    """

    def run(model: Path, feeds: Sequence[Feed], folder: Path) -> Path:
        import qir
        from qir.backends.inspection import PROOF_SAMPLES

        samples = PROOF_SAMPLES if proof else 0
        result = qir.quantize(model, list(feeds), output=folder / "qir", proof_samples=samples)
        assert result.paths is not None
        return result.paths.fake_quant_model

    modules = ("qir:quantize", "qir.runtime.kernels", "numba.np.arraymath")
    return Quantizer("qir" if proof else "qir, no proof", "qir", modules, run)


class _Reader:
    """ONNX Runtime's calibration data reader over feeds in memory."""

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Mapping[str, object] | None:
        return next(self._feeds, None)


def ort_quantizer(method: str = "MinMax", *, per_channel: bool = True) -> Quantizer:
    """ONNX Runtime's static quantization (QDQ, int8 activations and weights) after its own preprocessing.

    Where symbolic shape inference fails on a model, preprocessing runs without it. Models older than opset
    13, which scales per channel need, are converted where ONNX can do that.
    """

    def run(model: Path, feeds: Sequence[Feed], folder: Path) -> Path:
        from onnxruntime import quantization
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared, written = folder / "prepared.onnx", folder / "ort.onnx"
        source = _with_opset_13(model.resolve(), folder)
        with _inside(folder):  # a failing shape inference leaves a file where it runs
            try:
                quant_pre_process(source, prepared)
            except Exception:  # it raises bare exceptions for whatever it cannot infer
                quant_pre_process(source, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            written,
            _Reader(feeds),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=getattr(quantization.CalibrationMethod, method),
        )
        return written

    name = f"ORT {method}" + ("" if per_channel else " per-tensor")
    modules = ("onnx.version_converter", "onnxruntime.quantization.shape_inference")
    return Quantizer(name, "onnxruntime", modules, run)


def _with_opset_13(model: Path, folder: Path) -> Path:
    """The model, or a copy converted to opset 13 where it is older."""
    import onnx
    from onnx import version_converter

    loaded = onnx.load(model, load_external_data=False)
    if all(item.version >= 13 for item in loaded.opset_import if item.domain in ("", "ai.onnx")):
        return model
    try:
        converted = version_converter.convert_version(onnx.load(model), 13)
    except Exception:  # it raises bare exceptions for ops that it cannot convert
        return model
    onnx.save(converted, folder / "converted.onnx")
    return folder / "converted.onnx"


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def nncf_quantizer() -> Quantizer:
    """NNCF's post-training quantization with its defaults; old models are converted as above."""

    def run(model: Path, feeds: Sequence[Feed], folder: Path) -> Path:
        import nncf
        import onnx

        source, written = _with_opset_13(model, folder), folder / "nncf.onnx"
        onnx.save(nncf.quantize(onnx.load(source), nncf.Dataset(list(feeds))), written)
        return written

    modules = ("nncf", "onnx.version_converter", "nncf.onnx.quantization.quantize_model")
    return Quantizer("NNCF", "nncf", modules, run)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings, notes and progress bars of peers, which would tear the tables apart."""
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
