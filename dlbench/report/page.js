// A click on a header, or Enter on it, sorts its table: ascending, then descending. What is missing stays last.
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    if (head.classList.contains("fixed")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => sort(table, head));
  }
}

function sort(table, head) {
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const numeric = head.classList.contains("num");
  const body = table.tBodies[0];
  const keyed = Array.from(body.rows, (row) => {
    const cell = row.cells[head.cellIndex];
    const text = cell.dataset.v ?? cell.textContent.trim();
    return { row, text, number: text === "" ? NaN : Number(text.replace("inf", "Infinity")), missing: text === "" || text === "nan" };
  });
  const text = new Intl.Collator(undefined, { numeric: true });
  keyed.sort((a, b) => {
    if (a.missing || b.missing) return a.missing - b.missing;
    if (!numeric || Number.isNaN(a.number) || Number.isNaN(b.number)) return sign * text.compare(a.text, b.text);
    return sign * (a.number < b.number ? -1 : a.number > b.number ? 1 : 0);
  });
  body.append(...keyed.map((entry) => entry.row));
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
}
