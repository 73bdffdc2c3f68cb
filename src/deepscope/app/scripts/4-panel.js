// What one model sees: its classes, the image at its size, and the map over it.
(() => {
  "use strict";
  const app = (globalThis.deepscopeApp ??= {});
  const { el, button, probabilities, share } = globalThis.deepscopeExplorer;

  // The map of a method that takes hundreds of passes: computed on request, with its passes counted, until stopped.
  // `request()` is what the server is told; `onmap(found)` takes its answer.
  const costly = ({ view, request, onmap, onfail }) => {
    const bar = el("progress", { max: 1, value: 0, "aria-label": "Passes made", hidden: true });
    const told = el("p", { className: "ex-help", role: "status" });
    const start = button("Compute the map", () => (running ? running.abort() : compute()), { className: "ap-main" });
    const host = el("div", { className: "ap-costly", hidden: true }, told, start, bar);
    let [running, name] = [null, ""];

    const rest = (line) => {
      told.textContent = line;
      start.textContent = "Compute the map";
      bar.hidden = true;
      host.setAttribute("aria-busy", "false");
    };
    const each = (said) => {
      if (said.map) {
        const held = host.contains(document.activeElement); // the button is gone then
        onmap(said);
        if (held) host.closest("section").focus();
        return;
      }
      bar.value = said.passes / said.most;
      told.textContent = `${name}: ${said.passes.toLocaleString("en")} of at most ${said.most.toLocaleString("en")} passes.`;
    };
    const compute = async () => {
      const own = (running = new AbortController());
      [start.textContent, bar.value, bar.hidden] = ["Cancel", 0, false];
      host.setAttribute("aria-busy", "true");
      onfail("");
      try {
        await app.stream("explain", request(), view, own.signal, each);
        rest("");
      } catch (error) {
        rest(error.name === "AbortError" ? "Cancelled." : "");
        if (error.name !== "AbortError") onfail(error.message);
      }
      if (running === own) running = null;
    };
    return {
      host,
      stop: () => running?.abort(),
      show(found) {
        host.hidden = !found.costly || Boolean(found.map);
        if (host.hidden || running) return;
        name = found.costly;
        rest(`${name} takes hundreds of passes, so its map is computed on request. Meanwhile other requests wait.`);
      },
    };
  };

  app.panel = (model, { onpick, request, onmap }) => {
    const id = globalThis.deepscopeExplorer.id("model");
    const picture = el("img", { className: "ap-seen", alt: "", width: 224, height: 224 });
    const map = el("img", { className: "ap-map", alt: "" });
    const bars = el("div", { className: "ap-bars" });
    const told = el("p", { className: "ex-help" });
    const failed = el("p", { className: "ap-error", role: "alert", hidden: true });
    const fail = (line) => {
      failed.textContent = line;
      failed.hidden = !line;
    };
    const heavy = costly({ view: `map-${id}`, request, onmap, onfail: fail });
    const host = el(
      "section",
      { className: "ap-panel ap-model", "aria-labelledby": id, tabIndex: -1 },
      el("h2", { id }, model.name),
      failed,
      el(
        "div",
        { className: "ap-answer" },
        bars,
        el("figure", {}, el("div", { className: "ap-both" }, picture, map), el("figcaption", {}, "as the model sees it")),
      ),
      told,
      heavy.host,
    );
    return {
      host,
      fail,
      stop: heavy.stop,
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
        heavy.show(found);
        const reads = found.signed ? "red speaks for it, blue against it" : "brighter counts more";
        told.textContent =
          (found.map ? `The map is of ${model.classes[found.target]}: ${reads}. ` : found.costly ? "" : "No map: the model gives no gradients. ") +
          (edited ? "Lines across the bars show the values before painting. " : "") +
          `Answered in ${found.seconds < 1 ? `${Math.round(1000 * found.seconds)} ms` : `${found.seconds.toFixed(1)} s`}.`;
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
