"""Golden files of passes: `// RUN: pipeline`, graph before, `// -----`, what must come out.

A file holds one case or several, each from one `// RUN:` line to the next. What must come out is the graph
as text, with a `// REFUSED: kind 'node': reason` line in front for each refusal; or, where the pipeline
must fail, `// ERROR:` lines, each a part of the message. The RUN line may be a `qir-opt … -p 'pipeline'`
command, as in the files that `qir-opt --reproducer` writes.

Constants too large for the text are in `NAME.qir.npz`, calibration data (if any) in `NAME.data.npz`. Rules
are those of the target `ascend`, or of that of a `// TARGET: name` line.
"""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qir.backends.targets import Target, target_named
from qir.ir.constant import Constant
from qir.ir.errors import QirError
from qir.ir.files import data_path, save_graph
from qir.ir.graph import Graph
from qir.ir.npz import read_npz, write_npz
from qir.ir.parser import parse_graph
from qir.passes.context import Context
from qir.passes.instruments import VerifyEach
from qir.passes.manager import PassManager
from qir.passes.pipeline import parse_pipeline
from qir.runtime.data import open_data

FOLDER = Path(__file__).parent
ERROR = "// ERROR: "
_RUN = "// RUN:"
_SPLIT = re.compile(r"^// -----\n", re.MULTILINE)


@dataclass(frozen=True)
class Case:
    """One case of a golden file; `head` is all before the split line, `expected` all after it."""

    path: Path
    number: int
    head: str
    expected: str

    @property
    def name(self) -> str:
        return f"case {self.number} of {self.path.name}"

    @property
    def pipeline(self) -> str:
        line = self.head.split("\n", 1)[0].removeprefix(_RUN).strip()
        if not line.startswith("qir-opt "):
            return line
        words = shlex.split(line)
        return words[words.index("-p") + 1]

    @property
    def target(self) -> Target:
        match = re.search(r"^// TARGET: (.+)$", self.head, re.MULTILINE)
        return target_named("ascend" if match is None else match[1])

    @property
    def fails(self) -> bool:
        return self.expected.startswith(ERROR)

    def graph(self) -> Graph:
        return parse_graph(self.head, constants_beside(self.path), str(self.path))

    def expected_graph(self) -> Graph:
        return parse_graph(self.expected, constants_beside(self.path), str(self.path))

    def context(self, graph: Graph) -> Context:
        data = self.path.with_suffix(".data.npz")
        return Context(data=open_data(data, graph) if data.exists() else None, rules=self.target.rules)

    def run(self) -> tuple[str, Graph | None]:
        """What comes out, as it stands after the split line, and the graph unless the pipeline fails."""
        graph = self.graph()
        context = self.context(graph)
        try:
            passes = parse_pipeline(self.pipeline, named=self.target.pipelines)
            PassManager(passes, [VerifyEach()]).run(graph, context)
        except QirError as error:
            return "".join(f"{ERROR}{line}".rstrip() + "\n" for line in str(error).split("\n")), None
        refusals = [f"// REFUSED: {r.kind} '{r.node}': {r.reason}\n" for r in context.rewrites.refusals()]
        return "".join(refusals) + str(graph), graph

    def matches(self, outcome: str) -> bool:
        """True when `outcome` is what is expected: the same text, or an error with all expected parts."""
        if not self.fails:
            return outcome == self.expected
        message = "\n".join(line.removeprefix(ERROR) for line in outcome.split("\n"))
        parts = [line.removeprefix(ERROR).strip() for line in self.expected.splitlines() if line]
        return outcome.startswith(ERROR) and all(part in message for part in parts)


def golden_files() -> list[Path]:
    return sorted(FOLDER.glob("*.qir"))


def read_cases(path: Path) -> list[Case]:
    parts = re.split(rf"^(?={re.escape(_RUN)})", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if parts[0].strip() or len(parts) == 1:
        raise ValueError(f"{path}: the first line must be '{_RUN} pipeline'")
    return [Case(path, i, *_head_and_expected(path, part)) for i, part in enumerate(parts[1:])]


def _head_and_expected(path: Path, part: str) -> tuple[str, str]:
    pieces = _SPLIT.split(part)
    if len(pieces) > 2:
        raise ValueError(f"{path}: a case has one split line, not {len(pieces) - 1}")
    return pieces[0], (pieces[1].rstrip("\n") + "\n" if len(pieces) == 2 else "")


def all_cases() -> Iterator[Case]:
    for path in golden_files():
        yield from read_cases(path)


def constants_beside(path: Path) -> dict[str, Constant]:
    beside = data_path(path)
    return dict(read_npz(beside)) if beside.exists() else {}


def update(path: Path) -> None:
    """Write what comes out now into the file, and the large constants of all its graphs beside it."""
    text: list[str] = []
    constants: dict[str, Constant] = {}
    for case in read_cases(path):
        outcome, graph = case.run()
        text.append(f"{case.head.rstrip()}\n// -----\n{outcome}")
        for each in (case.graph(), graph):
            constants |= {} if each is None else large_constants(each)
    path.write_text("\n".join(text), encoding="utf-8")
    data_path(path).unlink(missing_ok=True)
    if constants:
        with data_path(path).open("wb") as file:
            write_npz(file, constants.values())


def large_constants(graph: Graph) -> dict[str, Constant]:
    """What the text of a graph names by digest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.qir"
        save_graph(graph, path)
        return constants_beside(path)
