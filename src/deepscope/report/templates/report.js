"use strict";
// Tables sort by a click on a heading: numbers as numbers, a dash (not measured) always last.
const number = (text) => {
  const found = text.replaceAll(",", "").match(/^[-+]?[0-9]*\.?[0-9]+(e[-+]?[0-9]+)?/i);
  return found ? parseFloat(found[0]) : NaN;
};
const missing = (text) => /^[\u2013\u2014-]?$/.test(text);
const compare = (a, b) => {
  const [x, y] = [number(a), number(b)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return x - y;
  return a.localeCompare(b);
};
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  if (!body || body.rows.length < 2) continue;
  table.querySelectorAll("thead th").forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const down = heading.getAttribute("aria-sort") === "ascending";
      table.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent.trim();
      const rows = [...body.rows].sort((p, q) => {
        const [a, b] = [text(p), text(q)];
        if (missing(a) !== missing(b)) return missing(a) ? 1 : -1;
        return down ? compare(b, a) : compare(a, b);
      });
      body.append(...rows);
    });
  });
}
