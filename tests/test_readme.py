"""The README keeps its promises: commands parse, names exist, pipelines are the program's, links lead on."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

import qir
from qir.backends.targets import target_named
from qir.cli.main import main
from qir.cli.opt import main as opt
from qir.config.levels.reader import levels_of
from qir.passes.pipeline import parse_pipeline

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [(m[1], m[2]) for m in re.finditer(r"^```(\w*)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)]
ASCEND = target_named("ascend")


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def commands() -> Iterator[list[str]]:
    """The words of each call of one of our commands in the shell blocks."""
    pending = ""
    for line in "".join(blocks("sh")).splitlines():
        pending += line
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quotation goes on in the next line
            continue
        pending = ""
        while "&&" in words:
            words = words[words.index("&&") + 1 :]
        if words and Path(words[0]).name in ("qir", "qir-opt"):
            yield [Path(words[0]).name, *words[1:]]


COMMANDS = list(commands())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    if words[0] == "qir-opt":
        with opt.make_context("qir-opt", words[1:]) as context:
            parse_pipeline(context.params["pipeline"], named=ASCEND.pipelines)
        return
    with click.Context(main) as top:
        _, command, rest = main.resolve_command(top, words[1:])
        assert command is not None
        command.make_context(words[1], rest, parent=top).close()


def test_every_command_is_shown() -> None:
    with click.Context(main) as top:
        names = set(main.list_commands(top))
    assert names - {words[1] for words in COMMANDS if words[0] == "qir"} <= {"amct"}


def test_python_blocks_use_names_that_exist() -> None:
    assert len(blocks("python")) > 5
    for text in blocks("python"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("qir"):
                for alias in node.names:
                    if not hasattr(import_module(node.module), alias.name):
                        import_module(f"{node.module}.{alias.name}")
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.startswith("qir"):
                        assert find_spec(alias.name) is not None, alias.name  # may need an extra
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert node.value.id != "qir" or hasattr(qir, node.attr), node.attr


def test_pipelines_are_those_of_the_program() -> None:
    texts = [
        text.replace("\n", "") for text in blocks("") if text.startswith(("infer-types", "insert-quant"))
    ]
    found = [parse_pipeline(text) for text in texts]
    assert parse_pipeline("default", named=ASCEND.pipelines) in found


def test_the_quant_config_is_one() -> None:
    (text,) = blocks("json")
    assert levels_of(json.loads(text)).nodes


def test_links_lead_to_files_and_headings() -> None:
    texts = {
        file: (ROOT / file).read_text(encoding="utf-8") for file in ("README.md", "benchmarks/README.md")
    }
    headings = {
        file: {_anchor(line) for line in text.splitlines() if line.startswith("#")}
        for file, text in texts.items()
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT):
        file, _, anchor = target.partition("#")
        assert not file or (ROOT / file).exists(), target
        assert not anchor or anchor in headings[file or "README.md"], target


def test_the_layout_names_every_folder() -> None:
    layout = TEXT[TEXT.index("## Layout") : TEXT.index("## Benchmarks")]
    named = set(re.findall(r"`([\w/]+)`", layout))
    folders = {
        f"qir/{p.parent.name}" for p in (ROOT / "qir").glob("*/__init__.py") if not p.parent.is_symlink()
    }
    folders |= {p.parent.name for p in ROOT.glob("*/__init__.py")} - {"qir"}
    assert folders <= named


def _anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()).replace(" ", "-")
