"""What the tests of the page need: documents of a real model, large made-up ones, and a reader of pages."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib

XHTML, SVG = "{http://www.w3.org/1999/xhtml}", "{http://www.w3.org/2000/svg}"
FILES = {
    "report": "report.json",
    "resolved": "resolved_config.json",
    "sensitivity": "sensitivity.json",
    "journal": "journal.jsonl",
}
STATIC = ("L1", "L2", "INT8", "float32 sums", "1 − cosine")
"""Words of the page itself that have digits in them."""


def parsed(page: Path) -> Element:
    """The document; html5lib raises ParseError for what is not valid HTML."""
    return _tree(page.read_text(encoding="utf-8"))


@functools.lru_cache(maxsize=1)
def _tree(text: str) -> Element:
    parser = html5lib.HTMLParser(html5lib.getTreeBuilder("etree"), strict=True)
    found: Element = parser.parse(text)
    return found


def documents(prefix: Path, debug: Path | None = None) -> dict[str, Any]:
    """The JSON beside a page, by the names that it calls it."""
    found: dict[str, Any] = {}
    for name, ending in FILES.items():
        path = prefix.with_name(f"{prefix.name}_{ending}")
        if path.exists():
            text = path.read_text(encoding="utf-8")
            lines = path.suffix == ".jsonl"
            found[name] = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    for path in [] if debug is None else debug.glob("*.json"):
        found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    return found


def at(found: Any, path: str) -> Any:
    for step in path.split("/"):
        key = step.replace("~1", "/").replace("~0", "~")
        found = found[int(key)] if isinstance(found, list) else found[key]
    return found


def check_numbers(tree: Element, found: dict[str, Any]) -> set[str]:
    """Every number of the page is that of the JSON at its place, shown rounded; returns the places."""
    seen = set()
    for element in tree.iter():
        path = element.get("data-at")
        if path is None:
            continue
        value = at(found, path)
        exact = float(len(value)) if isinstance(value, (list, dict)) else float(value)
        told = float(element.get("value") or element.get("data-value") or "")
        assert told == exact or (math.isnan(told) and math.isnan(exact)), path
        text = "".join(element.itertext()).rpartition(": ")[2]
        assert is_rounding(text, exact), f"{path}: {text} is not {exact}"
        seen.add(path)
    return seen


def is_rounding(text: str, exact: float) -> bool:
    """Whether `text` is `exact` to within half a unit of its last place, with its unit."""
    words = {"∞": math.inf, "−∞": -math.inf}
    if text in words or not math.isfinite(exact):
        return text == "not finite" if math.isnan(exact) else words.get(text) == exact
    match = re.fullmatch(r"([−\d.,]+)(?:e([+−]\d+))?( %| kB| MB)?", text)
    assert match, text
    digits = match[1].replace("−", "-").replace(",", "")
    power = int((match[2] or "0").replace("−", "-"))
    unit = {" %": 0.01, " kB": 1e3, " MB": 1e6}.get(match[3] or "", 1.0)
    places = len(digits.partition(".")[2])
    significant = 0 if "." in digits else len(digits) - len(digits.rstrip("0"))
    half = 0.5 * 10.0 ** (power - places + (significant if match[2] is None and not match[3] else 0))
    return abs(float(digits) * 10.0**power - exact / unit) <= half * (1 + 1e-9)


def check_nothing_else_is_a_number(tree: Element, found: dict[str, Any]) -> None:
    """What has no place in the JSON are ticks of axes, and words that stand in the JSON as they are."""
    known = {word for word in strings(found) if any(map(str.isdigit, word))}
    for text in loose_texts(tree):
        if text in known or not re.search(r"\d", text):
            continue
        rest = " ".join(
            word for word in text.split() if word not in known and word.strip(",;:()") not in known
        )
        for word in STATIC:
            rest = rest.replace(word, "")
        if re.search(r"\d", rest):  # names with spaces in them, within longer texts
            for word in sorted(known, key=len, reverse=True):
                rest = rest.replace(word, "")
        assert not re.search(r"\d", rest), f"'{text}' is in no JSON"


def strings(found: Any) -> Iterator[str]:
    if isinstance(found, dict):
        for key, value in found.items():
            yield key
            yield from strings(value)
    elif isinstance(found, list):
        for value in found:
            yield from strings(value)
    elif isinstance(found, str):
        yield found
        if len(found) > 25:
            yield f"…{found[-25:]}"  # as boxes of the graph shorten names
        parts = [part for part in found.split("/") if part]
        yield from ("/".join(parts[start:end]) for end in range(1, len(parts)) for start in range(end))


def loose_texts(element: Element) -> Iterator[str]:
    """Visible text outside of numbers, ticks, and the title of the page."""
    ignored = (f"{XHTML}style", f"{XHTML}script", f"{XHTML}head")
    if element.tag in ignored or element.get("data-at") or element.get("class") in ("tick", "version"):
        return
    for text in (element.text, *(child.tail for child in element)):
        if text and text.strip():
            yield text.strip()
    for child in element:
        yield from loose_texts(child)


def check_self_contained(page: Path) -> None:
    """Nothing is loaded: no reference leaves the page, and its policy forbids it besides."""
    tree = parsed(page)
    for element in tree.iter():
        for name, value in element.attrib.items():
            plain = name.rpartition("}")[2]
            if plain in ("src", "href", "srcset", "action", "poster", "data", "formaction", "background"):
                assert value.startswith(("#", "data:")), value
            elif "url(" in value:
                assert value.startswith("url(#"), value
            assert not plain.startswith("on"), name
    style = "".join("".join(item.itertext()) for item in tree.iter(f"{XHTML}style"))
    script = "".join("".join(item.itertext()) for item in tree.iter(f"{XHTML}script"))
    assert "@import" not in style
    assert "url(" not in style
    assert "://" not in style + script
    for word in ("fetch(", "XMLHttpRequest", "import(", "eval(", "innerHTML"):
        assert word not in script
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert set(_links(text)) <= {link for word in tree.itertext() for link in _links(word)}
    ids = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def _links(text: str) -> list[str]:
    return re.findall(r"https?://[^\s\"'<)]*", text)


def large_report(layers: int) -> dict[str, Any]:
    """A report of a chain of so many layers, in blocks of ten."""
    names = [f"/block.{i // 10}/conv.{i % 10}/Conv" for i in range(layers)]
    rows = [
        {
            "name": name, "op": "Conv" if i % 3 else "Gemm", "precision": "int8" if i % 7 else "float32",
            "is_quantized": bool(i % 7), "macs": 1000 + i, "mac_share": (1000 + i) / 1e6, "output": "float32",
            "input": {"tensor": f"t{i}", "precision": "int8", "scale": 0.01 + i * 1e-5,
                      "zero_point": -i % 128, "low": -1.5, "high": 1.25 + i * 1e-3},
            "weight": {"precision": "int8", "scales": 8, "least_scale": 1e-3, "greatest_scale": 2e-3},
            "reason": "" if i % 7 else "left in float <by> & \"the\" search",
            "cumulative": {"cosine": 1 - 1e-5 * (i + 1) ** 0.5, "sqnr": 40 - i * 0.01},
            "isolated": {"cosine": 1 - 1e-6 * (i % 11 + 1), "sqnr": "inf" if i % 5 == 0 else 50.5},
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    histograms = [
        {
            "tensor": f"t{i}", "layers": [name], "count": 4096, "least": -1.5, "greatest": 2.5, "low": -1.5,
            "high": 1.25, "zero_share": 0.25, "outside_share": 0.003, "left": -1.5, "step": 0.1,
            "counts": [(i * k) % 97 for k in range(40)],
        }
        for i, name in enumerate(names)
    ]  # fmt: skip
    nodes: list[dict[str, Any]] = [
        {"name": name, "op": rows[i]["op"], "reads": ["x"] if i == 0 else [i - 1]}
        for i, name in enumerate(names)
    ]
    return {
        "format": 1, "qir": "0.1.0", "model": "large", "target": "ascend", "form": "ascend",
        "pipeline": "fuse-bn,insert-quant", "record": None,
        "summary": {
            "accuracy": {"metric": "top-1", "of": "50 images", "float": 0.75, "quantized": 0.7499},
            "layers": layers, "quantized_layers": layers - layers // 7, "macs": 10**9, "integer_share": 0.857,
            "float_bytes": 4_000_000, "deploy_bytes": 1_100_000, "size_ratio": 3.636363,
            "compared_samples": 8, "layer_samples": 8,
        },
        "outputs": [{"name": "logits", "cosine": 0.9987654321, "sqnr": 26.05, "l1": 0.012345, "l2": 0.023456,
                     "chebyshev": 0.34567, "count": 80}],
        "layers": rows, "histograms": histograms, "notes": ["a note of 3 words"], "findings": [],
        "proof": None, "search": None,
        "graph": {"inputs": ["x"], "nodes": nodes, "outputs": [{"name": "logits", "reads": [layers - 1]}]},
    }  # fmt: skip


def write_report(prefix: Path, report: dict[str, Any]) -> None:
    prefix.with_name(f"{prefix.name}_report.json").write_text(json.dumps(report), encoding="utf-8")
