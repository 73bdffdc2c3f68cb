// What every component of the explorer builds on: elements, and the formatting of figures.
//
// The files of this folder are plain scripts that share one namespace, so that a page can hold them in a single
// inline script (whose hash its content security policy names), and a local server or a notebook can load the same
// files. Components take a plain data object and callbacks; none of them knows where the data comes from.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});

  // An element with properties, and children that are elements or text. Text never becomes markup: names of files
  // and classes come from outside.
  explorer.el = (tag, properties = {}, ...children) => {
    const one = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
      if (value === undefined || value === null) continue;
      if (name === "role" || name.includes("-")) one.setAttribute(name, value);
      else if (name.startsWith("on")) one.addEventListener(name.slice(2), value);
      else one[name] = value;
    }
    one.append(...children.filter((child) => child !== null && child !== undefined));
    return one;
  };

  let count = 0;
  explorer.id = (name) => `explorer-${name}-${(count += 1)}`;

  // A button that says what it does by its text alone.
  explorer.button = (text, onclick, properties = {}) =>
    explorer.el("button", { type: "button", onclick, ...properties }, text);

  // A drop-down list of [value, text] pairs below its name.
  explorer.choice = (name, options, value, onchange) => {
    const select = explorer.el("select", { onchange: () => onchange(select.value) });
    for (const [key, text] of options) select.append(explorer.el("option", { value: key }, text));
    select.value = value;
    return explorer.el("label", { className: "ex-choice" }, explorer.el("span", {}, name), select);
  };

  explorer.share = (value, decimals = 0) => `${(100 * value).toFixed(decimals)}\u00a0%`;

  // A measured value as text, as its figure says it is written.
  explorer.written = (measured, value) => {
    if (!Number.isFinite(value)) return value > 0 && measured.beyond ? measured.beyond : String(value);
    if (measured.form === "share") return explorer.share(value, measured.decimals);
    return value.toFixed(measured.decimals).replace("-", "\u2212");
  };

  explorer.plural = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

  explorer.className = (data, place) => (place < 0 ? "" : data.classes[place]);

  // Only one item of a group is reached by Tab; arrow keys move between them. `step(key, item)` gives the next one.
  explorer.roving = (host, items, step) => {
    const enter = (item) => {
      for (const other of items()) other.tabIndex = other === item ? 0 : -1;
    };
    host.addEventListener("keydown", (event) => {
      const item = event.target.closest("[data-item]");
      if (!item || event.ctrlKey || event.metaKey || event.altKey) return;
      const next = step(event.key, item);
      if (!next) return;
      event.preventDefault();
      enter(next);
      next.focus();
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    host.addEventListener("focusin", (event) => {
      const item = event.target.closest("[data-item]");
      if (item) enter(item);
    });
  };
})();
