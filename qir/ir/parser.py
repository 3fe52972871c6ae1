"""Parses the IR text that `printer.py` writes; printing the result gives the same text.

    text       := graph
    graph      := "graph" "@" name "(" [ value ":" type { "," value ":" type } ] ")" "{"
                  [ "opsets" "{" domain "=" integer { "," … } "}" ] [ "metadata" metadata ]
                  { constant | node } "return" [ value { "," value } ] "}"
    constant   := value "=" "const" data
    data       := ( digest | element | "[" [ element { "," element } ] "]" ) ":" type
    element    := number | "true" | "false" | "inf" | "nan" | string | hex
    node       := [ operand { "," operand } ] "=" [ name "." ] name [ string ] "(" [ operand { "," … } ] ")"
                  [ "{" name "=" attribute { "," … } "}" ] [ metadata ] [ ":" result { "," result } ]
    operand    := value | "-"                               (- is an absent optional input or output)
    result     := type | "-"
    attribute  := integer | float | string | hex | "const" data | "type" type | graph
                | "[" attribute { "," attribute } "]" | "[" "]" ":" kind
    metadata   := "@" "{" [ name "=" string { "," name "=" string } ] "}"
    type       := "?" | ( dtype | "?" ) ( "[" [ dim { "," dim } ] "]" | "?" ) [ "!" quant ]
                | ( "seq" | "optional" | "sparse" ) "(" type ")" | "map" "(" dtype "," type ")"
    dim        := integer | name | "?"
    quant      := dtype [ "<" { "asym" | "axis=" integer | "groups=" integer | "closed"
                                | "scale=" numbers | "zero=" numbers } ">" ]
    numbers    := number | "[" number { "," number } "]" | digest
    domain     := string | "onnx"                           (onnx without quotes is the domain "")
    value      := "%" name           name := word | string            word := [A-Za-z_][A-Za-z0-9_./]*, no //
    string     := "\\"" … "\\""        hex  := "x\\"" hexadecimal "\\""    digest := "#" hexadecimal

A node without a name in quotes is named after its first output. A float has a point, an exponent or is inf or
nan. In `domain.op` the last dot of a word divides. A value is defined before it is read; a subgraph reads the
values of the graphs around it. `//` begins a comment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from qir.ir.constant import Constant
from qir.ir.errors import QirError, did_you_mean
from qir.ir.garbage import collector_paused
from qir.ir.graph import Graph
from qir.ir.lexer import Lexer
from qir.ir.literals import Literals
from qir.ir.node import LIST_KINDS, Attribute, AttributeElement, EmptyList, Value, element_kind
from qir.ir.types import UNKNOWN, Type

T = TypeVar("T")
_DEPTH = 48
_FLOAT_WORDS = ("inf", "nan")


def parse_graph(
    text: str, constants: Mapping[str, Constant] | None = None, filename: str = "<text>"
) -> Graph:
    """The graph that a text describes; ParseError `filename:line:column: …` with a caret under the mistake.

    `constants` maps digests to the data that live beside the text; None when the text stands alone.
    """
    with collector_paused():
        return _Parser(Lexer(text, filename), constants).text()


class _Parser:
    """One method a rule of the grammar; recursive only where graphs and types nest."""

    def __init__(self, lexer: Lexer, constants: Mapping[str, Constant] | None) -> None:
        self.lexer = lexer
        self.literals = Literals(lexer, constants)
        self.depth = 0

    def text(self) -> Graph:
        graph = self.graph(None)
        if self.lexer.kind != "end":
            raise self.lexer.unexpected("nothing after the graph")
        return graph

    def graph(self, parent: Graph | None) -> Graph:
        lexer = self.lexer
        if not lexer.keyword("graph"):
            raise lexer.unexpected("'graph @name(inputs) {'")
        self.depth += 1
        if self.depth > _DEPTH:
            raise lexer.error(f"graphs are nested more than {_DEPTH} deep")
        lexer.expect("@", "before the name of the graph")
        graph = Graph(lexer.name("the name of the graph"), parent=parent)
        lexer.expect("(", "before the inputs")
        for _ in self.literals.sequence(")", lambda: self.input(graph)):
            pass
        lexer.expect("{", "before the body of the graph")
        if lexer.keyword("opsets"):
            lexer.expect("{", "before the opsets")
            graph.opsets.update(self.pairs(self.domain, lambda: lexer.integer("an opset version")))
        if lexer.keyword("metadata"):
            graph.metadata.update(self.metadata())
        while not lexer.keyword("return"):
            self.statement(graph)
        if not lexer.accept("}"):
            for value in self.literals.sequence("}", lambda: self.read(graph)):
                graph.add_output(value)
        self.depth -= 1
        return graph

    def input(self, graph: Graph) -> None:
        start, name = self.lexer.start, self.lexer.value_name()
        self.lexer.expect(":", "and the type of the input")
        kind = self.literals.type()
        self.guard(start, lambda: graph.add_input(name, kind))

    def guard(self, start: int, action: Callable[[], T]) -> T:
        """Do something to the graph; what it refuses (a name used twice) becomes an error at `start`."""
        try:
            return action()
        except QirError as error:
            raise self.lexer.error(str(error), start) from error

    def domain(self) -> str:
        return "" if self.lexer.keyword("onnx") else self.lexer.name("a domain")

    def pairs(self, key: Callable[[], str], value: Callable[[], T]) -> dict[str, T]:
        """`key=value, …}` with unique keys; the opening brace has been read."""
        found: dict[str, T] = {}

        def pair() -> None:
            start, name = self.lexer.start, key()
            if name in found:
                raise self.lexer.error(f"'{name}' is given twice", start)
            self.lexer.expect("=", f"and the value of '{name}'")
            found[name] = value()

        for _ in self.literals.sequence("}", pair):
            pass
        return found

    def metadata(self) -> dict[str, str]:
        lexer = self.lexer
        lexer.expect("@", "before metadata")
        lexer.expect("{", "before metadata")
        return self.pairs(lambda: lexer.name("a metadata key"), lambda: lexer.string("a string in quotes"))

    def statement(self, graph: Graph) -> None:
        lexer = self.lexer
        start = lexer.start
        outputs: list[str | None] = []
        if not lexer.at("="):
            outputs.append(self.result())
            while lexer.accept(","):
                outputs.append(self.result())
        lexer.expect("=", "after what a node makes")
        if not lexer.keyword("const"):
            self.node(graph, outputs, start)
            return
        if len(outputs) != 1 or outputs[0] is None:
            raise lexer.error("a constant has exactly one name", start)
        name, data = outputs[0], self.literals.constant()
        self.guard(start, lambda: graph.add_constant(name, data))

    def result(self) -> str | None:
        if self.lexer.accept("-"):
            return None
        if self.lexer.kind != "value":
            raise self.lexer.unexpected("a node, a constant or 'return'")
        return self.lexer.value_name()

    def node(self, graph: Graph, outputs: list[str | None], start: int) -> None:
        lexer = self.lexer
        domain, op = self.op()
        name = lexer.string("a name") if lexer.kind == "string" else None
        lexer.expect("(", f"before the inputs of {op}")
        inputs = list(self.literals.sequence(")", lambda: self.operand(graph)))
        attributes = {}
        if lexer.accept("{"):
            attributes = self.pairs(lambda: lexer.name("an attribute name"), lambda: self.attribute(graph))
        metadata = self.metadata() if lexer.at("@") else {}
        types = self.types(len(outputs))
        if name is None:
            name = outputs[0] if outputs else None
        if name is None:
            raise lexer.error("a node without a first output needs a name in quotes after its op", start)
        node = self.guard(
            start,
            lambda: graph.add(
                op, inputs, outputs=outputs, types=types, attributes=attributes, domain=domain, name=name
            ),
        )
        node.metadata.update(metadata)

    def op(self) -> tuple[str, str]:
        """(domain, op)."""
        lexer = self.lexer
        if lexer.kind == "string":
            word = lexer.string("an op")
            return (word, lexer.name("an op after its domain")) if lexer.accept(".") else ("", word)
        start, word = lexer.start, lexer.take("name", "an op such as Relu, or const")
        if word.endswith(".") and lexer.kind == "string":
            return word[:-1], lexer.string("an op")
        domain, _, op = word.rpartition(".")
        if not op:
            raise lexer.error("an op needs a name after its domain", start)
        return domain, op

    def operand(self, graph: Graph) -> Value | None:
        return None if self.lexer.accept("-") else self.read(graph)

    def read(self, graph: Graph) -> Value:
        """A value that this graph or one around it has defined so far."""
        start, name = self.lexer.start, self.lexer.value_name()
        found = graph.visible(name)
        if found is not None:
            return found
        names: list[str] = []
        around: Graph | None = graph
        while around is not None:
            names += [v.name for v in around.values()]
            around = around.parent
        hint = did_you_mean(name, names) or "; define a value before it is read"
        raise self.lexer.error(f"there is no value '{name}' before this line{hint}", start)

    def types(self, count: int) -> list[Type]:
        """The types of the outputs; unknown where the text leaves them out."""
        if not self.lexer.accept(":"):
            return [UNKNOWN] * count
        found: list[Type] = []
        for i in range(count):
            if i:
                self.lexer.expect(",", f"and {count - i} more of the {count} output types")
            found.append(UNKNOWN if self.lexer.accept("-") else self.literals.type())
        return found

    def attribute(self, graph: Graph) -> Attribute:
        return self.list(graph) if self.lexer.accept("[") else self.element(graph)

    def list(self, graph: Graph) -> Attribute:
        lexer = self.lexer
        start = lexer.start
        if lexer.accept("]"):
            lexer.expect(":", "and the kind of the empty list, such as ints,")
            start, kind = lexer.start, lexer.take("name", "the kind of the empty list")
            if kind not in LIST_KINDS:
                hint = did_you_mean(kind, LIST_KINDS) or f"; known: {', '.join(LIST_KINDS)}"
                raise lexer.error(f"there is no list kind '{kind}'{hint}", start)
            return EmptyList(kind)
        items = tuple(self.literals.sequence("]", lambda: self.element(graph)))
        kinds = tuple(dict.fromkeys(map(element_kind, items)))
        if len(kinds) > 1:
            raise lexer.error(f"a list holds one kind of elements, not {' and '.join(kinds)}", start)
        return items

    def element(self, graph: Graph) -> AttributeElement:
        lexer = self.lexer
        if lexer.kind == "number":
            is_float = not lexer.text.lstrip("-").isdecimal()
            return self.literals.float32() if is_float else lexer.integer("a number")
        if lexer.kind == "string":
            return lexer.string("a string")
        if lexer.kind == "hex":
            return bytes.fromhex(lexer.take("hex", "bytes")[2:-1])
        if lexer.kind == "name" and lexer.text in _FLOAT_WORDS:
            return self.literals.float32()
        if lexer.keyword("const"):
            return self.literals.constant()
        if lexer.keyword("type"):
            return self.literals.type()
        if lexer.kind == "name" and lexer.text == "graph":
            return self.graph(graph)
        raise lexer.unexpected("an attribute: a number, a string in quotes, const, type, graph or a list")
