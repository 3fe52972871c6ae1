"""Finds the evaluator of a script that AMCT's command line is given."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from qir.compat.common.auto_calibration import AutoCalibrationEvaluatorBase
from qir.compat.common.errors import CompatRuntimeError
from qir.compat.common.evaluators import Calibrating
from qir.ir.errors import QirError

_VARIABLE = "customize_evaluator"


def evaluator_of(script: str) -> Calibrating:
    """The evaluator that a script holds in the variable `customize_evaluator`, of whatever class.

    Without that variable, the only object of the evaluators' base class. CompatRuntimeError when the script
    fails, or has no such object or several.
    """
    module = _run(script)
    named = getattr(module, _VARIABLE, None)
    if isinstance(named, Calibrating) and not isinstance(named, type):
        return named
    if named is not None:
        raise CompatRuntimeError(
            f"{_VARIABLE} of the evaluator '{script}' must be an object with a method "
            f"calibration(model_file), not {named!r:.100}"
        )
    found = [item for item in vars(module).values() if isinstance(item, AutoCalibrationEvaluatorBase)]
    if len({id(item) for item in found}) != 1:
        has = f"{len(found)} other variables hold one each" if found else _advice(module)
        raise CompatRuntimeError(
            f"the evaluator '{script}' must have a variable {_VARIABLE}, with an object of a class that is "
            f"inherited from AutoCalibrationEvaluatorBase; {has}"
        )
    return found[0]


def _advice(module: ModuleType) -> str:
    """What a script without any object of the base class lacks."""
    own = [item for item in vars(module).values() if getattr(item, "__module__", None) == module.__name__]
    classes = [c for c in own if isinstance(c, type) and issubclass(c, AutoCalibrationEvaluatorBase)]
    return f"add {_VARIABLE} = {classes[-1].__name__}(…)" if classes else "it has no such class"


def _run(script: str) -> ModuleType:
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
    return module
