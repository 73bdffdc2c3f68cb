// The confusion matrix and the reliability diagram: each cell and each bin lists its images.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});
  const MATRIX = 24; // classes in a matrix; with more of them the most frequent confusions are listed instead
  const LISTED = 40;
  const BINS = 15;

  const counted = (data) => data.entries.filter((one) => one.truth >= 0 && one.predicted >= 0);

  const pairs = (data) => {
    const counts = new Map();
    for (const one of counted(data)) {
      const row = counts.get(one.truth) ?? counts.set(one.truth, new Map()).get(one.truth);
      row.set(one.predicted, (row.get(one.predicted) ?? 0) + 1);
    }
    return counts;
  };

  // confusion.mark(asked): which cell is chosen. `onpick(truth, predicted)`: as places in `data.classes`.
  explorer.confusion = (data, { onpick }) => {
    const { el, button } = explorer;
    const counts = pairs(data);
    const used = new Set([...counts.keys(), ...[...counts.values()].flatMap((row) => [...row.keys()])]);
    const classes = [...used].sort((a, b) => a - b);
    const name = (place) => explorer.className(data, place);
    const cells = [];
    const cell = (truth, predicted, text, strength) => {
      const number = counts.get(truth).get(predicted);
      const said = `${explorer.plural(number, "image")} of ${name(truth)} predicted ${name(predicted)}`;
      const one = button(text, () => onpick(truth, predicted), { "aria-label": said, title: said });
      one.dataset.item = `${truth} ${predicted}`;
      one.tabIndex = cells.length ? -1 : 0;
      one.className = truth === predicted ? "ex-cell ex-right" : "ex-cell ex-off";
      one.style.setProperty("--strength", strength);
      cells.push(one);
      return one;
    };
    const matrix = () => {
      const head = el("tr", {}, el("td"));
      for (const column of classes) {
        head.append(el("th", { scope: "col" }, el("span", { title: name(column) }, name(column))));
      }
      const rows = classes.map((truth) => {
        const row = counts.get(truth) ?? new Map();
        const total = [...row.values()].reduce((a, b) => a + b, 0);
        const one = el("tr", {}, el("th", { scope: "row", title: name(truth) }, name(truth)));
        for (const column of classes) {
          const number = row.get(column);
          one.append(el("td", {}, number ? cell(truth, column, String(number), number / total) : null));
        }
        return one;
      });
      return el("table", { className: "ex-matrix" }, el("thead", {}, head), el("tbody", {}, ...rows));
    };
    const list = () => {
      const all = [...counts].flatMap(([truth, row]) =>
        [...row].map(([predicted, number]) => [truth, predicted, number]),
      );
      const off = all.filter(([truth, predicted]) => truth !== predicted).sort((a, b) => b[2] - a[2]);
      const most = off[0]?.[2] ?? 1;
      const items = off.slice(0, LISTED).map(([truth, predicted, number]) => {
        const text = `${number} \u00d7 ${name(truth)} \u2192 ${name(predicted)}`;
        return el("li", {}, cell(truth, predicted, text, number / most));
      });
      return el("ul", { className: "ex-pairs" }, ...items);
    };
    const large = classes.length > MATRIX;
    const host = el("div", { className: "ex-chart" });
    host.append(
      el(
        "p",
        { className: "ex-help" },
        large
          ? "The most frequent confusions, true class first."
          : "Rows: truth. Columns: prediction. A cell lists its images.",
      ),
      el("div", { className: "ex-wide" }, large ? list() : matrix()),
    );
    explorer.roving(
      host,
      () => cells,
      (key, one) => {
        const [row, column] = one.dataset.item.split(" ").map(Number);
        const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
        if (large) return cells[cells.indexOf(one) + ({ ArrowDown: 1, ArrowUp: -1 }[key] ?? NaN)];
        if (key === "Home") return cells[0];
        if (key === "End") return cells.at(-1);
        if (!(key in steps)) return null;
        // The nearest cell that holds images, in that direction: empty cells are not buttons.
        const [down, right] = steps[key];
        const place = (of) => of.dataset.item.split(" ").map((text) => classes.indexOf(Number(text)));
        const [y, x] = [classes.indexOf(row), classes.indexOf(column)];
        const ahead = cells.filter((other) => {
          const [v, u] = place(other);
          return down ? Math.sign(v - y) === down : v === y && Math.sign(u - x) === right;
        });
        const far = (other) => {
          const [v, u] = place(other);
          return Math.abs(v - y) * (down ? 100 : 1) + Math.abs(u - x);
        };
        return ahead.sort((a, b) => far(a) - far(b))[0] ?? null;
      },
    );
    return {
      host,
      mark(asked) {
        for (const one of cells)
          one.setAttribute("aria-pressed", String(one.dataset.item === `${asked.truth} ${asked.predicted}`));
      },
    };
  };

  // As the reliability diagram of the accuracy check: bins of equal width, their upper bound included.
  explorer.bins = (data) => {
    const found = Array.from({ length: BINS }, (_, bin) => ({
      from: bin / BINS,
      to: (bin + 1) / BINS,
      count: 0,
      right: 0,
      sum: 0,
    }));
    for (const one of counted(data)) {
      const confidence = one.values.confidence;
      if (confidence === undefined || one.right === null) continue;
      const bin = found[Math.min(BINS, Math.max(1, Math.ceil(confidence * BINS))) - 1];
      bin.count += 1;
      bin.right += one.right;
      bin.sum += confidence;
    }
    return found;
  };

  // calibration.mark(asked): which bin is chosen. `onpick(from, to)`: confidences above `from`, up to `to`.
  explorer.calibration = (data, { onpick }) => {
    const { el, button, share } = explorer;
    const buttons = [];
    const bins = explorer.bins(data);
    const most = Math.max(1, ...bins.map((bin) => bin.count));
    const columns = bins.map((bin, place) => {
      if (!bin.count) return el("div", { className: "ex-empty" });
      const [right, confidence] = [bin.right / bin.count, bin.sum / bin.count];
      const said =
        `Confidence ${share(bin.from)} to ${share(bin.to)}: ${explorer.plural(bin.count, "image")}, ` +
        `${share(right)} of them right, mean confidence ${share(confidence)}`;
      const fill = el("span", { className: "ex-accuracy" });
      fill.style.height = `${100 * right}%`;
      fill.style.opacity = 0.35 + (0.65 * bin.count) / most;
      const mean = el("span", { className: "ex-mean" });
      mean.style.bottom = `${100 * confidence}%`;
      const one = button("", () => onpick(bin.from, bin.to), { className: "ex-bin", "aria-label": said, title: said });
      one.append(fill, mean, el("span", { className: "ex-count", "aria-hidden": "true" }, String(bin.count)));
      one.dataset.item = place;
      one.tabIndex = buttons.length ? -1 : 0;
      buttons.push(one);
      return one;
    });
    const host = el(
      "div",
      { className: "ex-chart" },
      el(
        "p",
        { className: "ex-help" },
        "Height: share of right predictions. Line: mean confidence. Below: images. A bar lists them.",
      ),
      el("div", { className: "ex-bins", role: "group", "aria-label": "Confidence, from low to high" }, ...columns),
      el(
        "div",
        { className: "ex-axis", "aria-hidden": "true" },
        el("span", {}, "0\u00a0%"),
        el("span", {}, "confidence"),
        el("span", {}, "100\u00a0%"),
      ),
    );
    explorer.roving(
      host,
      () => buttons,
      (key, one) => {
        const at = buttons.indexOf(one);
        const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 }[key];
        return next === undefined ? null : buttons[next];
      },
    );
    return {
      host,
      mark(asked) {
        const range = asked.ranges.confidence;
        for (const one of buttons) {
          const bin = bins[Number(one.dataset.item)];
          const chosen = range?.from === bin.from && range?.to === bin.to;
          one.setAttribute("aria-pressed", String(chosen));
        }
      },
    };
  };
})();
