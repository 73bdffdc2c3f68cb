// The pictures, as a list that arrow keys move through.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});
  const AT_ONCE = 60; // items that are added when the end of the list comes into view: a filter stays instant

  // grid.show(places, measured): list these entries; `measured` is the figure they are sorted by, if any.
  // grid.focus(place): put the focus on an entry. `onopen(place)`: a person wants to see it large.
  explorer.grid = (data, { onopen }) => {
    const { el } = explorer;
    const list = el("ul", { className: "ex-grid", "aria-label": "Images" });
    const more = el("div", { className: "ex-more", "aria-hidden": "true" });
    const host = el("div", { className: "ex-scroller" }, list, more);
    let places = [];
    let measured = null;
    let shown = 0;

    const item = (place, position) => {
      const one = data.entries[place];
      const [truth, predicted] = [one.truth, one.predicted].map((name) => explorer.className(data, name));
      const value = measured && one.values[measured.name];
      const figure = value === undefined || !measured ? "" : explorer.written(measured, value);
      const wrong = one.right === false;
      const button = explorer.button("", () => onopen(place), {
        className: wrong ? "ex-item ex-wrong" : "ex-item",
        tabIndex: position === 0 ? 0 : -1,
      });
      button.dataset.item = place;
      // What a screen reader reads is what is seen, with the words between that the layout makes superfluous.
      const unseen = (text) => el("span", { className: "ex-unseen" }, text);
      const seen = (className, text) => el("span", { className }, text);
      const picture = { src: one.picture, alt: one.name, decoding: "async", draggable: false };
      button.append(one.picture ? el("img", picture) : el("span", { className: "ex-blank" }, unseen(one.name)));
      button.append(unseen(predicted ? ", predicted " : ", "), seen("ex-names", predicted || truth || one.name));
      if (wrong && truth) button.append(unseen(", "), seen("ex-truth", `is ${truth}`));
      if (wrong) button.append(unseen(", wrong"));
      if (figure) button.append(unseen(`, ${measured.title} `), seen("ex-figure", figure));
      const flags = Object.keys(one.flags);
      if (flags.length) button.append(seen("ex-flag", ""), unseen(`, ${flags.join(", ")}`));
      return el("li", { "aria-setsize": places.length, "aria-posinset": position + 1 }, button);
    };

    const extend = (least = 0) => {
      const end = Math.min(places.length, Math.max(shown + AT_ONCE, least));
      const added = document.createDocumentFragment();
      for (; shown < end; shown += 1) added.append(item(places[shown], shown));
      list.append(added);
      more.hidden = shown >= places.length;
    };

    const items = () => list.querySelectorAll("[data-item]");
    const at = (position) => {
      const wanted = Math.max(0, Math.min(places.length - 1, position));
      if (wanted >= shown) extend(wanted + 1);
      return items()[wanted];
    };
    const across = () => {
      const all = items();
      const top = all[0]?.parentElement.offsetTop;
      const next = [...all].findIndex((one) => one.parentElement.offsetTop > top);
      return next < 0 ? Math.max(1, all.length) : next;
    };
    explorer.roving(host, items, (key, button) => {
      const position = places.indexOf(Number(button.dataset.item));
      const rows = Math.max(1, Math.floor(host.clientHeight / Math.max(1, button.parentElement.offsetHeight)));
      const steps = {
        ArrowRight: 1,
        ArrowLeft: -1,
        ArrowDown: across(),
        ArrowUp: -across(),
        PageDown: rows * across(),
        PageUp: -rows * across(),
        Home: -position,
        End: places.length,
      };
      return key in steps ? at(position + steps[key]) : null;
    });
    new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && extend(), {
      root: host,
      rootMargin: "400px",
    }).observe(more);

    return {
      host,
      show(chosen, by) {
        [places, measured, shown] = [chosen, by, 0];
        list.replaceChildren();
        host.scrollTop = 0;
        extend();
        if (!places.length) list.append(el("li", { className: "ex-none" }, "No image meets all of these."));
      },
      focus(place) {
        const position = places.indexOf(place);
        const one = position < 0 ? items()[0] : at(position);
        one?.focus();
        one?.scrollIntoView({ block: "nearest" });
      },
    };
  };
})();
