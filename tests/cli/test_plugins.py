"""`--plugin`: a user's calibration method in pipelines, in --method and in --list-passes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from qir.cli import opt, quantize
from qir.cli.main import main
from qir.runtime.calibration import METHODS

PLUGIN = '''
from dataclasses import dataclass
import qir
from qir.runtime.scales import params_of_range

@qir.calibrator("{name}")
@dataclass(frozen=True)
class Part:
    """A part of the range."""

    part: float = 0.5

    def close(self, statistics, spec):
        return params_of_range(statistics.minimum * self.part, statistics.maximum * self.part, spec)
'''
GRAPH = """graph @net(%x: f32[2]) {
  opsets {onnx=17}
  %w = const [1.0,0.0,0.0,1.0] : f32[2,2]
  %x.q = qir.quant(%x) : f32[2]!i8<>
  %a = MatMul "first"(%x.q, %w) : f32[2]
  return %a
}
"""


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(METHODS, "_classes", dict(METHODS._classes))


def run(command: object, *words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])  # type: ignore[arg-type]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_plugin_brings_a_method(tmp_path: Path) -> None:
    plugin = written(tmp_path / "brings.py", PLUGIN.format(name="brought"))
    listed = run(opt.main, "--plugin", plugin, "--list-passes")
    assert "brought: A part of the range.\n          part: a number = 0.5" in listed.output
    graph = written(tmp_path / "net.qir", GRAPH)
    data = written(
        tmp_path / "data.py", "import numpy as np\ndef feeds():\n    yield {'x': np.float32([-2, 4])}\n"
    )
    words = (graph, "--data", f"{data}:feeds", "--plugin", plugin, "-p")
    quarter = run(opt.main, *words, "calibrate{method=brought part=0.25}")
    assert f"scale={1 / 127:.7f}"[:13] in quarter.output
    wrong = run(opt.main, *words, "calibrate{method=brought prt=0.25}")
    assert wrong.exit_code == 1
    assert "'calibrate' has no option 'prt'; did you mean 'part'?" in wrong.output
    made = run(
        main,
        "quantize",
        "sample:digits",
        "-o",
        tmp_path / "q",
        "--quiet",
        "--plugin",
        plugin,
        "--method",
        "brought",
    )
    assert made.exit_code == 0, made.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero (bad.py:1)"),
        (
            "import qir\nqir.calibrator('ifmr')(object)",
            "ConfigError: calibration method 'ifmr' is registered",
        ),
        ("import qir\nqir.calibrator('mine')(object)", "must be a class under @dataclass(frozen=True)"),
        ("def", "SyntaxError"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_said(tmp_path: Path, text: str, message: str) -> None:
    result = run(opt.main, "--plugin", written(tmp_path / "bad.py", text), "--list-passes")
    assert result.exit_code == 1
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_plugin_must_be_a_python_file(tmp_path: Path) -> None:
    assert run(opt.main, "--plugin", tmp_path / "no.py", "--list-passes").exit_code == 2
    result = run(opt.main, "--plugin", written(tmp_path / "x.txt", ""), "--list-passes")
    assert "it is no Python file" in result.output


def test_help_names_all_methods_of_qir() -> None:
    own = {name for name, kind in METHODS.items() if kind.__module__.startswith("qir.runtime.calibration")}
    assert set(quantize.METHODS) == own


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("five", "return 5", "must return QuantParams of the spec that it was given, not 5"),
        ("raises", "return {}['scale']", "raised KeyError: 'scale'"),
    ],
)
def test_a_method_that_fails_is_named_with_its_tensor(
    name: str, body: str, said: str, tmp_path: Path
) -> None:
    text = PLUGIN.format(name=name)
    plugin = written(tmp_path / f"{name}.py", text[: text.index("return params")] + body + "\n")
    graph = written(tmp_path / "net.qir", GRAPH)
    data = written(
        tmp_path / "data.py", "import numpy as np\ndef feeds():\n    yield {'x': np.float32([-2, 4])}\n"
    )
    result = run(
        opt.main, graph, "--plugin", plugin, "-p", f"calibrate{{method={name}}}", "--data", f"{data}:feeds"
    )
    assert result.exit_code == 1
    assert f"tensor 'x' (quantized as 'x.q'): close() of calibration method '{name}' {said}" in result.stderr
