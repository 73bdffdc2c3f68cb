// What the page shows, as plain data; the part of the address after "#" says all of it.
(() => {
  "use strict";
  const app = (globalThis.deepscopeApp ??= {});

  app.nothing = () => ({
    image: "", // "choice:NAME", or "sent:KEY" of an image that was sent to the server
    method: "",
    target: "", // number of a class; empty for the most probable one
    strokes: [],
    radius: 0,
    goal: "", // number of the class that an adversarial example aims at; empty for any other
    compare: false,
    opacity: 75,
    dream: "", // number of the class whose image is made
    dreamer: 0, // which model's: 1 for the one that is compared
    steps: 160,
    theme: "", // "light" or "dark"; empty for the system's
  });

  const written = {
    strokes: (strokes) =>
      strokes
        .map(({ brush, size, points }) => [brush, size, ...points.map(([x, y]) => `${x}.${y}`)].join(","))
        .join(";"),
    compare: (yes) => (yes ? "1" : "0"),
  };

  const stroke = (text) => {
    const [brush, size, ...points] = text.split(",");
    return { brush, size: Number(size), points: points.map((one) => one.split(".").map(Number)) };
  };
  const sound = ({ brush, size, points }) =>
    ["blur", "grey", "black", "white"].includes(brush) &&
    Number.isInteger(size) &&
    points.length > 0 &&
    points.every((one) => one.length === 2 && one.every(Number.isInteger));

  const number = (least, most, usual) => (text) => {
    const value = Number(text);
    return Number.isInteger(value) && value >= least && value <= most ? value : usual;
  };
  const label = (text) => (/^\d{1,7}$/.test(text) ? text : "");
  const read = {
    strokes: (text) => text.split(";").map(stroke).filter(sound).slice(0, 200),
    compare: (text) => text === "1",
    target: label,
    goal: label,
    dream: label,
    radius: number(0, 32, 0),
    opacity: number(0, 100, 75),
    dreamer: number(0, 1, 0),
    steps: number(1, 1000, 160),
    theme: (text) => (["light", "dark"].includes(text) ? text : ""),
  };

  // Only what differs from nothing is in the address.
  app.address = (state) => {
    const usual = app.nothing();
    const words = new URLSearchParams();
    for (const [name, value] of Object.entries(state)) {
      const text = (written[name] ?? String)(value);
      if (text !== (written[name] ?? String)(usual[name])) words.set(name, text);
    }
    return `#${words}`;
  };

  app.state = (hash) => {
    const found = app.nothing();
    for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
      if (name in found) found[name] = (read[name] ?? String)(text);
    }
    return found;
  };
})();
