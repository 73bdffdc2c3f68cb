// What is asked for: drop-down lists, a range of a figure, the order, and what is in force as chips.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});

  // controls.show(asked, count): fill in what is asked for. `onask(asked)`: a person asks for something else.
  explorer.controls = (data, { onask }) => {
    const { el, button, choice } = explorer;
    let asked = explorer.anything(data);
    const ask = (change) => onask({ ...asked, ...change });
    const used = (name) =>
      [...new Set(data.entries.map((one) => one[name]).filter((place) => place >= 0))].sort((a, b) => a - b);
    const options = (name) => [["", "any"], ...used(name).map((place) => [String(place), data.classes[place]])];
    const flags = [...new Set(data.entries.flatMap((one) => Object.keys(one.flags)))];
    const graded = data.entries.some((one) => one.right !== null);
    const training = data.entries.some((one) => one.split === "train");
    const orders = [
      ["", "as evaluated"],
      ["name", "name"],
      ["truth", "truth"],
      ["predicted", "prediction"],
    ];

    const text = el("input", { type: "search", placeholder: "part of a name", "aria-label": "Part of the name" });
    text.addEventListener("input", () => ask({ text: text.value }));
    const fields = {
      truth: choice("Truth", options("truth"), "", (value) => ask({ truth: value })),
      predicted: choice("Prediction", options("predicted"), "", (value) => ask({ predicted: value })),
      outcome:
        graded &&
        choice(
          "Outcome",
          [
            ["", "any"],
            ["right", "right"],
            ["wrong", "wrong"],
          ],
          "",
          (value) => ask({ outcome: value }),
        ),
      flag:
        flags.length &&
        choice("Look at", [["", "all"], ...flags.map((name) => [name, name])], "", (value) => ask({ flag: value, picked: null })),
      split:
        training &&
        choice(
          "Images",
          [
            ["evaluated", "evaluated"],
            ["train", "training"],
            ["", "all"],
          ],
          "evaluated",
          (value) => ask({ split: value, picked: null }),
        ),
      sort: choice("Sort by", [...orders, ...data.measured.map((one) => [one.name, one.title])], "", (value) =>
        ask({ sort: value }),
      ),
    };
    const turn = button("\u2191", () => ask({ descending: !asked.descending }), { className: "ex-turn" });

    // The range of one figure at a time; those of others stay in force, as chips.
    const [from, to] = ["from", "to"].map((name) =>
      el("input", { type: "number", step: "any", placeholder: name, "aria-label": name }),
    );
    let ranged = data.measured[0]?.name ?? "";
    const scale = () => (data.measured.find((one) => one.name === ranged)?.form === "share" ? 100 : 1);
    const limit = () => {
      const { [ranged]: _, ...ranges } = asked.ranges;
      const ends = { from, to };
      const range = {};
      for (const [name, input] of Object.entries(ends))
        if (input.value !== "") range[name] = Number(input.value) / scale();
      if (Object.keys(range).length) ranges[ranged] = range;
      ask({ ranges });
    };
    [from, to].forEach((input) => input.addEventListener("input", limit));
    const unit = el("span", { className: "ex-unit" });
    const fill = () => {
      const range = asked.ranges[ranged] ?? {};
      unit.textContent = scale() === 100 ? "%" : "";
      for (const [name, input] of [
        ["from", from],
        ["to", to],
      ]) {
        const value = range[name] === undefined ? "" : String(Number((range[name] * scale()).toPrecision(6)));
        if (document.activeElement !== input) input.value = value;
      }
    };
    const figure = choice(
      "Range of",
      data.measured.map((one) => [one.name, one.title]),
      ranged,
      (value) => {
        ranged = value;
        fill();
      },
    );
    const range = el(
      "div",
      { className: "ex-range", role: "group", "aria-label": "Range of a figure" },
      figure,
      from,
      to,
      unit,
    );

    const meaning = el("p", { className: "ex-help", hidden: true });
    const chips = el("ul", { className: "ex-chips", "aria-label": "Filters in force" });
    const count = el("p", { className: "ex-total", role: "status" });
    const search = el("label", { className: "ex-choice" }, el("span", {}, "Name"), text);
    const rows = [
      fields.truth,
      fields.predicted,
      fields.outcome,
      fields.flag,
      fields.split,
      search,
      data.measured.length ? range : null,
    ];
    const host = el(
      "div",
      { className: "ex-controls", role: "search", "aria-label": "Filter and sort the images" },
      el("div", { className: "ex-row" }, ...rows.filter(Boolean)),
      el("div", { className: "ex-row" }, count, el("span", { className: "ex-order" }, fields.sort, turn)),
      meaning,
      chips,
    );

    return {
      host,
      show(now, places) {
        asked = now;
        for (const [name, field] of Object.entries(fields))
          if (field) field.querySelector("select").value = asked[name];
        if (document.activeElement !== text) text.value = asked.text;
        fill();
        turn.textContent = asked.descending ? "\u2193" : "\u2191";
        turn.setAttribute(
          "aria-label",
          asked.descending ? "Largest first: reverse the order" : "Smallest first: reverse the order",
        );
        turn.disabled = !asked.sort;
        meaning.textContent = data.measured.find((one) => one.name === asked.sort)?.meaning ?? "";
        meaning.hidden = !meaning.textContent;
        const all = asked.picked ? data.entries.length : explorer.offered(data, asked);
        count.textContent = `${places.length.toLocaleString("en")} of ${explorer.plural(all, "image")}`;
        const said = explorer.asked(data, asked);
        chips.replaceChildren(
          ...said.map(([words, without]) => {
            const cross = el("span", { "aria-hidden": "true" }, " \u00d7");
            const chip = button(words, () => onask(without, true), { "aria-label": `Remove the filter ${words}` });
            chip.append(cross);
            return el("li", {}, chip);
          }),
        );
        if (said.length > 1) {
          const nothing = { ...explorer.anything(data), sort: asked.sort, descending: asked.descending };
          chips.append(
            el(
              "li",
              {},
              button("Remove all", () => onask(nothing, true)),
            ),
          );
        }
      },
      focus: () => text.focus(),
    };
  };
})();
