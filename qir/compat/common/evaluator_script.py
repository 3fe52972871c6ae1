"""Finds the evaluator of a script that AMCT's command line is given."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from qir.compat.common.auto_calibration import AutoCalibrationEvaluatorBase
from qir.compat.common.errors import CompatRuntimeError
from qir.ir.errors import QirError


def evaluator_of(script: str) -> AutoCalibrationEvaluatorBase:
    """The evaluator that a script holds in a variable; AMCT's samples call it `customize_evaluator`.

    CompatRuntimeError when the script fails, or has no such object or several.
    """
    path = Path(script)
    spec = importlib.util.spec_from_file_location(f"amct_evaluator_{path.stem}", path.resolve())
    if not path.is_file() or spec is None or spec.loader is None:
        raise CompatRuntimeError(f"the evaluator '{script}' is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # it may import its neighbours
    try:
        spec.loader.exec_module(module)
    except QirError:
        raise
    except (Exception, SystemExit) as error:
        raise CompatRuntimeError(
            f"the evaluator '{script}' raised {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    found = [item for item in vars(module).values() if isinstance(item, AutoCalibrationEvaluatorBase)]
    if len({id(item) for item in found}) != 1:
        raise CompatRuntimeError(
            f"the evaluator '{script}' must have one variable, as customize_evaluator, with an object of a "
            f"class that is inherited from AutoCalibrationEvaluatorBase; it has {len(found)}"
        )
    return found[0]
