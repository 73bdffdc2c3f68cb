// The map of the images: a point each, coloured by class, error or split; a lasso or a box picks some.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});
  const REACH = 14; // CSS pixels around a point that belong to it
  const EDGE = 14;

  const inside = ([x, y], polygon) => {
    let found = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i, i += 1) {
      const [[a, b], [c, d]] = [polygon[i], polygon[j]];
      if (b > y !== d > y && x < ((c - a) * (y - b)) / (d - b) + a) found = !found;
    }
    return found;
  };

  // scatter.show(places): these entries stand out. `onpick(places)`: a person drew around them. `onopen(place)`.
  explorer.scatter = (data, { onpick, onopen }) => {
    const { el } = explorer;
    const placed = data.entries.map((one, place) => [one, place]).filter(([one]) => one.place.length);
    const marks = explorer.marks(data, placed);
    let [way, tool] = ["class", matchMedia("(pointer: coarse)").matches ? "look" : "lasso"];
    let [listed, current, drawn, corner] = [new Set(), -1, null, null];
    let points = [];

    const canvas = el("canvas", {
      tabIndex: 0,
      role: "application",
      "aria-label": `Map of ${explorer.plural(placed.length, "image")}`,
    });
    const tip = el("div", { className: "ex-tip", hidden: true, "aria-hidden": "true" });
    const said = el("p", { className: "ex-help", role: "status" });
    const legend = el("ul", { className: "ex-legend" });
    const help = el(
      "p",
      { className: "ex-help", id: explorer.id("help") },
      "Keyboard: arrow keys go from point to point, Enter opens an image, Space sets the first and then the second corner of a box.",
    );
    canvas.setAttribute("aria-describedby", help.id);
    const coloured = explorer.choice("Colour", marks.ways, way, (value) => {
      way = value;
      paint();
    });
    const tools = [
      ["lasso", "Lasso"],
      ["box", "Box"],
      ["look", "Look"],
    ];
    const chosen = explorer.choice("Pointer", tools, tool, (value) => {
      tool = value;
      canvas.dataset.tool = value;
    });
    canvas.dataset.tool = tool;
    const stage = el("div", { className: "ex-map" }, canvas, tip);
    const host = el(
      "div",
      { className: "ex-chart" },
      el("div", { className: "ex-row" }, coloured, chosen),
      stage,
      said,
      legend,
      help,
    );
    if (data.projection) {
      const { method, trustworthiness, neighbours } = data.projection;
      const text = `Trustworthiness ${trustworthiness?.toFixed(3) ?? "not known"} over ${neighbours} neighbours, by ${method}: 1 means that all neighbours on the map are neighbours among the features. Only nearness means something.`;
      host.append(el("p", { className: "ex-trust" }, text));
    }

    // The map is as wide as its panel, and as high as its points need.
    const axis = (at) => placed.map(([one]) => one.place[at]);
    const [xs, ys] = [axis(0), axis(1)];
    const [left, top] = [Math.min(...xs), Math.min(...ys)];
    const [spread, rise] = [Math.max(...xs) - left || 1, Math.max(...ys) - top || 1];
    canvas.style.setProperty("--shape", Math.max(1, Math.min(1.7, spread / rise)));

    const measure = () => {
      const [width, height] = [canvas.clientWidth, canvas.clientHeight];
      const scale = Math.min((width - 2 * EDGE) / spread, (height - 2 * EDGE) / rise);
      const [dx, dy] = [(width - spread * scale) / 2, (height - rise * scale) / 2];
      points = placed.map(([one, place]) => ({
        one,
        place,
        x: dx + (one.place[0] - left) * scale,
        y: dy + (one.place[1] - top) * scale,
      }));
    };

    const paint = () => {
      const [width, height, density] = [canvas.clientWidth, canvas.clientHeight, globalThis.devicePixelRatio || 1];
      if (!width) return;
      canvas.width = width * density;
      canvas.height = height * density;
      measure();
      const context = canvas.getContext("2d");
      context.scale(density, density);
      context.lineWidth = 1.6;
      const radius = placed.length > 1200 ? 2.4 : placed.length > 300 ? 3.2 : 4;
      for (const strong of [false, true]) {
        context.globalAlpha = strong ? 0.9 : 0.16;
        for (const point of points) if (listed.has(point.place) === strong) marks.draw(context, way, point, radius);
      }
      context.globalAlpha = 1;
      const ink = getComputedStyle(host).color;
      context.strokeStyle = ink;
      const at = points.find((point) => point.place === current);
      if (at) {
        context.beginPath();
        context.arc(at.x, at.y, radius + 4, 0, 2 * Math.PI);
        context.stroke();
      }
      if (drawn?.length > 1) {
        context.setLineDash([5, 4]);
        context.beginPath();
        drawn.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
        context.closePath();
        context.stroke();
      }
      legend.replaceChildren(...marks.legend(way));
    };

    const spot = (event) => {
      const box = canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    const nearest = ([x, y], reach = REACH) => {
      let [best, least] = [null, reach * reach];
      for (const point of points) {
        const far = (point.x - x) ** 2 + (point.y - y) ** 2;
        if (far < least) [best, least] = [point, far];
      }
      return best;
    };
    const describe = (one) => {
      const [truth, predicted] = [one.truth, one.predicted].map((place) => explorer.className(data, place));
      const verdict = one.right === false ? ` (wrong: ${predicted})` : "";
      return `${one.name}: ${truth || predicted}${verdict}${one.split === "train" ? ", training image" : ""}`;
    };
    const point = (found) => {
      current = found ? found.place : -1;
      tip.hidden = !found;
      if (found) {
        const image = found.one.picture ? el("img", { src: found.one.picture, alt: found.one.name }) : null;
        tip.replaceChildren(...[image, el("span", {}, describe(found.one))].filter(Boolean));
        tip.classList.toggle("ex-left", found.x > canvas.clientWidth / 2);
        tip.style.left = `${found.x}px`;
        tip.style.top = `${Math.min(found.y, canvas.clientHeight - 90)}px`;
      }
      paint();
    };
    const pick = (polygon) => {
      const found = points.filter((one) => inside([one.x, one.y], polygon)).map((one) => one.place);
      said.textContent = `${explorer.plural(found.length, "image")} picked.`;
      onpick(found);
    };
    const box = ([a, b], [c, d]) => [
      [a, b],
      [c, b],
      [c, d],
      [a, d],
    ];

    let origin = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      origin = spot(event);
      drawn = null;
      if (tool !== "look") canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const at = spot(event);
      if (!origin || tool === "look") {
        const found = nearest(at);
        if ((found?.place ?? -1) !== current) point(found);
        return;
      }
      if (tool === "box") drawn = box(origin, at);
      else (drawn ??= [origin]).push(at);
      tip.hidden = true;
      paint();
    });
    canvas.addEventListener("pointerup", (event) => {
      const at = spot(event);
      const moved = origin && Math.hypot(at[0] - origin[0], at[1] - origin[1]) > 4;
      const polygon = drawn;
      [origin, drawn] = [null, null];
      if (polygon && (moved || polygon.length > 8)) pick(polygon);
      else {
        const found = nearest(at);
        if (found) onopen(found.place);
      }
      paint();
    });
    canvas.addEventListener("pointercancel", () => {
      [origin, drawn] = [null, null];
      paint();
    });
    canvas.addEventListener("pointerleave", () => origin || point(null));
    canvas.addEventListener("blur", () => point(null));

    // By keyboard: the nearest point in the direction of the arrow; those far off to the side count as farther.
    const towards = ([right, down]) => {
      const from = points.find((one) => one.place === current);
      if (!from) return points[0];
      const ahead = points
        .map((one) => ({
          one,
          along: (one.x - from.x) * right + (one.y - from.y) * down,
          off: Math.abs((one.x - from.x) * down) + Math.abs((one.y - from.y) * right),
        }))
        .filter(({ along, off }) => along > 0.5 && off <= 2 * along);
      ahead.sort((a, b) => a.along + 2 * a.off - (b.along + 2 * b.off));
      return ahead[0]?.one ?? from;
    };
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
      if (event.key in steps) {
        const found = towards(steps[event.key]);
        if (corner) drawn = box(corner, [found.x, found.y]);
        point(found);
        said.textContent = describe(found.one);
      } else if (event.key === "Enter" && current >= 0) {
        onopen(current);
      } else if (event.key === " " && current >= 0) {
        const at = points.find((one) => one.place === current);
        if (corner) {
          const [[a, b], [c, d]] = [corner, [at.x, at.y]];
          // Slightly larger, so that the two corners themselves are in it.
          const [left, right, top, bottom] = [
            Math.min(a, c) - 0.5,
            Math.max(a, c) + 0.5,
            Math.min(b, d) - 0.5,
            Math.max(b, d) + 0.5,
          ];
          [corner, drawn] = [null, null];
          pick(box([left, top], [right, bottom]));
          paint();
        } else {
          corner = [at.x, at.y];
          said.textContent = "First corner set: go to the second one and press Space again.";
        }
      } else if (event.key === "Escape" && corner) {
        [corner, drawn] = [null, null];
        said.textContent = "";
        paint();
      } else return;
      event.preventDefault();
    });

    new ResizeObserver(() => paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    addEventListener("deepscope-theme", () => paint());
    return {
      host,
      show(places) {
        listed = new Set(places);
        paint();
      },
      // Arrow keys go on from the image that was open: the dialog had taken the focus from its point.
      focus(place) {
        canvas.focus();
        point(points.find((one) => one.place === place) ?? null);
      },
    };
  };
})();
