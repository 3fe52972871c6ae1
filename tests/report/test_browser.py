"""The page in a real browser, where there is one: no console message; sorting, filtering and folding work."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pages import large_report, write_report

from qir.report.page import write_page

BROWSER = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
_CLICKS = """
const table = document.getElementById("layer-table"), form = document.querySelector("form.filter");
const shown = () => Array.from(table.tBodies[0].rows).filter(row => !row.hidden);
const say = (what) => { document.body.dataset.said = (document.body.dataset.said || "") + what + ";"; };
const buttons = Array.from(table.tHead.querySelectorAll("button"));
const heading = buttons.find(button => button.textContent === "cumulative cosine");
heading.click();
say(heading.closest("th").getAttribute("aria-sort") + " " + shown()[0].cells[0].textContent);
heading.click();
say(heading.closest("th").getAttribute("aria-sort") + " " + shown()[0].cells[0].textContent);
form.elements.text.value = "search";
form.dispatchEvent(new Event("input"));
say(shown().length + " " + form.querySelector("output").value);
form.elements.op.value = "Gemm";
form.dispatchEvent(new Event("input"));
say(shown().length + " " + form.querySelector("output").value);
console.log("the test's own message");
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_in_chromium(tmp_path: Path) -> None:
    write_report(tmp_path / "m", large_report(100))
    page = write_page(tmp_path / "m")
    text = page.read_text(encoding="utf-8").replace("</body>", f"<script>{_CLICKS}</script></body>")
    page.write_text(text, encoding="utf-8")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [str(BROWSER), *options, profile, page.as_uri()],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )
    if "</html>" not in done.stdout:
        pytest.skip(f"Chromium does not run here: {done.stderr[-300:]}")
    messages = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert len(messages) == 1, messages
    assert "the test's own message" in messages[0]
    said = re.search(r'data-said="([^"]*)"', done.stdout)
    assert said, done.stderr
    assert said[1].split(";")[:4] == [
        "ascending /block.9/conv.9/Conv",
        "descending /block.0/conv.0/Conv",
        "15 15 of 100 layers",
        "5 5 of 100 layers",
    ]
