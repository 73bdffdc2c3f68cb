// How the points of the map look: their colours and shapes, by class, error or split, and the legend of these.
(() => {
  "use strict";
  const explorer = (globalThis.deepscopeExplorer ??= {});
  // `placed`: [entry, place] pairs. `ways`: what points can be coloured by, as [value, text] pairs.
  explorer.marks = (data, placed) => {
    const { el } = explorer;
    const { classes: palette, ...colours } = data.colours;
    const classes = [...new Set(placed.map(([one]) => one.truth).filter((truth) => truth >= 0))];
    const frequency = new Map(classes.map((truth) => [truth, placed.filter(([one]) => one.truth === truth).length]));
    const ranked = [...classes].sort((a, b) => frequency.get(b) - frequency.get(a) || a - b).slice(0, palette.length);
    const legendOrder = ranked.sort((a, b) => a - b);
    const several = placed.some(([one]) => one.split === "train");
    const graded = placed.some(([one]) => one.right !== null);
    const ways = [
      ["class", "class"],
      ...(graded ? [["error", "right or wrong"]] : []),
      ...(several ? [["split", "training or test"]] : []),
    ];

    const colourOf = (way, one) => {
      if (way === "error") return one.right === null ? colours.other : one.right ? colours.right : colours.wrong;
      if (way === "split") return one.split === "train" ? colours.train : colours.test;
      const at = legendOrder.indexOf(one.truth);
      return at < 0 ? colours.other : palette[at];
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
      if (way === "error") {
        items.push(swatch(colours.right, "right"), swatch(colours.wrong, "wrong", "ex-cross"));
      } else if (way === "split") {
        items.push(swatch(colours.test, "test"), swatch(colours.train, "training", "ex-square"));
      } else {
        legendOrder.forEach((truth, at) => items.push(swatch(palette[at], explorer.className(data, truth))));
        if (classes.length > ranked.length) items.push(swatch(colours.other, "other classes"));
        if (several) items.push(swatch(colours.other, "training image", "ex-square"));
      }
      return items;
    };

    return { ways, draw, legend };
  };
})();
