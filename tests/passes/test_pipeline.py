"""Pipeline text: options by type hints, printing back, and errors that point at the place."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qir.ir.errors import ConfigError, ParseError
from qir.ir.graph import Graph
from qir.passes.base import Pass
from qir.passes.calibrate import Calibrate
from qir.passes.context import Context
from qir.passes.options import options_of
from qir.passes.pipeline import parse_pipeline, print_pipeline
from qir.runtime.calibration import Ifmr, Kl, Percentile


class Rounding(enum.Enum):
    EVEN = "half-even"
    AWAY = "half-away"


@dataclass(frozen=True)
class Demo(Pass):
    """Every kind of option."""

    name: ClassVar[str] = "demo"

    bits: int = 8
    ratio: float = 0.5
    label: str = "x"
    exact: bool = False
    method: Literal["ifmr", "min-max"] = "ifmr"
    rounding: Rounding = Rounding.EVEN
    ops: tuple[str, ...] = ("Conv", "Gemm")
    per_axis: tuple[int, ...] = ()
    limit: int | None = None
    skip: tuple[str, ...] | None = None

    def run(self, graph: Graph, context: Context) -> bool:
        return False


@dataclass(frozen=True)
class Strict(Pass):
    """One required option, and a rule about its values."""

    name: ClassVar[str] = "strict-one"

    layer: str
    parts: tuple[str, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        if self.layer == "bad":
            raise ConfigError("the layer is bad; choose a good one")

    def run(self, graph: Graph, context: Context) -> bool:
        return False


DEMOS: dict[str, type[Pass]] = {"demo": Demo, "strict-one": Strict}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("  ", ()),
        ("demo", (Demo(),)),
        ("demo{}", (Demo(),)),
        (" demo { bits =4\texact=true } ,\n demo ", (Demo(bits=4, exact=True), Demo())),
        ("demo{bits=4 ratio=3 exact=true}", (Demo(bits=4, ratio=3.0, exact=True),)),
        ("demo{ratio=-1e-3},demo{ratio=inf}", (Demo(ratio=-1e-3), Demo(ratio=float("inf")))),
        ("demo{method=min-max rounding=half-away}", (Demo(method="min-max", rounding=Rounding.AWAY),)),
        ("demo{ops=Conv}", (Demo(ops=("Conv",)),)),
        ("demo{ops= bits=3}", (Demo(ops=(), bits=3),)),
        ('demo{ops=""}', (Demo(ops=("",)),)),
        ("demo{per-axis=1,-2, 3}", (Demo(per_axis=(1, -2, 3)),)),
        ("demo{limit=5 skip=none}", (Demo(limit=5),)),
        ('demo{skip="none"}', (Demo(skip=("none",)),)),
        ("demo{label=none}", (Demo(label="none"),)),
        ('demo{label="say \\"hi\\""}', (Demo(label='say "hi"'),)),
        (r"demo{label=^(a|b)/conv\.[0-9]+:0$}", (Demo(label=r"^(a|b)/conv\.[0-9]+:0$"),)),
        (r'demo{label="a\d{2,3}\\ = b"}', (Demo(label=r"a\d{2,3}\ = b"),)),
        ('demo{skip="layer 1",/m.0/conv/Conv,"a,b"}', (Demo(skip=("layer 1", "/m.0/conv/Conv", "a,b")),)),
        (r'demo{label="ends in \\" skip="two: \\\\ \""}', (Demo(label="ends in \\", skip=('two: \\\\ "',)),)),
        ("strict-one{layer=conv1}", (Strict("conv1"),)),
    ],
)  # fmt: skip
def test_text_becomes_passes(text: str, expected: tuple[Pass, ...]) -> None:
    assert parse_pipeline(text, DEMOS) == expected
    assert parse_pipeline(print_pipeline(expected), DEMOS) == expected


def test_printing_is_canonical() -> None:
    passes = parse_pipeline(' demo{ skip="a b",c   bits=4 ratio=3 method=ifmr } , demo{ops=}', DEMOS)
    assert print_pipeline(passes) == 'demo{bits=4 ratio=3.0 skip="a b",c},demo{ops=}'
    assert str(Strict("x")) == "strict-one{layer=x}"


WORDS = st.text(max_size=12)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(
    st.builds(
        Demo,
        bits=st.integers(),
        ratio=st.floats(allow_nan=False),
        label=WORDS,
        exact=st.booleans(),
        method=st.sampled_from(["ifmr", "min-max"]),
        rounding=st.sampled_from(Rounding),
        ops=st.lists(WORDS).map(tuple),
        per_axis=st.lists(st.integers()).map(tuple),
        limit=st.none() | st.integers(),
        skip=st.none() | st.lists(WORDS).map(tuple),
    )
)
def test_whatever_is_printed_parses_back(item: Demo) -> None:
    assert parse_pipeline(f"{item},{item}", DEMOS) == (item, item)


@pytest.mark.parametrize(
    ("text", "message", "column", "width"),
    [
        ("dem", "there is no pass named 'dem'; did you mean 'demo'?", 0, 3),
        ("zzzzzz", "qir-opt --list-passes", 0, 6),
        ("demo,", "expected the name of a pass, found the end", 5, 1),
        ("demo,,demo", "expected the name of a pass, found ','", 5, 1),
        ("demo demo", "expected a comma between two passes, found 'd'", 5, 1),
        ("demo{", "expected an option of 'demo' or '}', found the end", 5, 1),
        ("demo{bits", "expected '=' and the value of option 'bits', found the end", 9, 1),
        ("demo{bits=}", "option 'bits' has no value; it takes an integer", 9, 1),
        ("demo{bits= 4}", "option 'bits' has no value; it takes an integer", 9, 1),
        ("demo{bits=4.5}", "option 'bits' takes an integer, not '4.5'", 10, 3),
        ("demo{bits=1,2}", "option 'bits' takes one value, not a list", 12, 1),
        ("demo{bits=1 bits=2}", "option 'bits' is given twice", 12, 4),
        ("demo{bit=1}", "'demo' has no option 'bit'; did you mean 'bits' or 'limit'?", 5, 3),
        ("demo{zzz=1}", "its options: bits, ratio", 5, 3),
        ("demo{per_axis=1}", "did you mean 'per-axis'?", 5, 8),
        ("demo{per-axis=1,x,2}", "option 'per-axis' takes an integer, not 'x'", 16, 1),
        ("demo{ratio=nan}", "option 'ratio' takes a number, not 'nan'", 11, 3),
        ("demo{exact=yes}", "option 'exact' takes true or false, not 'yes'", 11, 3),
        ("demo{method=imfr}", "one of ifmr, min-max, not 'imfr'; did you mean 'ifmr'?", 12, 4),
        ("demo{rounding=even}", "one of half-even, half-away, not 'even'", 14, 4),
        ('demo{label="abc}', "no closing quote", 11, 1),
        ("demo{label=a=b}", "stands in double quotes", 11, 2),
        ("demo{ops=a,}", "a value is missing here", 11, 1),
        ("demo,strict-one", "'strict-one' needs the option 'layer: a text (required)'", 5, 10),
        ("strict-one{layer=bad}", "the layer is bad; choose a good one", 0, 10),
    ],
)
def test_mistakes_are_pointed_at(text: str, message: str, column: int, width: int) -> None:
    with pytest.raises(ParseError) as caught:
        parse_pipeline(text, DEMOS)
    first, line, marks = str(caught.value).split("\n")
    assert message in first
    assert line == f"  {text}"
    assert marks == "  " + " " * column + "^" * width


def test_a_mistake_in_a_text_of_several_lines_shows_its_line() -> None:
    with pytest.raises(ParseError) as caught:
        parse_pipeline("demo,\n\tdemo{bitz=1},\ndemo", DEMOS)
    assert str(caught.value).split("\n")[1:] == ["  \tdemo{bitz=1},", "  \t     ^^^^"]


def test_a_pipeline_may_be_given_by_name() -> None:
    named = {"default": "demo{bits=4}", "amct": "demo"}
    assert parse_pipeline(" default ", DEMOS, named) == (Demo(bits=4),)
    with pytest.raises(ParseError, match="no pass or pipeline named 'defualt'; did you mean 'default'"):
        parse_pipeline("defualt", DEMOS, named)
    with pytest.raises(ParseError, match="no pass named 'default'"):
        parse_pipeline("default,demo", DEMOS, named)


def test_a_field_that_has_no_text_is_a_mistake_of_the_pass() -> None:
    @dataclass(frozen=True)
    class Odd(Pass):
        name: ClassVar[str] = "odd"
        table: tuple[int, int] = (1, 2)

        def run(self, graph: Graph, context: Context) -> bool:
            return False

    with pytest.raises(TypeError, match="'table' of Odd"):
        options_of(Odd)


def test_options_describe_themselves() -> None:
    described = [str(option) for option in options_of(Demo).values()]
    assert described[0] == "bits: an integer = 8"
    assert described[6] == "ops: list of: a text = Conv,Gemm"
    assert described[8] == "limit: an integer, or none = none"


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("calibrate", Calibrate()),
        ("calibrate{method=percentile percentile=0.999}", Calibrate(Percentile(0.999))),
        (
            "calibrate{method=kl num-bin=512 layers=a,b exact=true}",
            Calibrate(Kl(512), layers=("a", "b"), exact=True),
        ),
        ("calibrate{method=ifmr end=1.2}", Calibrate(Ifmr(end=1.2))),
    ],
)
def test_options_of_a_method_stand_beside_those_of_the_pass(text: str, item: Calibrate) -> None:
    assert parse_pipeline(text) == (item,)
    assert str(item) == text
    reordered = text.replace("method=percentile percentile=0.999", "percentile=0.999 method=percentile")
    assert parse_pipeline(reordered) == (item,)
    assert parse_pipeline("calibrate{end=1.2}") == (Calibrate(Ifmr(end=1.2)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("calibrate{method=kl num-bim=512}", "'calibrate' has no option 'num-bim'; did you mean 'num-bin'"),
        ("calibrate{method=min-max bins=512}", "'calibrate' has no option 'bins'"),
        (
            "calibrate{method=mse zzz=1}",
            "its options: method, ops, layers, regex, exact, weights, scales, candidates",
        ),
        ("calibrate{method=kl num-bin=x}", "option 'num-bin' takes an integer, not 'x'"),
        ("calibrate{method=kl num-bin=12}", "'calibrate': kl needs num-bin of at least 129, not 12"),
        ("calibrate{method=kll}", "not 'kll'; did you mean 'kl'?"),
        ("calibrate{method=}", "option 'method' takes one of hfmg, ifmr, kl"),
        ("calibrate{method=kl,mse}", "option 'method' takes one of hfmg, ifmr, kl"),
    ],
)
def test_mistakes_in_the_options_of_a_method(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=re.escape(message)):
        parse_pipeline(text)
