// Which images are listed, and in which order: plain functions of the data and of what was asked for.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});

  // Nothing is asked for. `picked`: {places, title} of images that were picked elsewhere. `ranges` holds, by the name of a figure, {from, to, above}: `above` leaves out `from`.
  explorer.anything = (data) => ({
    text: "",
    truth: "",
    predicted: "",
    outcome: "",
    flag: "",
    split: data.entries.some((one) => one.predicted >= 0) ? "evaluated" : "",
    ranges: {},
    picked: null,
    sort: "",
    descending: false,
  });

  const within = (range, value) =>
    value !== undefined &&
    (range.from === undefined || (range.above ? value > range.from : value >= range.from)) &&
    (range.to === undefined || value <= range.to);

  const outcomes = { right: (one) => one.right === true, wrong: (one) => one.right === false };
  // What is flagged is listed whether it was evaluated or not: a leak has an image in either split.
  const splits = {
    "": () => true,
    evaluated: (one, asked) => one.predicted >= 0 || asked.flag !== "",
    train: (one) => one.split === "train",
  };

  // The places of the entries that meet everything that is asked for, in order.
  explorer.chosen = (data, asked) => {
    const words = asked.text.trim().toLowerCase();
    const ranges = Object.entries(asked.ranges);
    const found = [];
    data.entries.forEach((one, place) => {
      const listed =
        (asked.picked ? asked.picked.places.has(place) : splits[asked.split](one, asked)) &&
        (asked.truth === "" || one.truth === Number(asked.truth)) &&
        (asked.predicted === "" || one.predicted === Number(asked.predicted)) &&
        (asked.outcome === "" || outcomes[asked.outcome](one)) &&
        (asked.flag === "" || asked.flag in one.flags) &&
        (words === "" || one.file.toLowerCase().includes(words)) &&
        ranges.every(([name, range]) => within(range, one.values[name]));
      if (listed) found.push(place);
    });
    return explorer.sorted(data, found, asked.sort, asked.descending);
  };

  const keys = {
    name: (data) => (place) => data.entries[place].file,
    truth: (data) => (place) => explorer.className(data, data.entries[place].truth),
    predicted: (data) => (place) => explorer.className(data, data.entries[place].predicted),
  };

  // What was not measured stays last, whichever way the order is.
  explorer.sorted = (data, places, name, descending) => {
    if (!name) return places;
    const key = keys[name] ? keys[name](data) : (place) => data.entries[place].values[name];
    const known = places.filter((place) => key(place) !== undefined);
    const unknown = places.filter((place) => key(place) === undefined);
    const sign = descending ? -1 : 1;
    const collator = new Intl.Collator("en", { numeric: true });
    known.sort((p, q) => {
      const [a, b] = [key(p), key(q)];
      if (a === b) return p - q; // infinities too
      return sign * (typeof a === "string" ? collator.compare(a, b) : a - b);
    });
    return [...known, ...unknown];
  };

  // How many images there are to choose from.
  explorer.offered = (data, asked) => data.entries.filter((one) => splits[asked.split](one, asked)).length;

  // Everything that is asked for, as [text, the same without it] pairs.
  explorer.asked = (data, asked) => {
    const said = [];
    const add = (text, without) => said.push([text, { ...asked, ...without }]);
    if (asked.picked) add(asked.picked.title, { picked: null });
    if (asked.split === "train" && !asked.picked) add("training images", { split: "evaluated" });
    if (asked.truth !== "") add(`truth: ${data.classes[asked.truth]}`, { truth: "" });
    if (asked.predicted !== "") add(`predicted: ${data.classes[asked.predicted]}`, { predicted: "" });
    if (asked.outcome !== "") add(`${asked.outcome} predictions`, { outcome: "" });
    if (asked.flag !== "") add(asked.flag, { flag: "" });
    if (asked.text.trim()) add(`name has \u201c${asked.text.trim()}\u201d`, { text: "" });
    for (const [name, range] of Object.entries(asked.ranges)) {
      const measured = data.measured.find((one) => one.name === name);
      const { [name]: _, ...rest } = asked.ranges;
      const ends = [
        range.from === undefined ? "" : `${range.above ? "above" : "from"} ${explorer.written(measured, range.from)}`,
        range.to === undefined ? "" : `to ${explorer.written(measured, range.to)}`,
      ];
      add(`${measured.title} ${ends.filter(Boolean).join(" ")}`, { ranges: rest });
    }
    return said;
  };
})();
