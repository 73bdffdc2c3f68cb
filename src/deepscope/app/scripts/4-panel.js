// What one model sees: its classes, the image at its size, and the map over it.
(() => {
  "use strict";
  const app = (globalThis.deepscopeApp ??= {});
  const { el, probabilities, share } = globalThis.deepscopeExplorer;

  app.panel = (model, { onpick }) => {
    const id = globalThis.deepscopeExplorer.id("model");
    const picture = el("img", { className: "ap-seen", alt: "", width: 224, height: 224 });
    const map = el("img", { className: "ap-map", alt: "" });
    const bars = el("div", { className: "ap-bars" });
    const told = el("p", { className: "ex-help" });
    const failed = el("p", { className: "ap-error", role: "alert", hidden: true });
    const host = el(
      "section",
      { className: "ap-panel ap-model", "aria-labelledby": id },
      el("h2", { id }, model.name),
      failed,
      el(
        "div",
        { className: "ap-answer" },
        bars,
        el("figure", {}, el("div", { className: "ap-both" }, picture, map), el("figcaption", {}, "as the model sees it")),
      ),
      told,
    );
    return {
      host,
      fail(line) {
        failed.textContent = line;
        failed.hidden = !line;
      },
      busy(yes) {
        host.setAttribute("aria-busy", String(yes));
      },
      opacity(percent) {
        map.style.opacity = percent / 100;
      },
      show(found, edited) {
        const held = bars.contains(document.activeElement) ? document.activeElement.textContent : null;
        bars.replaceChildren(
          probabilities(
            found.top.map(([place, probability, before]) => ({
              name: model.classes[place],
              probability,
              before: edited ? before : undefined,
              pressed: place === found.target,
              marked: place === found.target,
              onpick: () => onpick(place),
            })),
          ),
        );
        if (held) [...bars.querySelectorAll("button")].find((one) => one.textContent === held)?.focus();
        picture.src = found.picture;
        picture.alt = `The image as ${model.name} sees it`;
        map.hidden = !found.map;
        if (found.map) map.src = found.map;
        map.alt = `Where the evidence for ${model.classes[found.target]} lies`;
        const reads = found.signed ? "red speaks for it, blue against it" : "brighter counts more";
        told.textContent =
          (found.map ? `The map is of ${model.classes[found.target]}: ${reads}. ` : "No map: the model gives no gradients. ") +
          (edited ? "Lines across the bars: before painting. " : "") +
          `${Math.round(1000 * found.seconds)} ms.`;
        const [best, probability, before] = found.top[0];
        return `${model.name}: ${model.classes[best]}, ${share(probability)}${edited ? `, ${share(before)} before` : ""}`;
      },
    };
  };

  // A drop-down list of a model's classes, in alphabetical order; `none` is the text for no class.
  app.classes = (model, name, none, onchange) => {
    const order = model.classes.map((text, place) => [text, place]);
    order.sort(([a, p], [b, q]) => a.localeCompare(b, "en") || p - q);
    const counts = new Map();
    for (const [text] of order) counts.set(text, (counts.get(text) ?? 0) + 1);
    const options = order.map(([text, place]) => [String(place), counts.get(text) > 1 ? `${text} (${place})` : text]);
    return globalThis.deepscopeExplorer.choice(name, [["", none], ...options], "", onchange);
  };
})();
