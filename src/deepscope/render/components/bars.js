// The most probable classes, a bar each.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});

  // `rows`: {name, probability}, with `marked` for one that stands out, `before` for the probability that it had (a
  // line across the bar), and `onpick` where a click chooses it, which `pressed` says of one.
  explorer.probabilities = (rows) => {
    const { el, button, share } = explorer;
    const written = (value) => (value > 0 && value < 0.0005 ? "<\u00a00.1\u00a0%" : share(value, 1));
    const row = ({ name, probability, marked = false, before, onpick, pressed = false }) => {
      const fill = el("span", { className: "ex-fill" });
      fill.style.width = `${100 * probability}%`;
      const track = el("span", { className: "ex-track" }, fill);
      if (before !== undefined) {
        const line = el("span", { className: "ex-before" });
        line.style.left = `${100 * before}%`;
        track.append(line, el("span", { className: "ex-unseen" }, `, ${written(before)} before`));
      }
      const label = onpick
        ? button(name, onpick, { className: "ex-pick", title: name, "aria-pressed": String(pressed) })
        : el("span", { title: name }, name);
      return el(
        "li",
        { className: marked ? "ex-true" : "" },
        label,
        track,
        el("span", { className: "ex-probability" }, written(probability)),
      );
    };
    return el("ul", { className: "ex-bars" }, ...rows.map(row));
  };
})();
