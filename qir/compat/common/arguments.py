"""Checks of arguments, by type, as AMCT makes them: every mistake is a TypeError that names the argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qir.compat.common.errors import CompatTypeError, CompatValueError
from qir.ir.errors import did_you_mean


def check_type(name: str, given: object, kind: type, *, optional: bool = False) -> None:
    """CompatTypeError unless `given` is of that type (None too when `optional`); a bool is no int."""
    if optional and given is None:
        return
    if not isinstance(given, kind) or (kind is int and isinstance(given, bool)):
        wanted = f"{kind.__name__} or None" if optional else kind.__name__
        raise CompatTypeError(f"argument '{name}' must be {wanted}, not {type(given).__name__}: {given!r}")


def check_strings(given: Mapping[str, object]) -> None:
    """CompatTypeError unless all arguments, by name, are strings."""
    for name, value in given.items():
        check_type(name, value, str)


def check_names(name: str, given: Sequence[str] | None) -> tuple[str, ...]:
    """A list of layer names as a tuple; CompatTypeError for anything else."""
    if given is None:
        return ()
    if not isinstance(given, (list, tuple)) or not all(isinstance(item, str) for item in given):
        raise CompatTypeError(f"argument '{name}' must be a list of str or None, not {given!r}")
    return tuple(given)


def check_config_arguments(
    config_file: str,
    skip_layers: Sequence[str] | None,
    batch_num: int,
    activation_offset: bool,
    config_defination: str | None,
) -> tuple[str, ...]:
    """What create_quant_config of all toolkits takes: the layers to skip; CompatTypeError for wrong types."""
    check_type("config_file", config_file, str)
    skipped = check_names("skip_layers", skip_layers)
    check_type("batch_num", batch_num, int)
    check_type("activation_offset", activation_offset, bool)
    check_type("config_defination", config_defination, str, optional=True)
    return skipped


def one_of_spellings(function: str, names: Sequence[str], given: Sequence[str | None]) -> str:
    """The argument that manuals spell in several ways; CompatTypeError when it is missing or doubled."""
    found = [value for value in given if value is not None]
    if len(found) != 1:
        problem = f"missing 1 required argument: '{names[0]}'" if not found else "got one argument twice"
        raise CompatTypeError(f"{function}() {problem} (spellings: {', '.join(names)})")
    check_type(names[0], found[0], str)
    return found[0]


def check_choice(name: str, given: str, choices: Sequence[str]) -> None:
    """CompatValueError unless `given` is one of the choices."""
    if given not in choices:
        known = ", ".join(choices)
        raise CompatValueError(f"{name} must be one of {known}, not '{given}'{did_you_mean(given, choices)}")
