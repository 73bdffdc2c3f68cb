// A picture, and sliders that choose it among prepared ones. One slider at a time is away from its middle.
(() => {
  "use strict";
  const { el, button, theme, id } = globalThis.deepscopeExplorer;

  const start = (host, data) => {
    const shown = el("img", { className: "sl-picture" });
    const said = el("p", { className: "sl-said", role: "status" });
    const middle = (slider) => Math.floor(slider.places.length / 2);
    const rows = data.sliders.map((slider) => {
      const name = id("slider");
      const place = el("span", { className: "sl-place" });
      const input = el("input", {
        type: "range",
        id: name,
        min: 0,
        max: slider.places.length - 1,
        step: 1,
        oninput: () => show(row),
      });
      const label = el("label", { htmlFor: name }, slider.name);
      const host = el("div", { className: "sl-row" }, label, place, input, el("small", {}, slider.said));
      const row = { slider, input, place, host };
      return row;
    });

    const put = ({ slider, input, place }, at) => {
      input.value = at;
      place.textContent = slider.places[at];
      input.setAttribute("aria-valuetext", slider.places[at]);
    };
    // Shows what one slider stands for, and returns the others to the middle.
    const show = (row) => {
      const at = Number(row.input.value);
      for (const other of rows) put(other, other === row ? at : middle(other.slider));
      const words = `${row.slider.name} at ${row.slider.places[at]}`;
      shown.src = row.slider.pictures[at];
      shown.alt = `Generated images: ${words}`;
      said.textContent = words;
    };
    const reset = () => {
      for (const row of rows) put(row, middle(row.slider));
      show(rows[0]);
    };

    const controls = el(
      "div",
      { className: "sl-rows", role: "group", "aria-label": "Directions" },
      ...rows.map((row) => row.host),
      el("div", { className: "sl-buttons" }, button("Reset", reset), theme()),
    );
    const picture = el("div", { className: "sl-shown" }, shown, said);
    host.replaceChildren(el("p", {}, data.text), el("div", { className: "sl-both" }, picture, controls));
    reset();
  };

  for (const host of document.querySelectorAll(".sliders")) {
    start(host, JSON.parse(host.querySelector("script").textContent));
  }
})();
