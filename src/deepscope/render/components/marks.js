// How the points of the map look: their colours and shapes, by class, error or split, and the legend of these.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});
  // Okabe and Ito's colours, which people tell apart whatever kind of colour vision they have, then paler ones.
  const COLOURS = [
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#b3a300",
    "#8c6bb1",
    "#7f7f7f",
    "#17a2a2",
    "#a65628",
    "#6a994e",
    "#4059ad",
    "#e377c2",
    "#2f6b4f",
    "#b19cd9",
  ];
  const GREY = "#9aa4ae";

  // `placed`: [entry, place] pairs. `ways`: what points can be coloured by, as [value, text] pairs.
  explorer.marks = (data, placed) => {
    const { el } = explorer;
    const classes = [...new Set(placed.map(([one]) => one.truth).filter((truth) => truth >= 0))];
    const frequency = new Map(classes.map((truth) => [truth, placed.filter(([one]) => one.truth === truth).length]));
    const ranked = [...classes].sort((a, b) => frequency.get(b) - frequency.get(a) || a - b).slice(0, COLOURS.length);
    const legendOrder = ranked.sort((a, b) => a - b);
    const several = placed.some(([one]) => one.split === "train");
    const graded = placed.some(([one]) => one.right !== null);
    const ways = [
      ["class", "class"],
      ...(graded ? [["error", "right or wrong"]] : []),
      ...(several ? [["split", "training or test"]] : []),
    ];

    const colourOf = (way, one) => {
      if (way === "error") return one.right === null ? GREY : one.right ? "#56b4e9" : "#d55e00";
      if (way === "split") return one.split === "train" ? "#e69f00" : "#0072b2";
      const at = legendOrder.indexOf(one.truth);
      return at < 0 ? GREY : COLOURS[at];
    };

    const draw = (context, way, { one, x, y }, radius) => {
      context.fillStyle = context.strokeStyle = colourOf(way, one);
      context.beginPath();
      if (way === "error" && one.right === false) {
        // Wrong predictions are crosses: not by colour alone.
        context.moveTo(x - radius, y - radius);
        context.lineTo(x + radius, y + radius);
        context.moveTo(x + radius, y - radius);
        context.lineTo(x - radius, y + radius);
        context.stroke();
      } else if (one.split === "train") {
        context.rect(x - radius * 0.8, y - radius * 0.8, radius * 1.6, radius * 1.6);
        context.stroke();
      } else {
        context.arc(x, y, radius, 0, 2 * Math.PI);
        context.fill();
      }
    };

    const legend = (way) => {
      const swatch = (colour, text, shape = "") => {
        const dot = el("span", { className: `ex-dot ${shape}` });
        dot.style.setProperty("--colour", colour);
        return el("li", {}, dot, el("span", {}, text));
      };
      const items = [];
      if (way === "error") items.push(swatch("#56b4e9", "right"), swatch("#d55e00", "wrong", "ex-cross"));
      else if (way === "split") items.push(swatch("#0072b2", "test"), swatch("#e69f00", "training", "ex-square"));
      else {
        legendOrder.forEach((truth, at) => items.push(swatch(COLOURS[at], explorer.className(data, truth))));
        if (classes.length > ranked.length) items.push(swatch(GREY, "other classes"));
        if (several) items.push(swatch(GREY, "training image", "ex-square"));
      }
      return items;
    };

    return { ways, draw, legend };
  };
})();
