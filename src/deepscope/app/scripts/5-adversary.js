// An adversarial example of the image: how far it may change, which class it aims at, and the change magnified.
(() => {
  "use strict";
  const app = (globalThis.deepscopeApp ??= {});
  const { el, probabilities, share } = globalThis.deepscopeExplorer;

  // adversary.show(state): compute where the radius asks for it. `onchange({radius, goal})`.
  app.adversary = (model, { onchange, request }) => {
    const slider = el("input", { type: "range", min: 0, max: 16, step: 1, value: 0 });
    const said = el("output", {});
    const label = el("label", { className: "ex-strength" }, el("span", {}, "Radius"), slider, said);
    const goal = app.classes(model, "Target class", "any other class", (value) => onchange({ goal: value }));
    const failed = el("p", { className: "ap-error", role: "alert", hidden: true });
    const body = el("div", { className: "ap-triple" });
    const status = el("p", { className: "ap-verdict", role: "status" });
    const host = el(
      "section",
      { className: "ap-panel", "aria-labelledby": "adversary" },
      el("h2", { id: "adversary" }, "Adversarial example"),
      el("p", { className: "ex-help" }, "A change of the pixels, none larger than the radius, that changes the answer."),
      el("div", { className: "ap-row" }, label, goal),
      failed,
      status,
      body,
    );

    const figure = (source, alt, text) =>
      el("figure", {}, el("img", { src: source, alt, width: 224, height: 224 }), el("figcaption", {}, text));
    const rows = (ranked) => ranked.map(([place, probability]) => ({ name: model.classes[place], probability }));
    const best = ([place, probability]) => `${model.classes[place]} (${share(probability)})`;

    const shown = (found, state) => {
      if (found.refused) {
        status.textContent = found.refused;
        return body.replaceChildren();
      }
      const from = best(found.before[0]);
      const to = best(found.after[0]);
      status.textContent = found.success
        ? `Fooled within radius ${state.radius}/255: ${from} becomes ${to}.`
        : `Not fooled within radius ${state.radius}/255: ${from}, then ${to}.`;
      status.dataset.tone = found.success ? "attention" : "good";
      const factor = `the change, \u00d7\u00a0${found.factor}`;
      return body.replaceChildren(
        figure(found.original, "The image before the attack", `before: ${from}`),
        figure(found.difference, "The change around grey, magnified", factor),
        figure(found.picture, "The image after the attack", `after: ${to}`),
        el("div", { className: "ap-after" }, el("h3", {}, "After the attack"), probabilities(rows(found.after))),
      );
    };

    const compute = app.newest(async ([state, asked], latest) => {
      host.setAttribute("aria-busy", "true");
      try {
        const found = await app.ask("attack", asked, "attack");
        if (latest()) shown(found, state);
      } catch (error) {
        if (latest() && error.status !== 409) [failed.textContent, failed.hidden] = [error.message, false];
      }
      host.setAttribute("aria-busy", "false");
    });

    const reset = () => {
      failed.hidden = true;
      body.replaceChildren();
      status.textContent = "";
      delete status.dataset.tone;
    };
    slider.addEventListener("input", () => onchange({ radius: Number(slider.value) }));
    const written = (radius) => {
      slider.value = radius;
      said.textContent = radius ? `${radius}/255` : "off";
      slider.setAttribute("aria-valuetext", radius ? `${radius} of 255 grey levels` : "off");
    };
    written(0);

    return {
      host,
      show(state) {
        written(state.radius);
        goal.querySelector("select").value = state.goal;
        if (!state.radius) return reset();
        failed.hidden = true;
        return compute([state, request(state)]);
      },
    };
  };
})();
