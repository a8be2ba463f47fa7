// The table of a board, from the data beside it: filtered, sorted, a hundred rows at a time. #ID opens one row.
"use strict";
const AT_ONCE = 100;
const data = JSON.parse(document.getElementById("data").textContent);
const column = (name) => data.columns[name] ?? null;
const cell = (name, i) => (column(name) ? column(name)[i] : data.constant[name]) ?? null;
const all = data.ids.map((_, i) => i);
const texts = all.map((i) => ["model", "settings", "submitter"].map((name) => cell(name, i) ?? "").join(" ").toLowerCase());
const finite = all.flatMap((i) => [cell("ci_low", i), cell("value", i), cell("ci_high", i)]).filter(Number.isFinite);
const domain = finite.reduce(([low, high], x) => [Math.min(low, x), Math.max(high, x)], [Infinity, -Infinity]);
const body = document.getElementById("rows");
const filter = document.getElementById("filter");
const history_ = document.getElementById("history");
const more = document.getElementById("more");
let sorted = { key: "", sign: 1 };
let chosen = [];
let open = location.hash.slice(1);

function make(tag, text = "", properties = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  return Object.assign(element, properties);
}

function shown(x) {
  return Number.isFinite(x) ? String(Number(x.toPrecision(4))) : (x ?? "–");
}

function drawn(i) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const set = (element, values) => Object.entries(values).forEach(([k, v]) => element.setAttribute(k, v));
  set(svg, { class: "bar", width: 160, height: 18, role: "img" });
  const [low, value, high] = ["ci_low", "value", "ci_high"].map((name) => cell(name, i));
  const at = (x) => 6 + (148 * (x - domain[0])) / (domain[1] - domain[0] || 1);
  set(svg, { "aria-label": `${shown(low)} to ${shown(high)}` });
  if (Number.isFinite(low) && Number.isFinite(high)) {
    const line = document.createElementNS(svg.namespaceURI, "path");
    set(line, { class: "ci", d: `M${at(low)} 9H${at(high)}` });
    svg.append(line);
  }
  if (Number.isFinite(value)) {
    const dot = document.createElementNS(svg.namespaceURI, "circle");
    set(dot, { class: "dot", cx: at(value), cy: 9, r: 3.2 });
    svg.append(dot);
  }
  return svg;
}

function row(i) {
  const line = make("tr", "", { id: data.ids[i] });
  const rank = cell("rank", i);
  const range = rank === null ? "" : `${cell("rank_best", i)}–${cell("rank_worst", i)}`;
  const head = make("td", rank ?? "", { className: "num", title: range && `rank from ${range}` });
  if (range) head.append(make("span", range, { className: "note" }));
  const name = make("td");
  name.append(make("a", cell("model", i), { href: `#${data.ids[i]}`, className: "name" }));
  if (cell("status", i) !== "active") name.append(make("span", [cell("status", i), cell("flag", i)].filter(Boolean).join(": "), { className: "note" }));
  const settings = make("td", Object.entries(JSON.parse(cell("settings", i) || "{}")).map(([k, v]) => `${k} ${v}`).join(", "));
  const interval = make("td", "", { className: "drawn", title: `${shown(cell("ci_low", i))} to ${shown(cell("ci_high", i))}` });
  interval.append(drawn(i));
  line.append(head, name, settings, make("td", shown(cell("value", i)), { className: "num", title: cell("value", i) }), interval,
    make("td", cell("n", i), { className: "num" }), make("td", (cell("verification", i) ?? "").replace("_", "-")), make("td", cell("submitter", i)));
  return line;
}

function provenance(i) {
  const line = make("tr", "", { className: "opened" });
  const wide = make("td", "", { colSpan: 8 });
  const list = make("dl", "", { className: "facts" });
  for (const name of [...Object.keys(data.columns), ...Object.keys(data.constant)]) {
    const value = cell(name, i);
    if (value === null || value === "" || ["rank", "rank_best", "rank_worst", "model"].includes(name)) continue;
    const pair = make("div");
    pair.append(make("dt", name), make("dd", String(value)));
    list.append(pair);
  }
  wide.append(list);
  line.append(wide);
  return line;
}

function draw(count = AT_ONCE) {
  const at = chosen.findIndex((i) => data.ids[i] === open);
  const rows = chosen.slice(0, Math.max(count, at + 1));
  body.replaceChildren(...rows.flatMap((i) => (data.ids[i] === open ? [row(i), provenance(i)] : [row(i)])));
  more.hidden = rows.length >= chosen.length;
  document.getElementById("count").textContent = `${chosen.length} of ${all.length} rows`;
}

function choose() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  chosen = all.filter((i) => (history_.checked || cell("status", i) === "active" || data.ids[i] === open) && words.every((word) => texts[i].includes(word)));
  if (sorted.key) {
    const collator = new Intl.Collator(undefined, { numeric: true });
    const missing = (x) => x === null || x === "";
    chosen.sort((i, j) => {
      const [a, b] = [cell(sorted.key, i), cell(sorted.key, j)];
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      return sorted.sign * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
    });
  }
  draw();
}

for (const head of document.querySelectorAll("th[data-key]")) {
  const button = make("button", head.textContent, { type: "button" });
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    sorted = { key: head.dataset.key, sign: sorted.key === head.dataset.key ? -sorted.sign : 1 };
    for (const other of document.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sorted.sign > 0 ? "ascending" : "descending");
    choose();
  });
}
filter.form.addEventListener("submit", (event) => event.preventDefault());
filter.addEventListener("input", choose);
history_.addEventListener("change", choose);
more.addEventListener("click", () => draw(body.querySelectorAll("tr[id]").length + AT_ONCE));
window.addEventListener("hashchange", () => {
  open = location.hash.slice(1);
  choose();
  document.getElementById(open)?.scrollIntoView({ block: "center" });
});
choose();
document.getElementById(open)?.scrollIntoView({ block: "center" });
