// The image of a class, as it grows: a stream that can be stopped at any step.
(() => {
  "use strict";
  const app = (globalThis.deepscopeApp ??= {});
  const { el, button, choice, share } = globalThis.deepscopeExplorer;
  const SVG = "http://www.w3.org/2000/svg";

  // `models`: the first, and the one that it is compared with, where there is one: a person chooses whose image grows.
  app.dream = (models, { onchange, name }) => {
    const able = models.map((model, place) => [model, place]).filter(([model]) => model.gradients);
    const labels = models.map((model) =>
      app.classes(model, "Class", "choose", (value) => onchange({ dream: value })),
    );
    const whose = choice(
      "Model",
      able.map(([model, place]) => [String(place), model.name]),
      "",
      (value) => {
        const [from, to] = [models[state.dreamer], models[value]];
        const there = state.dream === "" ? -1 : to.classes.indexOf(from.classes[state.dream]);
        onchange({ dreamer: Number(value), dream: there < 0 ? "" : String(there) });
      },
    );
    whose.hidden = able.length < 2;
    const steps = choice(
      "Steps",
      [40, 80, 160, 320].map((count) => [String(count), String(count)]),
      "160",
      (value) => onchange({ steps: Number(value) }),
    );
    const start = button("Generate", () => (running ? running.abort() : grow()), { className: "ap-main" });
    const picture = el("img", { className: "ap-dream", alt: "", width: 224, height: 224, hidden: true });
    const line = document.createElementNS(SVG, "polyline");
    const curve = document.createElementNS(SVG, "svg");
    curve.setAttribute("viewBox", "0 0 100 30");
    curve.setAttribute("preserveAspectRatio", "none");
    curve.setAttribute("class", "ap-curve");
    curve.setAttribute("aria-hidden", "true");
    curve.append(line);
    const progress = el("progress", { max: 1, value: 0, "aria-label": "Steps made" });
    const told = el("p", { className: "ex-help", role: "status" });
    const failed = el("p", { className: "ap-error", role: "alert", hidden: true });
    const grown = el("div", { className: "ap-grown", hidden: true }, curve, progress, told);
    const host = el(
      "section",
      { className: "ap-panel", "aria-labelledby": name },
      el("h2", { id: name }, "Class visualisation"),
      el("p", { className: "ex-help" }, "An image of a class, made from noise by gradient ascent on the class's score."),
      el("div", { className: "ap-row" }, whose, ...labels, steps, start),
      failed,
      el("div", { className: "ap-made" }, picture, grown),
    );
    let [state, running, points] = [app.nothing(), null, []];

    const shown = (frame) => {
      picture.src = frame.picture;
      const model = models[state.dreamer];
      picture.alt = `The image of ${model.classes[state.dream]} to ${model.name} after ${frame.step} steps`;
      picture.hidden = grown.hidden = false;
      points.push(`${(100 * frame.step) / frame.steps},${29 - 28 * frame.probability}`);
      line.setAttribute("points", points.join(" "));
      progress.value = frame.step / frame.steps;
      told.textContent = `Step ${frame.step} of ${frame.steps}: probability of the class ${share(frame.probability)}`;
    };

    const grow = async () => {
      if (state.dream === "") return labels[state.dreamer].querySelector("select").focus();
      running = new AbortController();
      [points, failed.hidden] = [[], true];
      start.textContent = "Stop";
      host.setAttribute("aria-busy", "true");
      try {
        const asked = { target: Number(state.dream), steps: state.steps, model: state.dreamer };
        await app.stream("dream", asked, "dream", running.signal, shown);
      } catch (error) {
        if (error.name === "AbortError") told.textContent += ". Stopped.";
        else [failed.textContent, failed.hidden] = [error.message, false];
      }
      running = null;
      start.textContent = "Generate";
      return host.setAttribute("aria-busy", "false");
    };

    return {
      host,
      show(next) {
        if (running && ["dream", "steps", "dreamer"].some((one) => next[one] !== state[one])) running.abort();
        const dreamer = able.some(([, place]) => place === next.dreamer) ? next.dreamer : (able[0]?.[1] ?? 0);
        state = { ...next, dreamer };
        whose.querySelector("select").value = String(dreamer);
        labels.forEach((label, place) => {
          label.hidden = place !== dreamer;
        });
        labels[dreamer].querySelector("select").value = state.dream;
        steps.querySelector("select").value = String(state.steps);
      },
    };
  };
})();
