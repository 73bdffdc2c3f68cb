// A picture, and sliders that choose it. Without a server the pictures are prepared, and one slider at a time is away
// from its middle. With one (`globalThis.deepscopeLive`) all sliders move together, and the picture is made for them.
(() => {
  "use strict";
  const { el, button, choice, theme, id } = globalThis.deepscopeExplorer;
  const MOST = 2 ** 31 - 1; // of a seed

  const start = (host, data, live) => {
    const middle = (slider) => Math.floor(slider.places.length / 2);
    const nothing = () => ({ at: data.sliders.map(middle), label: "", seed: 0, theme: "" });
    const away = ({ at }) => data.sliders.map((_, row) => row).filter((row) => at[row] !== middle(data.sliders[row]));

    // The part of the address after "#" holds what differs from the beginning.
    const written = (state) => {
      const [usual, words] = [nothing(), new URLSearchParams()];
      for (const [name, value] of Object.entries(state)) {
        if (String(value) !== String(usual[name])) words.set(name, String(value));
      }
      return `#${words}`;
    };
    const read = (hash) => {
      const [found, words] = [nothing(), new URLSearchParams(hash.replace(/^#/, ""))];
      const whole = (text, most) => (/^\d{1,10}$/.test(text ?? "") && Number(text) <= most ? Number(text) : null);
      (words.get("at") ?? "").split(",").forEach((text, row) => {
        if (row < found.at.length) found.at[row] = whole(text, data.sliders[row].places.length - 1) ?? found.at[row];
      });
      if (live) {
        if (data.labels.includes(words.get("label"))) found.label = words.get("label");
        found.seed = whole(words.get("seed"), MOST) ?? 0;
      } else found.at = alone(found, away(found)[0]).at;
      if (["light", "dark"].includes(words.get("theme"))) found.theme = words.get("theme");
      return found;
    };
    const alone = (state, row) => ({ ...state, at: nothing().at.map((place, other) => (other === row ? state.at[row] : place)) });

    const shown = el("img", { className: "sl-picture" });
    const said = el("p", { className: "sl-said", role: "status" });
    const problem = el("p", { className: "sl-problem", role: "alert", hidden: true });
    const fail = (line) => {
      [problem.textContent, problem.hidden] = [line, !line];
    };
    let state = nothing();

    const rows = data.sliders.map((slider, row) => {
      const name = id("slider");
      const place = el("span", { className: "sl-place" });
      const input = el("input", {
        type: "range",
        id: name,
        min: 0,
        max: slider.places.length - 1,
        step: 1,
        oninput: () => {
          const moved = { ...state, at: state.at.map((old, other) => (other === row ? Number(input.value) : old)) };
          change(live ? moved : alone(moved, row));
        },
      });
      const label = el("label", { htmlFor: name }, slider.name);
      const host = el("div", { className: "sl-row" }, label, place, input, el("small", {}, slider.said));
      return { slider, input, place, host };
    });

    const put = ({ slider, input, place }, at) => {
      input.value = at;
      place.textContent = slider.places[at];
      input.setAttribute("aria-valuetext", slider.places[at]);
    };
    const picture = (source, words) => {
      shown.src = source;
      shown.alt = `Generated images: ${words}`;
      said.textContent = words;
    };
    const words = () => {
      const moved = away(state).map((row) => `${data.sliders[row].name} at ${data.sliders[row].places[state.at[row]]}`);
      return moved.join(", ") || "all sliders in the middle";
    };
    const prepared = () => {
      const row = away(state)[0] ?? 0;
      picture(data.sliders[row].pictures[state.at[row]], words());
    };
    const asked = () => ({ at: state.at, label: state.label === "" ? null : state.label, seed: state.seed });
    const follow = live?.follow((source, line) => picture(source, line), fail);

    const show = () => {
      rows.forEach((row, place) => put(row, state.at[place]));
      if (!live) return void prepared();
      if (labels) labels.querySelector("select").value = state.label;
      seed.querySelector("input").value = state.seed;
      follow(asked(), words());
    };
    // The one place where the state changes.
    const change = (part) => {
      state = { ...state, ...part };
      history.replaceState(null, "", written(state));
      show();
    };

    const several = live && data.labels.length > 0;
    const named = several ? [["", "in turn"], ...data.labels.map((name) => [name, name])] : [];
    const labels = several ? choice("Class", named, "", (label) => change({ label })) : null;
    const number = el("input", {
      type: "number",
      min: 0,
      max: MOST,
      step: 1,
      oninput: () => number.value !== "" && number.checkValidity() && change({ seed: Number(number.value) }),
    });
    const seed = el("label", { className: "ex-choice" }, el("span", {}, "Seed"), number);
    const save = button("Export the page", async () => {
      save.disabled = true;
      try {
        await live.exported(asked());
        fail("");
      } catch (error) {
        fail(error.message);
      }
      save.disabled = false;
    });

    const reset = button("Reset", () => change({ at: nothing().at }));
    state = read(location.hash);
    const light = theme({ given: state.theme, onswitch: (name) => change({ theme: name }) });
    const controls = el(
      "div",
      { className: "sl-rows", role: "group", "aria-label": "Directions" },
      live ? el("div", { className: "sl-asked" }, labels, seed) : null,
      ...rows.map((row) => row.host),
      el("div", { className: "sl-buttons" }, reset, live ? save : null, light, live?.back),
    );
    const figure = el("div", { className: "sl-shown" }, shown, said, problem);
    host.replaceChildren(el("p", {}, data.text), el("div", { className: "sl-both" }, figure, controls));
    addEventListener("hashchange", () => {
      state = read(location.hash);
      show();
    });
    show();
  };

  for (const host of document.querySelectorAll(".sliders")) {
    start(host, JSON.parse(host.querySelector("script").textContent), globalThis.deepscopeLive);
  }
})();
