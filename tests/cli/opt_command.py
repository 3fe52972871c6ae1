"""Calls of `qir-opt` for tests."""

from __future__ import annotations

from click.testing import CliRunner, Result

from qir.cli.opt import main

TEXT = """\
graph @net(%x: f32[2]) {
  opsets {onnx=17}
  %y = Relu(%x) : f32[2]
  %unused = Neg(%x) : f32[2]
  return %y
}
"""
CLEAN = TEXT.replace("  %unused = Neg(%x) : f32[2]\n", "")


def run(*arguments: object, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def succeed(*arguments: object, stdin: str | bytes = "") -> Result:
    result = run(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return result


def fail(*arguments: object, stdin: str | bytes = "", status: int = 1) -> str:
    """The message of a command that must fail: with that status, no output and no traceback."""
    result = run(*arguments, stdin=stdin)
    assert (result.exit_code, result.stdout) == (status, "")
    assert "Traceback" not in result.stderr
    return result.stderr
