"""The packaged sample: a digits classifier with BatchNormalization, calibration images, labelled test images.

Model and data are the project's own: trained on 800 of the scikit-learn digits, tested on the other 901.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qir.ir.errors import ConfigError, did_you_mean

PREFIX = "sample:"
"""What marks the name of a packaged sample where a model path is expected."""


@dataclass(frozen=True)
class Sample:
    """Float model, calibration `.npz` (inputs) and test `.npz` (inputs and int64 `labels`)."""

    model: Path
    calibration: Path
    test: Path


def sample_named(name: str) -> Sample:
    """The sample `sample:NAME`; ConfigError with the nearest name when there is none."""
    short = name.removeprefix(PREFIX)
    folder = Path(__file__).parent
    known = sorted(p.stem for p in folder.glob("*.onnx"))
    if short not in known:
        raise ConfigError(
            f"there is no sample '{short}', only {', '.join(known)}{did_you_mean(short, known)}"
        )
    return Sample(folder / f"{short}.onnx", folder / f"{short}_calibration.npz", folder / f"{short}_test.npz")
