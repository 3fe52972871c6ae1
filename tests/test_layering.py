"""The floors: who may import whom, stated in pyproject.toml for import-linter and completed here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qir.passes.registry import PASSES

grimp = pytest.importorskip("grimp", reason="import-linter is not installed")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph(
        "qir", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )


def test_import_linter_finds_no_broken_contract() -> None:
    # In a process of its own: it reconfigures logging.
    code = "import importlinter.cli as c; raise SystemExit(c.lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_linter_sees_the_linked_floors(imports: grimp.ImportGraph) -> None:
    for module in ("qir.passes.base", "qir.backends.targets", "qir.runtime.progress"):
        assert module in imports.modules


def test_only_the_registry_imports_passes(imports: grimp.ImportGraph) -> None:
    """A pass never imports another pass, nor does a helper: passes are composed in pipelines."""
    for kind in PASSES.values():
        importers = imports.find_modules_that_directly_import(kind.__module__)
        assert {m for m in importers if m.startswith("qir.passes.")} == {"qir.passes.registry"}


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("onnx", ("qir.frontends.", "qir.backends.", "qir.ir.infer")),
        ("onnxruntime", ("qir.runtime.",)),
        ("numba", ("qir.runtime.kernels",)),
        ("networkx", ("qir.ir.views",)),
        ("click", ("qir.cli.",)),
        ("rich", ("qir.cli.", "qir.console", "qir.debug.text")),
        ("matplotlib", ("qir.sensitivity_plot", "qir.debug.plots.")),
    ],
)
def test_a_package_is_imported_in_its_home_only(
    imports: grimp.ImportGraph, package: str, homes: tuple[str, ...]
) -> None:
    assert package in imports.modules, f"nobody imports {package} any more: drop it from the dependencies"
    importers = imports.find_modules_that_directly_import(package)
    assert {m for m in importers if not m.startswith(homes)} == set()
