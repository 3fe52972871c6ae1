"""How commands end when somebody stops them, or when a user's own code does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from qir.cli import entry
from qir.cli.main import main

FULL = Path("/dev/full")
DATA = """import numpy as np
import os, signal, sys

def feeds():
    yield {"input": np.zeros((1, 1, 16, 16), np.float32)}
    ENDING
    while True:
        yield {"input": np.ones((1, 1, 16, 16), np.float32)}
"""


def arguments(folder: Path, ending: str) -> list[str]:
    (folder / "data.py").write_text(DATA.replace("ENDING", ending))
    return ["quantize", "sample:digits", "--data", f"{folder / 'data.py'}:feeds", "-o", f"{folder / 'out'}/x"]


HEARD = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
"""Shells start what runs in the background with Ctrl-C ignored; a test must not wait for ever there."""


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGINT)", 128 + signal.SIGINT, "interrupted\n"),
        ("os.kill(os.getpid(), signal.SIGTERM)", 128 + signal.SIGTERM, ""),
    ],
)
def test_a_command_that_is_stopped_leaves_nothing(ending: str, code: int, said: str, tmp_path: Path) -> None:
    start = f"{HEARD}from qir.cli.entry import qir; qir()"
    done = subprocess.run(
        [sys.executable, "-c", start, *arguments(tmp_path, ending)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("__")] == ["data.py"]


WATCH = """import os, signal, sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "MODULE":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Watch())
from qir.cli.entry import qir
qir()
"""


@pytest.mark.parametrize(
    "module",
    ["qir.cli.main", "click.core", "numpy", "qir.cli.quantize_job", "qir.quantization", "onnxruntime"],
)
def test_commands_that_are_stopped_while_they_load_say_one_word(module: str, tmp_path: Path) -> None:
    code = HEARD + WATCH.replace("MODULE", module)
    done = subprocess.run(
        [sys.executable, "-c", code, "quantize", "sample:digits", "-o", f"{tmp_path / 'out'}/x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not FULL.exists(), reason="a device that is always full, as Linux has it")
@pytest.mark.parametrize(
    "words",
    ["qir --help", "qir --version", "qir run --help", "qir-opt --list-passes", "qir config sample:digits"],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_finds_no_room_is_one_message(words: str, unbuffered: str) -> None:
    command, *arguments = words.split()
    start = f"from qir.cli.entry import {command.replace('-', '_')} as run; run()"
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", start, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            text=True,
            check=False,
        )
    message = "error: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, message)


@pytest.mark.parametrize("closed", [1, 2])
def test_a_stream_that_the_caller_has_closed_harms_nothing(closed: int, tmp_path: Path) -> None:
    start = "from qir.cli.entry import qir_opt as run; run()"
    words = [sys.executable, "-c", start, "sample:digits", "-p", "fuse-bn", "--print-ir", "after-all"]
    for output in ("-", str(tmp_path / "x.qir")):
        shell = ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *words, "-o", output]
        done = subprocess.run(shell, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        assert done.returncode == 0
    assert (tmp_path / "x.qir").read_text().startswith("graph @")


def test_an_interrupt_that_comes_out_as_another_error_is_one(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, arguments(tmp_path, "raise ImportError('halfway') from KeyboardInterrupt()")
    )
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_an_error_that_causes_itself_ends_too(tmp_path: Path) -> None:
    code = "error = KeyError('round and round')\n    raise error from error"
    result = CliRunner().invoke(main, arguments(tmp_path, code))
    assert result.exit_code == 1
    assert "round and round" in result.stderr


def test_data_that_exit_are_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, arguments(tmp_path, "sys.exit(5)"))
    assert result.exit_code == 1
    assert "raised SystemExit: 5 (after 1 feeds)" in result.stderr


def test_the_signal_handler_is_put_back(tmp_path: Path) -> None:
    CliRunner().invoke(main, ["quantize", str(tmp_path / "none.onnx"), "-o", str(tmp_path / "x")])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(("before", "after"), [(None, "1"), ("0", "0")])
def test_commands_report_to_nobody_unless_told_to(
    before: str | None, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[str] = []
    program = SimpleNamespace(main=lambda: found.append(os.environ["ORT_DISABLE_TELEMETRY"]))
    monkeypatch.setattr(entry, "import_module", lambda _: program)
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", before or "")
    if before is None:
        monkeypatch.delenv("ORT_DISABLE_TELEMETRY")
    entry.qir()
    assert found == [after]
