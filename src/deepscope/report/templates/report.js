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
// Animations become players: a sheet of frames behind a window, moved by a slider or by time.
for (const film of document.querySelectorAll("template.film")) {
  const figure = film.parentElement;
  const [frames, columns, rows, seconds, width, height] = ["frames", "columns", "rows", "seconds", "width", "height"]
    .map((name) => Number(film.dataset[name]));
  const stage = document.createElement("span");
  stage.className = "stage";
  stage.style.width = `${width}px`;
  stage.style.aspectRatio = `${width} / ${height}`;
  stage.append(film.content.cloneNode(true));
  const sheet = stage.firstElementChild;
  sheet.style.width = `${columns * 100}%`;
  const controls = document.createElement("div");
  controls.className = "controls";
  const play = document.createElement("button");
  play.type = "button";
  const slider = document.createElement("input");
  Object.assign(slider, { type: "range", min: 0, max: frames - 1, value: frames - 1 });
  slider.setAttribute("aria-label", `Frame of: ${sheet.alt}`);
  const count = document.createElement("output");
  let timer = 0;
  const show = (frame) => {
    slider.value = frame;
    count.textContent = `${frame + 1} / ${frames}`;
    const [across, down] = [frame % columns, Math.floor(frame / columns)];
    sheet.style.transform = `translate(${(-100 * across) / columns}%, ${(-100 * down) / rows}%)`;
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  };
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) === frames - 1) show(0);
    play.textContent = "Pause";
    timer = setInterval(() => {
      const next = Number(slider.value) + 1;
      if (next < frames) show(next);
      else stop();
    }, seconds * 1000);
  });
  slider.addEventListener("input", () => {
    stop();
    show(Number(slider.value));
  });
  stop();
  show(frames - 1);
  controls.append(play, slider, count);
  figure.classList.add("player");
  figure.querySelector("label").append(stage);
  figure.insertBefore(controls, film);
}
// A figure that is open large closes with Escape.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll(".open input:checked")) open.checked = false;
});
// The contents fold on a narrow window; a link in them folds them again.
const nav = document.querySelector("nav");
const fold = document.createElement("button");
Object.assign(fold, { type: "button", className: "fold", textContent: "Contents" });
fold.setAttribute("aria-controls", "toc");
const unfold = (open) => {
  nav.classList.toggle("unfolded", open);
  fold.setAttribute("aria-expanded", String(open));
};
nav.classList.add("folds");
unfold(false);
fold.addEventListener("click", () => unfold(!nav.classList.contains("unfolded")));
nav.querySelector(".toc").addEventListener("click", (event) => {
  if (event.target.closest("a")) unfold(false);
});
nav.querySelector(".bar").append(deepscopeExplorer.theme(), fold);
// The contents say where the reader is.
const links = new Map([...nav.querySelectorAll(".toc a")].map((link) => [link.hash.slice(1), link]));
const watched = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      links.forEach((link) => link.removeAttribute("aria-current"));
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  },
  { rootMargin: "-20% 0px -70% 0px" },
);
document.querySelectorAll("main [id]").forEach((one) => links.has(one.id) && watched.observe(one));
// A link to what is folded opens it.
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", reveal);
nav.addEventListener("click", (event) => {
  if (event.target.hash === location.hash) reveal();
});
reveal();
// While sections are still being made, a reload keeps open what was open.
if ("running" in document.body.dataset) {
  const folds = [...document.querySelectorAll("details")];
  const label = (one) => one.id || `${one.className} ${one.closest("section")?.id}`;
  try {
    const open = JSON.parse(sessionStorage.getItem("open") || "[]");
    for (const one of folds) one.open ||= open.includes(label(one));
    addEventListener("pagehide", () => {
      sessionStorage.setItem("open", JSON.stringify(folds.filter((one) => one.open).map(label)));
    });
  } catch {} // a browser that keeps nothing
}
