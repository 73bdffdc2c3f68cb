// The explorer: what is asked for stands in one object, and every component shows it.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});

  // Panels of which one is seen, chosen by tabs (arrow keys move between them).
  const tabs = (panels) => {
    const { el, button } = explorer;
    const list = el("div", { className: "ex-tabs", role: "tablist", "aria-label": "Charts" });
    const host = el("div", { className: "ex-panels" }, list);
    const made = panels.map(([title, panel]) => {
      const id = explorer.id("panel");
      const tab = button(title, () => open(tab), { role: "tab", id: `${id}-tab`, "aria-controls": id });
      tab.dataset.item = title;
      Object.assign(panel, { id });
      panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", tab.id);
      list.append(tab);
      host.append(panel);
      return [tab, panel];
    });
    const open = (chosen) => {
      for (const [tab, panel] of made) {
        tab.setAttribute("aria-selected", String(tab === chosen));
        tab.tabIndex = tab === chosen ? 0 : -1;
        panel.hidden = tab !== chosen;
      }
    };
    explorer.roving(
      list,
      () => made.map(([tab]) => tab),
      (key, tab) => {
        const at = made.findIndex(([one]) => one === tab);
        const next = made.at({ ArrowRight: (at + 1) % made.length, ArrowLeft: at - 1, Home: 0, End: -1 }[key] ?? NaN);
        if (!["ArrowRight", "ArrowLeft", "Home", "End"].includes(key)) return null;
        open(next[0]);
        return next[0];
      },
    );
    open(made[0][0]);
    return host;
  };

  // The names of the images that are listed, to be copied.
  const copying = (data) => {
    const { el, button } = explorer;
    const text = el("textarea", { readOnly: true, rows: 6, "aria-label": "Names of the images that are listed" });
    const done = el("span", { role: "status" });
    const copy = button("Copy the list", async () => {
      try {
        await navigator.clipboard.writeText(text.value);
      } catch {
        text.select(); // a page that may not write to the clipboard: the old way
        document.execCommand("copy");
      }
      done.textContent = " copied";
    });
    const summary = el("summary", {}, "List of names");
    const host = el("details", { className: "ex-copy" }, summary, el("div", { className: "ex-row" }, copy, done), text);
    return {
      host,
      show(places) {
        text.value = places.map((place) => data.entries[place].file).join("\n");
        done.textContent = "";
        summary.textContent = `List of ${explorer.plural(places.length, "name")}`;
      },
    };
  };

  // Draw the explorer of `data` into `host`, as `deepscope.render.explorer.document` writes it.
  // `onlist(files)`: other images are listed. `select(places, title)` of what it returns lists some of them.
  explorer.start = (host, data, { onlist } = {}) => {
    const { el } = explorer;
    // JSON has no infinity: "Infinity" is a value beyond everything that was tried.
    for (const { values } of data.entries) for (const name of Object.keys(values)) values[name] = Number(values[name]);
    let [asked, places, opener] = [explorer.anything(data), [], null];
    const show = (next) => {
      asked = next;
      places = explorer.chosen(data, asked);
      const measured = data.measured.find((one) => one.name === asked.sort) ?? null;
      grid.show(places, measured);
      for (const chart of charts) chart.mark?.(asked);
      map?.show(places);
      names.show(places);
      controls.show(asked, places);
      onlist?.(places.map((place) => data.entries[place].file));
    };
    const open = (place, from) => {
      opener = from;
      detail.open(place, places.includes(place) ? places : [place]);
    };
    const grid = explorer.grid(data, { onopen: (place) => open(place, grid) });
    const detail = explorer.detail(data, { onclose: (place) => (opener ?? grid).focus(place) });
    const controls = explorer.controls(data, {
      onask: (next, refocus) => {
        show(next);
        if (refocus) controls.focus(); // the chip that had the focus is gone
      },
    });
    const names = copying(data);
    const has = (name) => data.entries.some((one) => one[name] !== null && one[name] >= 0);
    const map = data.entries.some((one) => one.place.length)
      ? explorer.scatter(data, {
          onpick: (picked) => {
            const title = `${explorer.plural(picked.length, "image")} picked on the map`;
            show({ ...asked, picked: picked.length ? { places: new Set(picked), title } : null });
          },
          onopen: (place) => open(place, map),
        })
      : null;
    const panels = map ? [["Map", map.host]] : [];
    const charts = [];
    if (has("truth") && has("predicted")) {
      const toggle = (same, change, none) => show({ ...asked, picked: null, ...(same ? none : change) });
      const confusion = explorer.confusion(data, {
        onpick: (truth, predicted) => {
          const wanted = { truth: String(truth), predicted: String(predicted) };
          toggle(asked.truth === wanted.truth && asked.predicted === wanted.predicted, wanted, {
            truth: "",
            predicted: "",
          });
        },
      });
      const calibration = explorer.calibration(data, {
        onpick: (from, to) => {
          const { confidence, ...rest } = asked.ranges;
          const wanted = { ...rest, confidence: { from, to, above: from > 0 } };
          toggle(confidence?.from === from && confidence?.to === to, { ranges: wanted }, { ranges: rest });
        },
      });
      charts.push(confusion);
      panels.push(["Confusion", confusion.host]);
      if (data.entries.some((one) => one.values.confidence !== undefined)) {
        charts.push(calibration);
        panels.push(["Calibration", calibration.host]);
      }
    }
    const side = panels.length ? el("div", { className: "ex-side" }, tabs(panels)) : null;
    const main = el("div", { className: "ex-main" }, controls.host, grid.host, names.host);
    host.replaceChildren(...[side, main, detail.host].filter(Boolean));
    host.classList.add("ex-started");
    show(asked);
    return {
      // List these images and nothing else, and put the focus on the first of them.
      select(chosen, title) {
        show({ ...explorer.anything(data), picked: { places: new Set(chosen), title } });
        grid.focus(places[0]);
      },
    };
  };
})();
