"use strict";
(function () {
  /* What a cell is sorted by: the exact number where it shows one, otherwise its text; dashes come last. */
  function key(cell) {
    const data = cell.querySelector("data");
    if (data) {
      const words = { "inf": Infinity, "-inf": -Infinity, "nan": NaN };
      const value = data.value in words ? words[data.value] : Number(data.value);
      return Number.isNaN(value) ? null : value;
    }
    const text = cell.textContent.trim();
    return text === "–" || text === "" ? null : text;
  }

  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") { return a < b ? -1 : a > b ? 1 : 0; }
    return String(a).localeCompare(String(b), "en", { numeric: true });
  }

  function sortBy(table, heading) {
    const column = heading.cellIndex;
    const sign = heading.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, function (row) { return { row: row, key: key(row.cells[column]) }; });
    rows.sort(function (a, b) {
      if (a.key === null || b.key === null) { return (a.key === null) - (b.key === null); }
      return sign * compare(a.key, b.key);
    });
    for (const other of table.tHead.rows[0].cells) { other.removeAttribute("aria-sort"); }
    heading.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    body.append.apply(body, rows.map(function (item) { return item.row; }));
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const button of table.tHead.querySelectorAll("button")) {
      button.addEventListener("click", function () { sortBy(table, button.closest("th")); });
    }
  }

  for (const form of document.querySelectorAll("form.filter")) {
    const rows = Array.from(document.getElementById(form.dataset.for).tBodies[0].rows);
    const filter = function () {
      const words = form.elements.text.value.toLowerCase().split(/\s+/).filter(Boolean);
      const op = form.elements.op.value, precision = form.elements.precision.value;
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        const fits = (!op || row.dataset.op === op) && (!precision || row.dataset.precision === precision) &&
          words.every(function (word) { return text.includes(word); });
        row.hidden = !fits;
        shown += fits ? 1 : 0;
      }
      form.querySelector("output").value = shown === rows.length ? "" : shown + " of " + rows.length + " layers";
    };
    form.addEventListener("input", filter);
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    filter();
  }

  /* A box of the graph leads to the drawing of its part, which may be folded. */
  function unfold() {
    const target = location.hash ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    if (target && target.tagName === "DETAILS") { target.open = true; target.scrollIntoView(); }
  }
  window.addEventListener("hashchange", unfold);
  unfold();
}());
